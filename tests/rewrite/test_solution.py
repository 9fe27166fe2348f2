"""Think-Solution: the text after the thought, its parent, and what has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from stillwise.arrows import Ask, Completion, OnBatch, Progress, Request, Tools, Verifier
from stillwise.models.scripted import ScriptedModel
from stillwise.records import Failure, Problem, Trace, Verdict, thinking_spans
from stillwise.rewrite.solution import ThinkSolution

PROBLEM = Problem.of("q", "1")


@dataclass(frozen=True)
class Words:
    """A caller that only counts."""

    revision: str = "r"

    def complete(self, requests: Sequence[Request], on_batch: OnBatch) -> list[Completion]:
        raise AssertionError("a rewrite of text asks no model")

    def render(self, ask: Ask) -> tuple[str, str]:
        return ask.user, ""

    def count_tokens(self, text: str) -> int:
        return ScriptedModel({}).count_tokens(text)


class NoGraders:
    def verify(self, verifier: Verifier, pairs: Sequence[tuple[Problem, Trace]]) -> list[Verdict]:
        raise AssertionError("nothing is graded here")


def no_bar(label: str, total: int) -> Progress:
    raise AssertionError("a rewrite opens no bar")


def tools(**callers: Words) -> Tools:
    return Tools(step="s", seed=0, callers=callers, graders=NoGraders(), progress=no_bar)


def trace(text: str) -> Trace:
    return Trace(
        id="t", problem_id=PROBLEM.id, role="reasoner", model="m", paradigm="think", prompt="p", text=text,
        spans=thinking_spans(text), num_tokens=40, seed=3,
    )  # fmt: skip


def test_the_solution_is_a_trace_of_its_own() -> None:
    parent = trace("<think>\nlong, but wait\n</think>\n\nSo it is \\boxed{1}.\n")
    edited = ThinkSolution().rewrite(PROBLEM, parent, tools(reasoner=Words()))
    assert isinstance(edited, Trace)
    assert edited.text == edited.span("solution") == "So it is \\boxed{1}."
    assert edited.span("thinking") is None
    assert (edited.parent, edited.edit, edited.paradigm) == ("t", "think_solution", "think_solution")
    assert edited.num_tokens == 4
    assert edited.id != parent.id
    assert [s.kind for s in edited.history] == ["think_solution"]
    assert (edited.seed, edited.role, edited.prompt) == (3, "reasoner", "p")


def test_without_the_role_the_tokens_are_unknown() -> None:
    edited = ThinkSolution().rewrite(PROBLEM, trace("<think>a</think>b"), tools())
    assert isinstance(edited, Trace)
    assert edited.num_tokens is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [("just 1", "no_thought"), ("<think>\non and on", "unclosed_thought"), ("<think>a</think>\n \n", "empty_solution")],
)
def test_what_has_no_solution_is_counted(text: str, reason: str) -> None:
    failure = ThinkSolution().rewrite(PROBLEM, trace(text), tools())
    assert failure == Failure(step="s", item="t", reason=reason)
