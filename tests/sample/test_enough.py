"""A sampler that stops at enough different answers, a share of the problems; and the filter of what is too much alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from stillwise.arrows import Request, Sampled
from stillwise.problems.distinct import Distinct
from stillwise.records import AnswerKind, Outcome, Problem
from stillwise.runtime.likeness import rouge_l, unlike
from stillwise.sample.enough import UntilEnough
from stillwise.sample.paradigms import Instruct

PROBLEMS = [Problem.of(f"q{i}", str(i), answer_kind=AnswerKind.NUMBER) for i in range(4)]
PLAIN = Instruct(instruction="")


def counting(answer: Callable[[int, int], str]) -> Callable[[Request], str]:
    """A script of problem and try."""
    seen: dict[int, int] = {}

    def script(request: Request) -> str:
        number = int(request.ask.user[1:])
        seen[number] = seen.get(number, -1) + 1
        return answer(number, seen[number])

    return script


def words(start: int) -> str:
    return " ".join(f"w{start}.{n}" for n in range(20))


def sampled(part: Any, tools: Any, problems: list[Problem] = PROBLEMS) -> list[Sampled]:
    return [one for one in part.sample(problems, tools) if isinstance(one, Sampled)]


def test_rouge_l_of_words() -> None:
    assert rouge_l(list("abcd"), list("axcd")) == pytest.approx(0.75)
    assert rouge_l(list("ab"), list("bacc")) == pytest.approx(2 * 1 / 6)
    assert (rouge_l([], []), rouge_l(["a"], ["b"])) == (1.0, 0.0)
    assert unlike(["a b c d e", "a b c d x", "y z", "a b c d e"], 0.7) == [True, False, True, False]


def test_a_problem_is_asked_until_it_has_enough_that_are_unlike(bench: Any) -> None:
    def answer(number: int, attempt: int) -> str:
        # q0: always new; q1: says the same twice each time; q2: never right; q3: right from the third try on.
        value = {2: 99, 3: number if attempt >= 2 else 99}.get(number, number)
        return f"{words(attempt // 2 if number == 1 else attempt)} \\boxed{{{value}}}"

    part = UntilEnough(by="reasoner", paradigm=PLAIN, count=2, tries=6)
    found = sampled(part, bench(counting(answer)).tools)
    tries = {p.question: sum(one.trace.problem_id == p.id for one in found) for p in PROBLEMS}
    assert tries == {"q0": 2, "q1": 3, "q2": 6, "q3": 4}
    assert all(one.verdict is not None for one in found)


def test_no_two_kept_traces_are_more_alike_than_allowed(bench: Any) -> None:
    script = counting(lambda number, attempt: f"{words(attempt % 3)} tail {attempt} \\boxed{{{number}}}")
    found = sampled(UntilEnough(by="reasoner", paradigm=PLAIN, count=3, tries=9), bench(script).tools)
    traces = [one.trace for one in found]
    gone = {failure.item for failure in Distinct().filter({}, traces, {}).dropped}
    kept = [trace for trace in traces if trace.id not in gone]
    for problem in PROBLEMS:
        texts = [trace.text.split() for trace in kept if trace.problem_id == problem.id]
        assert len(texts) == 3
        assert max(rouge_l(a, b) for a, b in combinations(texts, 2)) <= 0.8
    assert len(Distinct(max_rouge_l=1.0).filter({}, traces, {}).dropped) == 0


def test_the_student_is_asked_until_it_is_wrong_often_enough(bench: Any) -> None:
    script = counting(lambda number, attempt: f"{words(attempt)} \\boxed{{{number if attempt % 2 else 99}}}")
    found = sampled(UntilEnough(by="reasoner", paradigm=PLAIN, count=2, wanted="incorrect", tries=9), bench(script).tools)
    wrong = [one for one in found if one.verdict and one.verdict.outcome is Outcome.INCORRECT]
    assert (len(found), len(wrong)) == (3 * len(PROBLEMS), 2 * len(PROBLEMS))


def test_a_share_of_the_problems_is_asked_and_none_at_all_at_zero(bench: Any) -> None:
    many = [Problem.of(f"q{i}", str(i), answer_kind=AnswerKind.NUMBER) for i in range(400)]
    made = bench(counting(lambda number, attempt: f"\\boxed{{{number}}}"))

    def asked(share: float, step: str = "refreshed/1") -> set[str]:
        part = UntilEnough(by="reasoner", paradigm=PLAIN, count=1, tries=1, share=share)
        return {each.trace.problem_id for each in sampled(part, replace(made.tools, step=step), many)}

    assert asked(0.0) == set()
    assert made.model.calls == 0
    assert len(asked(1.0)) == 400
    half, later = asked(0.5), asked(0.5, "refreshed/2")
    assert asked(0.5) == half
    assert 0.4 < len(half) / 400 < 0.6
    assert 0.15 < len(half & later) / 400 < 0.35
