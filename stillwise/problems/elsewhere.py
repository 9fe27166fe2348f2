"""Other problems for some of a recipe's steps: a domain that a method brings with it, and the run's own again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Poser, Source
from stillwise.records import Failure, Problem


class Elsewhere(Poser):
    """Problems of other sources than the run's, for the steps after this one: a warm-up on puzzles, say."""

    kind: ClassVar[str] = "elsewhere"
    sources: tuple[Source, ...] = Field(min_length=1)
    """Where they come from, one source after the other; a problem that comes twice counts once."""

    def pose(self, own: Sequence[Problem]) -> Iterator[Problem | Failure]:
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

    def pose(self, own: Sequence[Problem]) -> Iterator[Problem | Failure]:
        """Problems in the run's order."""
        yield from own
