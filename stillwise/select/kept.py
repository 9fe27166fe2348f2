"""Every trace that was found right, not the first alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Row, Selector
from stillwise.parts import Input
from stillwise.records import Failure, Outcome


class AllCorrect(Selector):
    """All correct traces of each problem, of several outputs; those that were not verified as well, where that is asked for."""

    kind: ClassVar[str] = "all_correct"
    of: tuple[Input, ...] = ()
    """The outputs whose traces are kept; none: the step's input."""
    unverified: Literal["drop", "take"] = "drop"
    """What happens to a trace that nobody verified. (One that a verifier could not decide, or that was cut off, is dropped.)"""
    per_problem: int | None = Field(default=None, ge=1)
    """Traces of a problem at most, for each output: those that were sampled first; None keeps all."""

    def select(self, rows: Sequence[Row]) -> tuple[list[Row], list[Failure]]:
        """Rows in their order; a failure for each problem of which no output keeps any."""
        taken: dict[tuple[str, str], int] = {}
        kept: list[Row] = []
        for row in sorted(rows, key=lambda row: row.sample_index) if self.per_problem else rows:
            key = (row.output, row.problem_id)
            if self._admits(row) and (self.per_problem is None or taken.get(key, 0) < self.per_problem):
                taken[key] = taken.get(key, 0) + 1
                kept.append(row)
        problems = {problem for _, problem in taken}
        lost = [problem for problem in dict.fromkeys(row.problem_id for row in rows) if problem not in problems]
        return kept, [Failure(step=self.kind, item=problem, reason="no_correct") for problem in lost]

    def _admits(self, row: Row) -> bool:
        return row.outcome == Outcome.CORRECT or (row.outcome is None and self.unverified == "take")


class Every(Selector):
    """Every trace that ended by itself, right or wrong: what is learnt is how a teacher thinks, not what it finds."""

    kind: ClassVar[str] = "every"
    cut_off: Literal["drop", "take"] = "drop"
    """What happens to a trace that stopped at the token limit."""

    def select(self, rows: Sequence[Row]) -> tuple[list[Row], list[Failure]]:
        """Rows in their order; a failure for each problem that keeps none."""
        lost = (Outcome.FAILED, *([Outcome.TRUNCATED] if self.cut_off == "drop" else []))
        kept = [row for row in rows if row.outcome not in lost]
        left = {row.problem_id for row in kept}
        gone = [problem for problem in dict.fromkeys(row.problem_id for row in rows) if problem not in left]
        return kept, [Failure(step=self.kind, item=problem, reason="no_whole_trace") for problem in gone]
