"""A thought's attempts: where they begin, and what is kept after the first that arrives."""

from __future__ import annotations

from typing import Any

import pytest

from stillwise.records import Failure, Problem, Trace, thinking_spans
from stillwise.rewrite.attempts import Attempts, FirstSolution
from stillwise.score.verbosity import AfterFirst, VerbosityByLength
from tests.asking import tools_for

PROBLEM = Problem.of("What is 17 + 25 - 2?", "40")
WRONG = "First I add the tens and the ones of both numbers. 17 + 25 = 41, hmm. Then I take 2 away, so the answer is 39.\n\n"
RIGHT = "Wait, let me start over with the ones this time, because 7 and 5 make 12. 17 + 25 = 42 and so the answer is 40.\n\n"
CHECK = "Let me verify this by going backwards from the end: 40 and 2 make 42, which is 17 and 25. So the result is 40.\n\n"
OTHER = "Alternatively, one could take the 2 away first of all, 17 + 23, and that makes it simple: the answer is 40 again.\n"


def trace(*attempts: str, solution: str = "\\boxed{40}") -> Trace:
    text = f"<think>\n{''.join(attempts)}</think>\n\n{solution}"
    return Trace(
        id="t", problem_id=PROBLEM.id, role="reasoner", model="m", paradigm="think", prompt="p", text=text,
        spans=thinking_spans(text), num_tokens=90, num_thinking_tokens=80,
    )  # fmt: skip


def thought_of(found: Trace | Failure) -> str:
    assert isinstance(found, Trace)
    return (found.span("thinking") or "").strip()


def test_an_attempt_begins_where_a_unit_turns_back_after_a_conclusion() -> None:
    text = WRONG + RIGHT + CHECK + OTHER
    found = [text[span.start : span.end] for span in Attempts().segment(text)]
    assert found == [WRONG, RIGHT, CHECK, OTHER]


def test_doubt_in_mid_calculation_is_no_second_attempt() -> None:
    begun = "First I look at the tens of both numbers, one and two, and keep them for later on.\n\n"
    assert len(Attempts().segment(begun + RIGHT)) == 1
    assert Attempts().segment("  \n") == ()


@pytest.mark.parametrize(
    ("part", "kept"),
    [
        (FirstSolution(), WRONG + RIGHT),
        (FirstSolution(checks=1), WRONG + RIGHT + CHECK),
        (FirstSolution(checks=9), WRONG + RIGHT + CHECK + OTHER),
        (FirstSolution(accept="concluded"), WRONG),
    ],
)
def test_what_stays(part: FirstSolution, kept: str) -> None:
    whole = trace(WRONG, RIGHT, CHECK, OTHER)
    new = part.rewrite(PROBLEM, whole, tools_for())
    assert isinstance(new, Trace)
    assert thought_of(new) == kept.strip()
    assert new.span("solution") == whole.span("solution")
    assert (new is whole) == (part.checks == 9)
    assert new is whole or (new.parent, new.edit, new.num_thinking_tokens) == ("t", "first_solution", None)


@pytest.mark.parametrize(
    ("given", "reason"),
    [({"attempts": (WRONG,)}, "no_accepted_attempt"), ({"attempts": ()}, "no_thought")],
)
def test_what_cannot_be_shortened_is_counted(given: dict[str, Any], reason: str) -> None:
    failed = FirstSolution().rewrite(PROBLEM, trace(*given["attempts"]), tools_for())
    assert isinstance(failed, Failure)
    assert (failed.reason, failed.item) == (reason, "t")


def test_how_much_follows_the_first_attempt() -> None:
    score = AfterFirst().of(trace(WRONG, RIGHT, CHECK))
    assert score.value == pytest.approx(2 / 3, abs=0.05)
    assert score.detail == "3 attempts"
    assert AfterFirst().of(trace(WRONG)).value == 0
    assert AfterFirst().of(trace()).value is None


@pytest.mark.parametrize(("words", "value"), [(10, 0.0), (25, 0.0), (50, 1.0), (200, 3.0), (25 * 2**9, 9.0), (10**5, 9.0)])
def test_a_level_for_each_doubling(words: int, value: float) -> None:
    assert VerbosityByLength().of(trace(solution="word " * words)).value == pytest.approx(value)
    assert VerbosityByLength(scope="thought").of(trace(solution="word")).value is None
