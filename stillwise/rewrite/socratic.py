"""Traces as dialogues: each step of a solution becomes the answer to a question that a teacher writes for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Ask, Completion, Rewriter, Segmenter, Tools, Verifier
from stillwise.boxed import last_boxed
from stillwise.decoding import Decoding
from stillwise.parts import Role
from stillwise.records import Failure, Finish, Problem, Span, Trace, digest
from stillwise.rewrite.fit import asked, written
from stillwise.runtime.dialogue import ANSWER, CLOSING, END, QUESTION
from stillwise.runtime.prompts import packaged


class Socratic(Rewriter, Decoding):
    r"""A dialogue of sub-questions and their answers; spans ``question`` and ``answer`` are what its two speakers learn.

    Distilling Reasoning Capabilities into Smaller Language Models (Socratic CoT), arXiv 2212.00193, §3: the steps of the
    thought (or of a solution without one) are the answers, the teacher writes a question for each. The closing question is
    answered by the trace's ``\boxed{}`` alone. A span holds what a speaker has to write, the end of the line included.
    """

    kind: ClassVar[str] = "socratic"
    by: Role = "instructor"
    """The role that writes the questions."""
    segment: Segmenter = Field(default="logical_units", validate_default=True)
    """What cuts a thought into steps."""
    until: Verifier = Field(default="by_answer_kind", validate_default=True)
    """What verifies the dialogue, whose answer is the trace's."""
    version: int = Field(default=1, ge=1)
    """Of the packaged prompt."""
    closing: str = CLOSING
    """The last question of every dialogue."""
    max_steps: int = Field(default=11, ge=1)
    """A trace of more steps is dropped: no dialogue would come to its end."""
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy."""
    max_tokens: int = Field(default=2048, ge=1)
    """For all questions of a trace."""

    def rewrite(self, problem: Problem, trace: Trace, tools: Tools) -> Trace | Failure:
        """The dialogue, or why there is none."""
        return self.rewrite_all([(problem, trace)], tools)[0]

    def rewrite_all(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[Trace | Failure]:
        """Each pair's dialogue; the questions of all traces are asked for together."""
        steps = [self._steps(trace) for _, trace in pairs]
        todo = [place for place, held in enumerate(steps) if 0 < len(held) <= self.max_steps]
        asks = [self._ask(pairs[place][0], steps[place]) for place in todo]
        said = dict(zip(todo, asked(self, [pairs[place] for place in todo], asks, "questions", tools), strict=True))
        return [self._made(trace, steps[i], said.get(i), tools) for i, (_, trace) in enumerate(pairs)]

    def _steps(self, trace: Trace) -> list[str]:
        thought = trace.span("thinking") or trace.span("solution") or ""
        units = [thought[unit.start : unit.end] for unit in self.segment.segment(thought)]
        return [line for unit in units if (line := " ".join(unit.split()))]

    def _ask(self, problem: Problem, steps: Sequence[str]) -> Ask:
        numbered = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))
        prompt = packaged("stillwise.rewrite", f"{self.kind}-{self.version}")
        return Ask(user=prompt.filled(problem=problem.question, steps=numbered, count=str(len(steps))))

    def _made(self, trace: Trace, steps: Sequence[str], said: Completion | None, tools: Tools) -> Trace | Failure:
        questions = [line.strip() for line in written(said).splitlines() if line.strip()] if said else []
        found = last_boxed(trace.span("solution") or "")
        if not said:
            return _failed(tools, trace, "too_many_steps" if steps else "no_steps")
        if said.failure or said.finish is Finish.LENGTH:
            return _failed(tools, trace, said.failure or "truncated")
        if len(questions) != len(steps) or not found:
            return _failed(tools, trace, "other_number_of_questions" if found else "no_answer")
        lines = [*zip(questions, steps, strict=True), (self.closing, f"\\boxed{{{found}}}")]
        text, spans = dialogue(lines)
        new = replace(
            trace,
            id=digest(trace.id, self.kind, text),
            text=text,
            spans=(Span(kind="solution", start=0, end=len(text)), *spans),
            num_tokens=tools.callers[self.by].count_tokens(text),
            num_thinking_tokens=0,
            parent=trace.id,
            edit=self.kind,
        )
        return new.signed(self.kind, self.fingerprint)


def dialogue(lines: Sequence[tuple[str, str]]) -> tuple[str, tuple[Span, ...]]:
    """The text of questions with their answers, and the spans of what each speaker writes; nothing follows the last answer."""
    text, spans = "", []
    for question, answer in lines:
        for kind, mark, line in (("question", QUESTION, question), ("answer", ANSWER, answer)):
            start = len(text) + len(mark)
            text += f"{mark}{line}{END}"
            spans.append(Span(kind=kind, start=start, end=len(text)))
    whole = text.rstrip()
    return whole, tuple(replace(span, end=min(span.end, len(whole))) for span in spans)


def _failed(tools: Tools, trace: Trace, reason: str) -> Failure:
    return Failure(step=tools.step, item=trace.id, reason=reason)
