"""Equally many problems of each level of another source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Source
from stillwise.records import Failure, Problem, digest


class PerLevel(Source):
    """Of each level the ``num`` problems whose ids' hashes come first: a fixed sample, whatever the source's order."""

    kind: ClassVar[str] = "per_level"
    of: Source
    """Where the problems come from."""
    num: int = Field(ge=1)
    """Problems of each level at most; a problem without a level stays out as a failure."""

    def problems(self) -> Iterator[Problem | Failure]:
        """The chosen problems in the source's order, its failures among them."""
        items = list(self.of.problems())
        levels: dict[int, list[Problem]] = defaultdict(list)
        for item in items:
            if isinstance(item, Problem) and item.level is not None:
                levels[item.level].append(item)
        chosen = {p.id for held in levels.values() for p in sorted(held, key=lambda p: digest(self.kind, p.id))[: self.num]}
        for item in items:
            if isinstance(item, Failure):
                yield item
            elif item.level is None:
                yield Failure(step="problems", item=item.id, reason="no_level")
            elif item.id in chosen:
                yield item
