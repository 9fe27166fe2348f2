"""Votes, subsets and choices by score, against enumeration; classes of equal answers by a real verifier."""

from __future__ import annotations

import itertools
import random
from math import comb

import pytest

from stillwise.arrows import Sampled, Tools
from stillwise.evaluate import votes
from stillwise.evaluate.classes import answer_classes
from stillwise.evaluate.rows import Measured
from stillwise.records import AnswerKind, Outcome, Problem, Trace, Verdict
from stillwise.verify.dispatch import ByAnswerKind
from tests.evaluate.test_benchmark import Counted, InlineGraders

WORDS = {True: Outcome.CORRECT, False: Outcome.INCORRECT}


def answers(*pairs: tuple[bool, str | None], **rest: object) -> list[Measured]:
    return [
        Measured(benchmark="b", problem_id="p", level=1, sample_index=i, outcome=WORDS[hit], extracted=text, **rest)  # type: ignore[arg-type]
        for i, (hit, text) in enumerate(pairs)
    ]


def test_equal_wrong_answers_vote_together_only_by_class() -> None:
    rows = answers((True, "7"), (True, "7"), (False, "1/3"), (False, r"\frac13"), (False, "0.(3)"))
    assert votes.majority_share(rows) == 1
    classed = [row if row.correct else _with_class(row, 1) for row in rows]
    assert votes.majority_share(classed) == 0
    assert votes.majority_share(classed, votes.by_text) == 1


def _with_class(row: Measured, number: int) -> Measured:
    from dataclasses import replace

    return replace(row, answer_class=number)


def test_empty_answers_do_not_vote_and_ties_are_seen() -> None:
    rows = answers((False, None), (False, None), (True, "7"))
    assert votes.majority_share(rows) == 1
    assert not votes.is_tied(rows)
    tie = answers((False, "3"), (True, "7"))
    assert votes.is_tied(tie)
    assert votes.majority_share(tie) == 0
    assert votes.majority(answers((False, None))) is None


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_majority_at_k_is_the_mean_over_all_subsets(k: int) -> None:
    rows = answers((False, "3"), (True, "7"), (True, "7.0"), (False, None), (False, "4"))
    subsets = list(itertools.combinations(rows, k))
    assert votes.majority_at_k(rows, k) == pytest.approx(sum(map(votes.majority_share, subsets)) / len(subsets))


def test_majority_at_k_of_many_samples_is_drawn_and_close() -> None:
    rng = random.Random(0)
    rows = answers(*((rng.random() < 0.6, rng.choice("abc")) for _ in range(20)))
    drawn = votes.majority_at_k(rows, 5)
    exact = [votes.majority_share(subset) for subset in itertools.combinations(rows, 5)]
    assert len(exact) == comb(20, 5) > votes.SUBSETS
    assert drawn == pytest.approx(sum(exact) / len(exact), abs=0.08)
    assert drawn == votes.majority_at_k(rows, 5)
    with pytest.raises(ValueError, match="at least 21 samples"):
        votes.majority_at_k(rows, 21)


@pytest.mark.parametrize(
    ("correct", "samples", "k", "share"), [(4, 8, 4, 0.5), (7, 8, 4, 1.0), (3, 8, 8, 0.25), (5, 16, 8, 0.75)]
)
def test_g_pass_is_the_share_of_subsets_with_enough_right(correct: int, samples: int, k: int, share: float) -> None:
    subsets = list(itertools.combinations([i < correct for i in range(samples)], k))
    expected = sum(sum(chosen) >= share * k for chosen in subsets) / len(subsets)
    assert votes.g_pass_at_k(correct, samples, k, share) == pytest.approx(expected)


def test_the_best_by_score_wins_and_ties_go_to_the_earliest() -> None:
    from dataclasses import replace

    rows = answers((False, "3"), (True, "7"), (False, "4"))
    scored = [replace(row, scores={"reward": value}) for row, value in zip(rows, (0.1, 0.9, 0.9), strict=True)]
    assert votes.best_share(scored, "reward") == 1
    assert votes.best_share(scored[:1], "reward") == 0
    assert votes.best_share(scored, "reward", lowest=True) == 0
    assert votes.best_share(scored[1:], "reward", lowest=True) == 1
    assert votes.best_share(rows, "reward") == 0


def sampled(problem: Problem, texts: list[str | None]) -> list[Sampled]:
    found = []
    for i, text in enumerate(texts):
        trace = Trace(
            id=f"{problem.id}{i}", problem_id=problem.id, role="r", model="m", paradigm="p", prompt="", text=text or ""
        )
        outcome = Outcome.UNDECIDED if text is None else WORDS[text == problem.answer]
        found.append(Sampled(trace=trace, verdict=Verdict(outcome=outcome, extracted=text)))
    return found


def test_the_grader_says_which_wrong_answers_are_equal() -> None:
    fraction = Problem.of("?", "7", answer_kind=AnswerKind.EXPRESSION)
    word = Problem.of("which?", "yes", answer_kind=AnswerKind.TEXT)
    many = sampled(fraction, ["7", r"\frac{1}{3}", "0.5", None, r"\frac12", r"\frac{2}{6}", "0.50", "x{"])
    many += sampled(word, ["No", "no.", "perhaps", "yes"])
    tools = Tools(step="s", seed=0, callers={}, graders=InlineGraders(), progress=Counted().open)
    found = answer_classes([fraction, word], many, ByAnswerKind(), tools)
    numbers = [found.get(one.trace.id) for one in many]
    assert numbers == [0, 1, 2, None, 2, 1, 2, 3, 1, 1, 2, 0]
