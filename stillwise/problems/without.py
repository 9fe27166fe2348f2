"""A source without the questions that others hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from stillwise.arrows import Source
from stillwise.errors import UserError
from stillwise.records import Failure, Problem


class Without(Source):
    """The problems of a source but for those whose question others ask too: what is chosen on it was not seen in a test."""

    kind: ClassVar[str] = "without"
    of: Source
    """Where the problems come from."""
    seen: tuple[Source, ...] = ()
    """Whose questions are left out, as failures; questions are the same if their words are."""

    def problems(self) -> Iterator[Problem | Failure]:
        """The problems in the source's order, its failures among them; UserError where no problem is left."""
        asked = {_words(item) for source in self.seen for item in source.problems() if isinstance(item, Problem)}
        left = gone = 0
        for item in self.of.problems():
            if isinstance(item, Problem) and _words(item) in asked:
                item = Failure(step="problems", item=item.id, reason="held_elsewhere")
                gone += 1
            left += isinstance(item, Problem)
            yield item
        if gone and not left:
            raise UserError(f"{self.of.kind}: all {gone} problems are in the benchmarks too; give problems that are in none")


def _words(problem: Problem) -> tuple[str, ...]:
    return tuple(problem.question.split())
