"""Rewards in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from stillwise.arrows import Scorer, Tools
from stillwise.records import Finish, Outcome, Problem, Score, Trace, Verdict
from stillwise.score.shape import Length
from stillwise.train.rewards import Accurate, Formatted, Overlong, Scored, Within
from stillwise.verify.maths import Maths
from tests.train.conftest import NoGraders

PROBLEM = Problem.of("What is 1 + 1?", "2")


def answer(text: str, tokens: int | None = 10, finish: Finish = Finish.STOP) -> Trace:
    return Trace(
        id=text,
        problem_id=PROBLEM.id,
        role="r",
        model="m",
        paradigm="p",
        prompt="",
        text=text,
        num_tokens=tokens,
        finish=finish,
    )


def values(part: Any, answers: Sequence[Trace], tools: Tools) -> list[float | None]:
    found: list[float | None] = part.values([(PROBLEM, trace) for trace in answers], tools)
    return found


class Marks(Scorer):
    """The number that an answer consists of; None for a word."""

    kind: ClassVar[str] = "marks"

    def score(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> list[Score]:
        """One number for each."""
        texts = [trace.text for trace in traces]
        return [Score(name="marks", value=float(t) if t.replace(".", "").isdigit() else None) for t in texts]


def test_equations_one_and_two(tools: Tools) -> None:
    part = Within(score=Marks(), low=0.3, high=0.6)
    answers = [answer(t) for t in ("0.1", "0.3", "0.45", "0.6", "1.0", "none")]
    assert values(part, answers, tools) == [pytest.approx(-0.2), 0, 0, 0, pytest.approx(-0.4), None]
    assert values(Within(score=Length(), low=0, high=0.5, scale=20), [answer("a", 5), answer("b", 30)], tools) == [0, -1.0]
    with pytest.raises(ValueError, match="above high"):
        Within(score=Marks(), low=0.7, high=0.6)


def test_a_score_as_it_is(tools: Tools) -> None:
    assert values(Scored(score=Marks(), scale=2), [answer("3"), answer("x")], tools) == [1.5, None]


@pytest.mark.parametrize(
    ("part", "text", "finish", "value"),
    [
        (Formatted(), "<think>\nso\n</think>\n\nThe answer is \\boxed{2}.", Finish.STOP, 1),
        (Formatted(), "<think>\nso\n</think>\n\nThe answer is \\boxed{2}.", Finish.LENGTH, 0),
        (Formatted(), "<think>so</think>The answer is 2.", Finish.STOP, 0),
        (Formatted(box=False), "<think>so</think>The answer is 2.", Finish.STOP, 1),
        (Formatted(), "First <think>so</think>\\boxed{2}", Finish.STOP, 0),
        (Formatted(), "<think>so</think>\\boxed{2}</think>", Finish.STOP, 0),
        (Formatted(), "<think>\\boxed{2}</think>  ", Finish.STOP, 0),
        (Formatted(), "The answer is \\boxed{2}.", Finish.STOP, 0),
        (Formatted(thought=False), "The answer is \\boxed{2}.", Finish.STOP, 1),
        (Formatted(thought=False), "<think>so</think>\\boxed{2}", Finish.STOP, 0),
        (Formatted(thought=False), "2", Finish.STOP, 0),
    ],
)
def test_the_form_of_an_answer(part: Formatted, text: str, finish: Finish, value: float, tools: Tools) -> None:
    assert values(part, [answer(text, finish=finish)], tools) == [value]


def test_right_answers_and_those_that_nobody_could_grade(tools: Tools) -> None:
    class Known(NoGraders):
        def verify(self, verifier: Any, pairs: Any) -> list[Verdict]:
            return [Verdict(outcome=Outcome(trace.text)) for _, trace in pairs]

    from dataclasses import replace

    known = replace(tools, graders=Known())
    words = [outcome.value for outcome in Outcome]
    found = dict(zip(words, values(Accurate(until=Maths()), [answer(word) for word in words], known), strict=True))
    assert found == {"correct": 1, "incorrect": 0, "undecided": 0, "truncated": 0, "timed_out": None, "failed": None}
    assert values(Accurate(until=Maths()), [answer("correct", finish=Finish.LENGTH)], known) == [0]


def test_overlong_answers_pay_in_a_straight_line(tools: Tools) -> None:
    part = Overlong(limit=100, buffer=40)
    answers = [answer(str(n), n) for n in (10, 60, 80, 100, 200)]
    assert values(part, answers, tools) == [0, 0, -0.5, -1, -1]
    assert values(part, [answer("cut", 50, Finish.LENGTH), answer("?", None)], tools) == [-1, None]


def test_a_reward_names_its_model_as_a_role() -> None:
    from stillwise.parts import roles_of
    from stillwise.train.grpo import GRPO

    part = GRPO(
        rewards=(
            Accurate(),
            Within.model_validate({"score": {"kind": "reward", "model": "rv_model"}, "low": 0, "high": 1}),
        )
    )
    assert roles_of(part) == ("student", "rv_model")
