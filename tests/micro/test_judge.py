"""The shipped judge: readable answers to every rubric, marks that follow what is written and not its length."""

from __future__ import annotations

import statistics
from itertools import islice
from random import Random

import pytest

from stillwise import micro
from stillwise.micro import families, judge_corpus, judging
from stillwise.micro.judge_measure import judgements
from stillwise.micro.judging import Judged, Manner, Rubric
from stillwise.models.direct import Direct
from stillwise.models.open import open_model
from stillwise.records import Problem, Trace
from stillwise.score.judged import Judged as Scorer
from tests.asking import tools_for

EASY = families.generate("chain_sum", 1, 12, 3, "held_out")
HARD = families.generate("chain_sum", 5, 12, 3, "held_out")


def marks(rubric: Rubric, problems: list[families.Sum], how: Manner) -> tuple[float, float]:
    """Mean mark and mean length of traces written in one manner."""
    rng = Random(5)
    traces = [judging.judged(problem, how, rng) for problem in problems]
    given = judgements(micro.path("judge"), [(rubric, one) for one in traces])
    return statistics.fmean(mark for mark in given if mark is not None), statistics.fmean(len(one.text) for one in traces)


@pytest.mark.parametrize("rubric", judging.RUBRICS)
def test_every_rubric_is_answered_readably_and_in_range(rubric: Rubric) -> None:
    held_out: list[Judged] = list(islice(judge_corpus.traces(3, "held_out"), 16))
    given = judgements(micro.path("judge"), [(rubric, one) for one in held_out])
    assert None not in given
    assert max(mark or 0 for mark in given) <= (2 if rubric == "difficulty" else 9)
    assert len(set(given)) > 1


def test_empty_words_are_no_verbosity_and_checks_are() -> None:
    checked, checked_length = marks("verbosity", EASY, Manner("columns", thought=True, checks=1.0))
    windy, windy_length = marks("verbosity", EASY, Manner("line", thought=False, fillers=6.0))
    assert windy_length > checked_length
    assert windy < checked


def test_hard_sums_are_hard_though_little_is_written() -> None:
    terse, terse_length = marks("cognitive_difficulty", HARD, Manner("nothing", thought=False))
    long, long_length = marks("cognitive_difficulty", EASY, Manner("columns", thought=True, checks=1.0, repeats=2.0))
    assert terse_length < long_length
    assert terse > long


def test_a_scorer_reads_it_and_draws_differ_at_a_temperature() -> None:
    judge = Direct(open_model("micro:judge", threads=1))
    rng = Random(1)
    traces = [judging.judged(problem, Manner("columns", thought=True, checks=0.5), rng) for problem in HARD[:4]]
    pairs = [
        (Problem.of(one.problem.question, "0"),
         Trace(id=str(n), problem_id="p", role="r", model="m", paradigm="think", prompt="", text=one.text))
        for n, one in enumerate(traces)
    ]  # fmt: skip
    scorer = Scorer(rubric="cognitive_difficulty", judgements=5, temperature=1.0)
    scores = scorer.score_all([(problem, [trace]) for problem, trace in pairs], tools_for(judge=judge))
    assert all(score.value is not None for [score] in scores)
    assert any(len(set((score.detail or "").split(": ")[1].split())) > 1 for [score] in scores)
