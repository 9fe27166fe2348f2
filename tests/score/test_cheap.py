"""Scores that need no judge: values by hand, and None with a reason where nothing can be known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from stillwise.arrows import Tools
from stillwise.records import Finish, Outcome, Problem, Trace, Verdict, thinking_spans
from stillwise.runtime.graders import GraderPool
from stillwise.runtime.progress import silent
from stillwise.score.outcomes import PassRate, Variation, variation, wilson
from stillwise.score.shape import Length, Repetition, Structure

PROBLEM = Problem.of("What is 2 + 2?", "4")


def trace(text: str, model: str = "m", finish: Finish = Finish.STOP, num_tokens: int | None = None) -> Trace:
    return Trace(
        id=text + model,
        problem_id=PROBLEM.id,
        role="r",
        model=model,
        paradigm="think",
        prompt="",
        text=text,
        spans=thinking_spans(text),
        finish=finish,
        num_tokens=num_tokens,
    )


def verdicts(*outcomes: Outcome) -> list[Verdict]:
    return [Verdict(outcome=outcome) for outcome in outcomes]


@pytest.fixture(scope="module")
def tools() -> Iterator[Tools]:
    with GraderPool() as graders:
        yield Tools(step="score", seed=0, callers={}, graders=graders, progress=silent)


RIGHT, WRONG, CUT = Outcome.CORRECT, Outcome.INCORRECT, Outcome.TRUNCATED


@pytest.mark.parametrize(
    ("k", "n", "low", "high"), [(0, 0, 0.0, 1.0), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (32, 64, 0.3810, 0.6190)]
)
def test_wilson_intervals(k: int, n: int, low: float, high: float) -> None:
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-4)


def test_two_of_four_is_less_certain_than_32_of_64() -> None:
    few, many = (PassRate().of(verdicts(*[RIGHT, WRONG] * n)) for n in (2, 32))
    assert few.value == many.value == 0.5
    assert (few.detail, many.detail) == ("2 of 4, 95% 0.150 to 0.850", "32 of 64, 95% 0.381 to 0.619")


def test_what_was_cut_off_is_no_wrong_answer_unless_asked() -> None:
    held = verdicts(RIGHT, WRONG, CUT, Outcome.UNDECIDED)
    assert PassRate().of(held).detail == "1 of 2, 95% 0.095 to 0.905, 1 truncated, 1 undecided"
    assert PassRate(cut_off_fails=True).of(held).value == pytest.approx(1 / 3)
    assert PassRate().of(verdicts(CUT)).value is None


def test_variation_is_between_solvers() -> None:
    traces = [trace("x", model) for model in ("a", "a", "b", "b")]
    part = Variation(ddof=0)
    assert part.of(traces, verdicts(RIGHT, RIGHT, RIGHT, RIGHT)).value == 0.0
    assert part.of(traces, verdicts(RIGHT, RIGHT, WRONG, WRONG)).value == pytest.approx(1.0)
    assert part.of(traces, verdicts(RIGHT, RIGHT, RIGHT, WRONG)).detail == "a: 2 of 2, b: 1 of 2"
    assert part.of(traces, verdicts(*[WRONG] * 4)).value is None
    assert part.of(traces[:2], verdicts(RIGHT, WRONG)).value is None
    assert part.of(traces, verdicts(RIGHT, RIGHT, CUT, CUT)).value is None


def test_variation_of_the_papers_worked_example() -> None:
    scores = [0.9, 0.1, 0.7, 0.3, 0.5]
    assert variation(scores, 1) == pytest.approx(0.63, abs=0.005), "DeepDistill's worked value"
    assert variation(scores, 0) == pytest.approx(0.566, abs=0.001), "its printed formula"
    assert variation([0.5, 0.5], 1) == 0.0
    assert variation([0.0, 0.0], 1) is None
    assert variation([0.5], 1) is None


def test_variation_of_answers_whoever_gave_them() -> None:
    traces = [replace(trace("x", model), id=f"{i}") for i, model in enumerate("aabb")]
    score = Variation(by="answer").of(traces, verdicts(RIGHT, WRONG, WRONG, CUT))
    assert score.value == pytest.approx(3**0.5)
    assert score.detail == "1 of 3 answers"


@pytest.mark.parametrize("part", [PassRate(), Variation()], ids=lambda part: part.kind)
def test_the_verifier_decides(part: PassRate | Variation, tools: Tools) -> None:
    traces = [trace("\\boxed{4}", "a"), trace("\\boxed{5}", "b"), trace("so \\boxed{4}", "b")]
    other = [trace("\\boxed{4}", "a"), trace("it is \\boxed{4}", "b")]
    first, second = part.score_all([(PROBLEM, traces), (PROBLEM, other)], tools)
    expected = {"pass_rate": (2 / 3, 1.0), "variation": (2**0.5 / 3, 0.0)}[part.kind]
    assert [score.value for score in first] == pytest.approx([expected[0]] * 3)
    assert [score.value for score in second] == pytest.approx([expected[1]] * 2)


def test_lengths_in_their_units() -> None:
    held = trace("<think>\none two\n\nthree\n</think>\n\nfour \\boxed{4}", num_tokens=17)
    assert Length().of(held).value == 17
    assert Length(scope="thought").of(held).value is None
    assert Length(unit="words", scope="thought").of(held).value == 3
    assert Length(unit="steps", scope="thought").of(held).value == 2
    assert Length(unit="words", scope="thought").of(trace("no thought")).detail == "no thought"
    assert Length().of(trace("imported")).detail == "not stated"


@pytest.mark.parametrize(
    ("held", "lacking"),
    [
        (trace("<think>\nhm\n</think>\n\n\\boxed{4}"), None),
        (trace("<think>\nhm\n</think>\n\nThe answer is 4."), None),
        (trace("<think>\nhm\n</think>\n\nfour"), "lacks answer"),
        (trace("<think>\nhm", finish=Finish.LENGTH), "lacks end, tags, solution, answer"),
        (trace("<think>a</think>\n<think>b</think>\n\\boxed{4}"), "lacks tags"),
        (trace("\\boxed{4}"), "lacks thought"),
        (trace(f"<think>{'x ' * 200}\\boxed{{4}}</think>{'x ' * 200}\\boxed{{4}}"), "lacks no_copy"),
    ],
)
def test_structure_names_what_is_missing(held: Trace, lacking: str | None) -> None:
    score = Structure().of(held)
    assert score.detail == lacking
    assert (score.value == 1.0) == (lacking is None)


def test_structure_without_a_thought() -> None:
    assert Structure(thought=False).of(trace("\\boxed{4}")).value == 1.0


def test_repetition_sees_loops() -> None:
    fresh, loop = trace("a b c d e f g h i j"), trace("Wait, let me check. " * 50)
    assert Repetition().of(fresh).value == 0.0
    score = Repetition(ngram=4).of(loop)
    assert score.value is not None
    assert score.value > 0.95
    assert (score.detail or "").startswith("50 times: wait , let me")
    assert Repetition().of(trace("too short")).value is None


def test_every_trace_gets_a_score(tools: Tools) -> None:
    traces: Sequence[Trace] = [trace("a"), replace(trace("b"), id="2")]
    for part in (Length(), Structure(), Repetition(), PassRate(), Variation()):
        scores = part.score(PROBLEM, traces, tools)
        assert [score.name for score in scores] == [part.kind] * 2
