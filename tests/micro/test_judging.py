"""Marks follow from facts and never from length; the judge's texts are the packaged rubrics."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from stillwise.micro import corpus, judge_corpus, judging
from stillwise.micro.families import Sum
from stillwise.micro.judge_measure import partial, spearman
from stillwise.micro.judging import Manner, judged, verbosity

EASY = Sum("What is 4 + 5?", "9", 1, "chain_sum", "4 + 5")
HARD = Sum("What is 847 - 958 + 396 - 512 + 77?", "-150", 5, "chain_sum", "847 - 958 + 396 - 512 + 77")
COLUMNS = Manner("columns", thought=True)
CHECKED = Manner("columns", thought=True, checks=1.0)


def made(problem: Sum, how: Manner) -> judging.Judged:
    return judged(problem, how, Random(3))


def test_facts_of_a_sum_are_counted() -> None:
    facts = judging.facts_of(HARD)
    assert (facts.operations, facts.digits, facts.brackets) == (4, 3, 0)
    assert facts.below_zero == 4
    assert judging.facts_of(Sum("", "", 1, "chain_sum", "95 + 5")).carries == 2
    assert judging.facts_of(Sum("", "", 1, "basic_arithmetic", "( 9 - 5 ) + 1")).brackets == 1


def test_empty_words_make_a_trace_long_and_earn_no_verbosity() -> None:
    plain, windy = made(EASY, COLUMNS), made(EASY, Manner("columns", thought=True, fillers=9.0))
    assert len(windy.text) > 2 * len(plain.text)
    assert verbosity(windy.facts) == verbosity(plain.facts)


def test_a_terse_answer_to_a_hard_sum_is_longer_and_less_verbose_than_a_checked_one_to_an_easy_sum() -> None:
    terse, checked = made(HARD, Manner("line", thought=False)), made(EASY, CHECKED)
    assert len(terse.text) > len(checked.text)
    assert verbosity(terse.facts) < verbosity(checked.facts)
    assert judging.problem_difficulty(terse.facts) > judging.problem_difficulty(checked.facts)


def test_verbosity_rises_with_what_is_written_out() -> None:
    manners = [Manner("nothing", False), Manner("line", False), Manner("split", False), COLUMNS, CHECKED]
    marks = [verbosity(made(HARD, how).facts) for how in manners]
    assert marks == sorted(marks)
    assert len(set(marks)) == len(marks)


def test_what_is_left_out_is_a_leap_and_makes_it_harder() -> None:
    whole, gaps = made(HARD, COLUMNS).facts, made(HARD, Manner("nothing", False)).facts
    assert (whole.leaps, gaps.leaps) == (0, 4)
    assert judging.burden(gaps) > judging.burden(whole)
    assert judging.cognitive_difficulty(gaps) > judging.cognitive_difficulty(whole)


def test_a_second_attempt_is_counted_and_stands_in_the_text() -> None:
    trace = made(HARD, Manner("columns", thought=True, checks=1.0, mistakes=1.0))
    assert trace.facts.redone == trace.text.count("Again, ") > 0
    assert trace.facts.check == 4


@pytest.mark.parametrize("rubric", judging.RUBRICS)
def test_marks_are_in_range_and_use_the_scale(rubric: judging.Rubric) -> None:
    rng = Random(0)
    marks = {judging.mark(rubric, one.facts, rng) for one in islice(judge_corpus.traces(1), 400)}
    assert marks == set(range(3 if rubric == "difficulty" else 10))


def test_length_and_verbosity_are_partly_apart_in_training_traces() -> None:
    traces = list(islice(judge_corpus.traces(2), 400))
    rank = spearman([verbosity(one.facts) for one in traces], [len(one.text) for one in traces])
    assert 0.2 < rank < 0.8


def test_held_out_traces_are_of_held_out_questions() -> None:
    from stillwise.micro.families import split_of

    assert {split_of(one.problem.question) for one in islice(judge_corpus.traces(1, "held_out"), 50)} == {"held_out"}
    assert {split_of(one.problem.question) for one in islice(judge_corpus.traces(1), 50)} == {"train"}


def test_questions_are_what_a_scorer_asks() -> None:
    from stillwise.records import Problem, Trace
    from stillwise.score.judged import Judged as Scorer

    one = made(EASY, CHECKED)
    trace = Trace(id="t", problem_id="p", role="r", model="m", paradigm="think", prompt="", text=one.text)
    for rubric in judging.RUBRICS:
        asked = Scorer(rubric=rubric).ask(Problem.of(one.problem.question, "9"), trace).user
        assert judge_corpus.question(rubric, one) == asked


def test_answers_are_read_by_the_scorer() -> None:
    from stillwise.score.judged import read_mark

    rows = list(islice(judge_corpus.judge_rows(4), 60))
    texts = [row.script[0][0] for row in rows]
    assert all(read_mark(text, 9) == json.loads(text.splitlines()[-1])["score"] for text in texts)


def test_a_rubric_costs_few_tokens_and_nothing_is_lost() -> None:
    tokenizer = judge_corpus.train_tokenizer(20, rows=200)
    for row in islice(judge_corpus.judge_rows(5), 20):
        found = tokenizer.encode(row.prompt + row.script[0][0])
        assert tokenizer.decode(found.ids, skip_special_tokens=False) == row.prompt + row.script[0][0]
    bare = tokenizer.encode(corpus.prompt(judge_corpus.rubric_text("verbosity").replace("$problem", "").replace("$trace", "")))
    assert len(bare.ids) < 30


def test_rank_correlations() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 90]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 3, 3]) == 0
    assert spearman([1, 1, 2, 2], [1, 2, 3, 4]) == pytest.approx(0.8944, abs=1e-4)
    length = [1.0, 2, 3, 4, 5, 6, 7, 8]
    assert abs(partial(length, [2.0, 1, 4, 3, 6, 5, 8, 7], length)) < 1e-6


def test_the_judge_is_rebuilt_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stillwise.micro import build

    monkeypatch.setattr("sys.argv", ["build", "--out", str(tmp_path), "--only", "judge", "--minutes-scale", "0.0006"])
    monkeypatch.setattr(judge_corpus, "train_tokenizer", lambda seed: TOKENIZER(seed, rows=200))
    build.main()
    shipped = tmp_path / "models" / "judge"
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= {path.name for path in shipped.iterdir()}
    assert list(json.loads((tmp_path / "models" / "training.json").read_text())) == ["judge"]


TOKENIZER = judge_corpus.train_tokenizer
