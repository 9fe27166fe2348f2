"""Short traces for easy problems, long ones for hard problems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field, field_validator

from stillwise.arrows import Row, Selector
from stillwise.parts import Scores
from stillwise.records import Failure, Outcome
from stillwise.select.profile import by_problem, lengths, named


class SuitedLength(Selector):
    """Correct traces whose length suits the problem's level: the shortest of an easiest problem, the longest of a hardest.

    A problem's place among all is the rank of its difficulty, from 0 to 1; the trace at the same place among its own correct
    traces by length is chosen, then the nearest to it. So a problem of middle difficulty keeps its median trace. No threshold
    in tokens is needed, and a problem that was always answered at one length keeps that. What is taught so is that the length
    of a thought follows the problem (Thinking with DistilQwen, §4.3, Table 3).
    """

    kind: ClassVar[str] = "suited_length"
    difficulty: tuple[Scores, ...] = ()
    """The scoring steps that say how hard a problem is (cognitive difficulty, 1 - pass rate); none: the problem's level."""
    per_problem: int = Field(default=1, ge=1)
    """Traces of a problem at most."""

    _one = field_validator("difficulty", mode="before")(named)

    def select(self, rows: Sequence[Row]) -> tuple[list[Row], list[Failure]]:
        """Rows in the order given; a failure for each problem without a correct trace of known length or without difficulty."""
        marks, groups = self._marks(rows), self._groups(rows)
        ranks = {mark: place for place, mark in enumerate(sorted(set(marks.values())))}
        last = max(1, len(ranks) - 1)
        chosen: set[str] = set()
        failures = []
        for problem in dict.fromkeys(row.problem_id for row in rows):
            if problem not in groups or problem not in marks:
                reason = "unknown_difficulty" if problem in groups else "no_correct"
                failures.append(Failure(step=self.kind, item=problem, reason=reason))
                continue
            chosen |= self._suited(groups[problem], ranks[marks[problem]] / last if len(ranks) > 1 else 0.5)
        return [row for row in rows if row.trace_id in chosen], failures

    def figures(self, rows: Sequence[Row], kept: Sequence[Row]) -> Mapping[str, Any]:
        """Mean lengths on easy, middle and hard problems, of all correct traces and of those that were chosen."""
        correct = [row for held in self._groups(rows).values() for row in held]
        return {"sort": self.kind, "lengths": lengths(correct, kept, self._marks(rows))}

    def _marks(self, rows: Sequence[Row]) -> dict[str, float]:
        if self.difficulty:
            return by_problem(rows, self.difficulty)
        return {row.problem_id: float(row.level) for row in rows if row.level is not None}

    def _groups(self, rows: Sequence[Row]) -> dict[str, list[Row]]:
        """Correct rows of known length by problem, shortest first; equal lengths by id."""
        groups: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if row.outcome == Outcome.CORRECT and row.num_tokens is not None:
                groups[row.problem_id].append(row)
        return {problem: sorted(held, key=lambda r: (r.num_tokens or 0, r.trace_id)) for problem, held in groups.items()}

    def _suited(self, held: Sequence[Row], place: float) -> set[str]:
        """The traces nearest to the place (0 shortest, 1 longest); the shorter of two equally near."""
        wanted = place * (len(held) - 1)
        nearest = sorted(range(len(held)), key=lambda i: (abs(i - wanted), i))
        return {held[i].trace_id for i in nearest[: self.per_problem]}
