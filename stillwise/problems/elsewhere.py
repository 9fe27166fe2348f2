"""Other problems for some of a recipe's steps: a domain that a method brings, the run's own again, what nobody solved yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Poser, Row, Source
from stillwise.parts import Input
from stillwise.records import Failure, Outcome, Problem

FAILED = (Outcome.INCORRECT, Outcome.TRUNCATED)


class Elsewhere(Poser):
    """Problems of other sources than the run's, for the steps after this one: a warm-up on puzzles, say."""

    kind: ClassVar[str] = "elsewhere"
    sources: tuple[Source, ...] = Field(min_length=1)
    """Where they come from, one source after the other; a problem that comes twice counts once."""

    def most(self, own: int, now: int) -> int:
        """What the sources say that they make; one that does not say it is read."""
        sizes = [getattr(source, "size", None) for source in self.sources]
        if None not in sizes:
            return sum(size for size in sizes if size)
        return sum(isinstance(item, Problem) for item in self.pose((), (), ()))

    def pose(self, own: Sequence[Problem], now: Sequence[Problem], rows: Sequence[Row]) -> Iterator[Problem | Failure]:
        """Problems in the order of the sources."""
        seen: set[str] = set()
        for source in self.sources:
            for item in source.problems():
                if isinstance(item, Problem):
                    if item.id in seen:
                        continue
                    seen.add(item.id)
                yield item


class Own(Poser):
    """The run's own problems again."""

    kind: ClassVar[str] = "own"

    def most(self, own: int, now: int) -> int:
        """As many as the run has."""
        return own

    def pose(self, own: Sequence[Problem], now: Sequence[Problem], rows: Sequence[Row]) -> Iterator[Problem | Failure]:
        """Problems in the run's order."""
        yield from own


class HardFor(Poser):
    """Of the problems so far those that a model's tries solve seldom: what is easy is not worth a teacher's long thought."""

    kind: ClassVar[str] = "hard_for"
    attempts: Input
    """The model's verified tries."""
    solved_at_most: float = Field(default=0.0, ge=0, le=1)
    """A problem whose tries are right more often is too easy; one that was never tried, or never judged, stays."""

    def pose(self, own: Sequence[Problem], now: Sequence[Problem], rows: Sequence[Row]) -> Iterator[Problem | Failure]:
        """Problems in their order; a Failure ``too_easy`` for each that goes."""
        tries: defaultdict[str, list[bool]] = defaultdict(list)
        for row in rows:
            if row.outcome == Outcome.CORRECT or row.outcome in FAILED:
                tries[row.problem_id].append(row.outcome == Outcome.CORRECT)
        for problem in now:
            held = tries[problem.id]
            if held and sum(held) / len(held) > self.solved_at_most:
                yield Failure(step=self.kind, item=problem.id, reason="too_easy", detail=f"{sum(held)} of {len(held)}")
            else:
                yield problem
