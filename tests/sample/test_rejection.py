"""Rejection sampling in waves: who is asked again, in which order, with which seeds, and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stillwise.arrows import Request, Sampled
from stillwise.records import AnswerKind, Failure, Finish, Outcome, Problem, derive_seed
from stillwise.sample.paradigms import NoRethink, NoThink, Think
from stillwise.sample.rejection import All, Rejection

PROBLEMS = [Problem.of(f"q{i}", str(i), answer_kind=AnswerKind.NUMBER) for i in range(5)]


def number(request: Request) -> int:
    return int(request.ask.user[1:].split()[0])


def solved_at(tries: dict[int, int]) -> Callable[[Request], str]:
    """A script in which problem i is answered rightly from try ``tries[i]`` on (never, if it is not listed)."""
    seen: dict[int, int] = {}

    def script(request: Request) -> str:
        i = number(request)
        seen[i] = seen.get(i, -1) + 1
        value = i if i in tries and seen[i] >= tries[i] else 99
        return f"<think>\nhm\n</think>\n\nThe answer is \\boxed{{{value}}}."

    return script


def attempts(found: list[Sampled | Failure]) -> list[tuple[int, str, Outcome]]:
    samples = [one for one in found if isinstance(one, Sampled)]
    by_id = {p.id: p.question for p in PROBLEMS}
    return [(s.trace.sample_index, by_id[s.trace.problem_id], s.verdict.outcome) for s in samples if s.verdict]


def test_only_unsolved_problems_are_asked_again_in_order(bench: Any) -> None:
    made = bench(solved_at({0: 0, 1: 1, 2: 2, 3: 0}))
    found = list(Rejection(by="reasoner", paradigm=Think(instruction=""), tries=3).sample(PROBLEMS, made.tools))
    right, wrong = Outcome.CORRECT, Outcome.INCORRECT
    assert attempts(found) == [
        *[(0, "q0", right), (0, "q1", wrong), (0, "q2", wrong), (0, "q3", right), (0, "q4", wrong)],
        *[(1, "q1", right), (1, "q2", wrong), (1, "q4", wrong)],
        *[(2, "q2", right), (2, "q4", wrong)],
    ]


def test_no_wave_follows_when_all_are_solved(bench: Any) -> None:
    made = bench(solved_at(dict.fromkeys(range(5), 0)))
    found = list(Rejection(by="reasoner", paradigm=Think()).sample(PROBLEMS, made.tools))
    assert len(found) == len(made.model.requests) == 5
    assert [bar.total for bar in made.bars] == [5]


def test_seeds_come_from_names(bench: Any) -> None:
    made = bench(solved_at({}), seed=77)
    found = Rejection(by="reasoner", paradigm=Think(), tries=2).sample(PROBLEMS, made.tools)
    traces = [one.trace for one in found if isinstance(one, Sampled)]
    expected = [derive_seed(77, "s", "reasoner", "think", p.id, k) for k in range(2) for p in PROBLEMS]
    assert [t.seed for t in traces] == expected
    assert len({t.seed for t in traces}) == len({t.id for t in traces}) == 10
    assert sorted(r.seed for r in made.model.requests) == sorted(expected)


def test_the_bars_show_the_share_solved(bench: Any) -> None:
    made = bench(solved_at({0: 0, 1: 1, 2: 1}))
    list(Rejection(by="reasoner", paradigm=Think(instruction=""), tries=2).sample(PROBLEMS, made.tools))
    assert [(bar.done, bar.total) for bar in made.bars] == [(5, 5), (4, 4)]
    assert [bar.figures["solved"] for bar in made.bars] == pytest.approx([0.2, 0.6])
    assert made.bars[0].label == "s, try 1 of 4".replace("4", "2")


def test_a_trace_holds_the_whole_answer_and_how_it_came(bench: Any) -> None:
    made = bench({"q": "So \\boxed{1}."}, template="<u>{user}<a><think>\n")
    paradigm = NoThink(instruction="")
    sampler = Rejection(by="reasoner", paradigm=paradigm, tries=1, top_k=3, max_tokens=50)
    (one,) = sampler.sample(PROBLEMS[1:2], made.tools)
    assert isinstance(one, Sampled)
    trace = one.trace
    assert trace.prompt == "<u>q1<a>"
    assert trace.text == "<think>\nOkay, I think I have finished thinking.\n</think>\n\nSo \\boxed{1}."
    assert trace.span("solution") == "\n\nSo \\boxed{1}."
    assert (trace.role, trace.paradigm, trace.model) == ("reasoner", "no_think", made.model.revision)
    assert (trace.sampling.top_k, trace.sampling.max_tokens, trace.sampling.temperature) == (3, 50, 0.6)
    assert trace.history[0].fingerprint == paradigm.fingerprint
    assert one.verdict
    assert one.verdict.outcome is Outcome.CORRECT


def test_an_answer_cut_by_the_limit_is_truncated_without_grading(bench: Any) -> None:
    made = bench(lambda request: f"\\boxed{{{number(request)}}} and much more to say")
    sampler = Rejection(by="reasoner", paradigm=Think(instruction=""), tries=1, max_tokens=3)
    found = list(sampler.sample(PROBLEMS, made.tools))
    assert {outcome for _, _, outcome in attempts(found)} == {Outcome.TRUNCATED}
    assert {s.trace.finish for s in found if isinstance(s, Sampled)} == {Finish.LENGTH}
    assert made.graders.graded == 0


def test_a_banned_word_that_got_through_is_a_failure(bench: Any) -> None:
    words = {0: "But no", 1: "butter", 2: "hmm, wait"}
    made = bench(lambda request: f"{words.get(number(request), '')} \\boxed{{{number(request)}}}")
    sampler = Rejection(by="reasoner", paradigm=NoRethink(instruction=""), tries=1)
    found = list(sampler.sample(PROBLEMS, made.tools))
    failures = [one for one in found if isinstance(one, Failure)]
    assert [(f.item, f.reason, f.detail) for f in failures] == [
        (PROBLEMS[0].id, "banned_word", "try 0: but"),
        (PROBLEMS[2].id, "banned_word", "try 0: hmm, wait"),
    ]
    lenient = Rejection(by="reasoner", paradigm=NoRethink(instruction="", mode="token_ban"), tries=1)
    assert not [one for one in lenient.sample(PROBLEMS, made.tools) if isinstance(one, Failure)]


def test_all_draws_every_try(bench: Any) -> None:
    made = bench(solved_at(dict.fromkeys(range(5), 0)))
    found = list(All(by="reasoner", paradigm=Think(instruction=""), tries=3).sample(PROBLEMS, made.tools))
    assert [(k, q) for k, q, _ in attempts(found)] == [(k, f"q{i}") for k in range(3) for i in range(5)]
    assert [(bar.done, bar.total) for bar in made.bars] == [(15, 15)]


def test_no_problem_is_no_attempt(bench: Any) -> None:
    made = bench({})
    assert list(Rejection(by="reasoner", paradigm=Think()).sample([], made.tools)) == []
    assert list(All(by="reasoner", paradigm=Think()).sample([], made.tools)) == []
