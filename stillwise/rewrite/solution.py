"""Think-Solution: what a reasoner writes after its thought (curriculum distillation paper, §4.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Rewriter, Tools, Verifier
from stillwise.records import Failure, Problem, Span, Trace, digest


class ThinkSolution(Rewriter):
    """Only the solution of a Think trace; no model is asked."""

    kind: ClassVar[str] = "think_solution"
    until: Verifier = Field(default="by_answer_kind", validate_default=True)
    """What verifies the cut text again: its answer must stand in the solution itself."""

    def rewrite(self, problem: Problem, trace: Trace, tools: Tools) -> Trace | Failure:
        """The solution as a trace of its own; a trace without a closed thought, or with nothing after it, is a failure."""
        if trace.span("thinking") is None:
            return Failure(step=tools.step, item=trace.id, reason="no_thought")
        solution = trace.span("solution")
        if solution is None:
            return Failure(step=tools.step, item=trace.id, reason="unclosed_thought")
        text = solution.strip()
        if not text:
            return Failure(step=tools.step, item=trace.id, reason="empty_solution")
        caller = tools.callers.get(trace.role)
        edited = replace(
            trace,
            id=digest(trace.id, self.kind, text),
            text=text,
            paradigm=self.kind,
            spans=(Span(kind="solution", start=0, end=len(text)),),
            num_tokens=caller.count_tokens(text) if caller else None,
            num_thinking_tokens=0,
            parent=trace.id,
            edit=self.kind,
        )
        return edited.signed(self.kind, self.fingerprint)
