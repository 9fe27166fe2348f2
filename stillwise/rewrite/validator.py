"""The student as validator: does it state the right answer from a thought that somebody else gives it?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field

from stillwise.arrows import INSTRUCTION, Ask, Completion, Request, Tools, Verifier, user_message
from stillwise.decoding import Decoding
from stillwise.models.opening import answer_start
from stillwise.parts import Role
from stillwise.records import (
    THINK_CLOSE,
    THINK_OPEN,
    Finish,
    Outcome,
    Problem,
    Trace,
    derive_seed,
    digest,
    thinking_spans,
)
from stillwise.runtime.draw import verdicts
from stillwise.runtime.prompts import packaged


class Validating(Decoding):
    """Who finishes from given steps, how they are given, and what judges the answer."""

    by: Role = "student"
    """The role that states the answer."""
    given: Literal["prompt", "prefill"] = "prompt"
    """``prompt`` asks in words for the answer from these steps alone; ``prefill`` puts them into the model's mouth as a closed
    thought, after the question as in training: for models that follow no such instruction."""
    instruction: str = INSTRUCTION
    """Appended to the question where the steps are prefilled."""
    version: int = Field(default=1, ge=1)
    """Of the packaged prompt."""
    until: Verifier = Field(default="by_answer_kind", validate_default=True)
    """What judges the stated answers, and verifies the edited traces."""
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy: one answer decides."""
    max_tokens: int = Field(default=1024, ge=1)
    """A longer answer is truncated, never right."""


Given = tuple[Problem, str, str]
"""A problem, the steps to finish from, and a name of the attempt for its seed."""


def right_after(part: Validating, given: Sequence[Given], turn: str, tools: Tools) -> list[bool]:
    """Whether the model's answer after each of these thoughts is correct; all are asked for together.

    Undecided, truncated and failed answers are not right: such a thought did not suffice.
    """
    asks = [asked(part, problem, steps) for problem, steps, _ in given]
    seeds = [derive_seed(tools.seed, tools.step, part.by, "validate", turn, problem.id, name) for problem, _, name in given]
    requests = [Request(ask=ask, sampling=part.sampling, seed=seed) for ask, seed in zip(asks, seeds, strict=True)]
    bar = tools.progress(f"{tools.step} {turn}", len(requests))
    answers = tools.callers[part.by].complete(requests, lambda places, _: bar.advance(len(places)))
    traces = [_trace(part, *each, tools) for each in zip(given, asks, answers, strict=True)]
    found = verdicts(part.until, [problem for problem, _, _ in given], traces, tools)
    return [verdict.outcome is Outcome.CORRECT for verdict in found]


def asked(part: Validating, problem: Problem, steps: str) -> Ask:
    """How the steps are put to the model."""
    if part.given == "prefill":
        return Ask(
            user=user_message(problem.question, part.instruction),
            prefill=f"{THINK_OPEN}\n{steps.strip()}\n{THINK_CLOSE}\n\n",
        )
    prompt = packaged("stillwise.rewrite", f"conclude-{part.version}")
    return Ask(user=prompt.filled(problem=problem.question, steps=steps.strip()))


def _trace(part: Validating, given: Given, ask: Ask, answer: Completion, tools: Tools) -> Trace:
    problem, _, name = given
    text = answer_start(answer.opened, ask.prefill) + answer.text
    return Trace(
        id=digest(problem.id, part.by, name, text),
        problem_id=problem.id,
        role=part.by,
        model=tools.callers[part.by].revision,
        paradigm="validate",
        prompt=answer.prompt,
        text=text,
        spans=thinking_spans(text),
        finish=Finish.FAILED if answer.failure else answer.finish,
    )


def with_thought(trace: Trace, thought: str, kind: str, edit: str, count: Callable[[str], int]) -> Trace:
    """The trace with another thought before its solution, which stays as it is; ``count`` counts its tokens."""
    span = next(span for span in trace.spans if span.kind == "thinking")
    text = trace.text[: span.start] + f"\n{thought.strip()}\n" + trace.text[span.end :]
    return replace(
        trace,
        id=digest(trace.id, kind, edit, text),
        text=text,
        spans=thinking_spans(text),
        num_tokens=count(text),
        num_thinking_tokens=None,
        parent=trace.id,
        edit=edit,
    )
