"""Choosing by a number: traces within bounds, the best of each problem, the best problems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Row, Selector
from stillwise.parts import Input, Scores
from stillwise.records import Failure, Outcome

FAILED = (Outcome.INCORRECT, Outcome.TRUNCATED)


class ByScore(Selector):
    """Correct traces by what a scoring step says of them, of problems that are not too easy for a student.

    DeepDistill keeps what varies most (arXiv 2504.17565), DED what is farthest apart, and drops the questions that the student
    solves by itself. Equal scores go to the lower trace id.
    """

    kind: ClassVar[str] = "by_score"
    of: Input
    """The output whose traces are kept."""
    by: Scores
    """The scoring step."""
    best: Literal["highest", "lowest"] = "highest"
    """Which end of the scale goes first."""
    at_least: float | None = None
    """The lowest score that is kept, included."""
    at_most: float | None = None
    """The highest score that is kept, included."""
    per_problem: int | None = Field(default=None, ge=1)
    """Traces of a problem at most; None keeps all."""
    problems: int | None = Field(default=None, ge=1)
    """Problems at most, those with the best trace first; None keeps all."""
    attempts: Input | None = None
    """A student's own verified tries at the same problems."""
    solved_at_most: float = Field(default=1.0, ge=0, le=1)
    """A problem that the attempts solve more often is too easy; one that was never tried is not."""

    def select(self, rows: Sequence[Row]) -> tuple[list[Row], list[Failure]]:
        """Rows by problem in order of first appearance, the best first; a failure for each problem without any."""
        mine: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if row.output == self.of:
                mine[row.problem_id].append(row)
        easy = self._easy([row for row in rows if row.output == self.attempts])
        kept: dict[str, list[Row]] = {}
        failures = []
        for problem, held in mine.items():
            found = self._of_problem(held)
            if found and problem not in easy:
                kept[problem] = found
            else:
                failures.append(Failure(step=self.kind, item=problem, reason="too_easy" if found else "no_trace"))
        chosen = set(sorted(kept, key=lambda problem: self._key(kept[problem][0]))[: self.problems])
        failures += [Failure(step=self.kind, item=p, reason="over_number") for p in kept if p not in chosen]
        return [row for problem in kept if problem in chosen for row in kept[problem]], failures

    def _of_problem(self, rows: Sequence[Row]) -> list[Row]:
        right = [row for row in rows if row.outcome == Outcome.CORRECT and self._within(row.scores.get(self.by))]
        return sorted(right, key=self._key)[: self.per_problem]

    def _within(self, value: float | None) -> bool:
        if value is None:
            return False
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def _key(self, row: Row) -> tuple[float, str]:
        return (-row.scores[self.by] if self.best == "highest" else row.scores[self.by]), row.trace_id

    def _easy(self, attempts: Sequence[Row]) -> set[str]:
        tries: defaultdict[str, list[bool]] = defaultdict(list)
        for row in attempts:
            if row.outcome == Outcome.CORRECT or row.outcome in FAILED:
                tries[row.problem_id].append(row.outcome == Outcome.CORRECT)
        return {problem for problem, held in tries.items() if sum(held) / len(held) > self.solved_at_most}
