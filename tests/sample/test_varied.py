"""Several teachers at several temperatures: every combination once, with numbers and seeds of its own."""

from __future__ import annotations

from collections import Counter

from stillwise.arrows import Request, Sampled
from stillwise.records import AnswerKind, Outcome, Problem
from stillwise.sample.paradigms import Think
from stillwise.sample.varied import Varied
from tests.asking import scripted, tools_for

PROBLEMS = [Problem.of(f"q{i}", str(i), answer_kind=AnswerKind.NUMBER) for i in range(3)]


def right(request: Request) -> str:
    return f"<think>\nhm\n</think>\n\nThe answer is \\boxed{{{request.ask.user[1]}}}."


def wrong(request: Request) -> str:
    return "<think>\nhm\n</think>\n\nThe answer is \\boxed{99}."


PART = Varied(by=("first", "second"), paradigm=Think(instruction=""), temperatures=(0.2, 1.0), each=2)


def test_every_teacher_answers_at_every_temperature() -> None:
    first, second = scripted(right), scripted(wrong)
    found = list(PART.sample(PROBLEMS, tools_for(first=first, second=second)))
    assert len(found) == PART.tries * len(PROBLEMS) == 24
    sampled = [one for one in found if isinstance(one, Sampled)]
    counts = Counter((one.trace.role, one.trace.sampling.temperature, one.trace.problem_id) for one in sampled)
    assert set(counts.values()) == {2}
    assert len(counts) == 12
    assert {(one.trace.role, one.verdict.outcome) for one in sampled if one.verdict} == {
        ("first", Outcome.CORRECT),
        ("second", Outcome.INCORRECT),
    }


def test_numbers_seeds_and_ids_differ() -> None:
    found = list(PART.sample(PROBLEMS, tools_for(first=scripted(right), second=scripted(right))))
    traces = [one.trace for one in found if isinstance(one, Sampled)]
    assert sorted((t.problem_id, t.sample_index) for t in traces) == sorted((p.id, n) for p in PROBLEMS for n in range(8))
    assert len({t.seed for t in traces}) == len({t.id for t in traces}) == 24
