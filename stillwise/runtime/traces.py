"""A step's traces as a sequence that stays on the disk: read group by group, as often as somebody looks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import overload

from stillwise.records import Trace
from stillwise.runtime import tables


@dataclass(frozen=True)
class Traces(Sequence[Trace]):
    """The traces of one table, in its order, without those that are gone."""

    path: Path
    gone: frozenset[str] = frozenset()

    def __iter__(self) -> Iterator[Trace]:
        return (trace for trace in tables.each(self.path, Trace) if trace.id not in self.gone)

    def __len__(self) -> int:
        return len(self._places) if self.gone else sum(self._sizes)

    @cached_property
    def _sizes(self) -> list[int]:
        return tables.sizes(self.path, Trace)

    @cached_property
    def _places(self) -> list[int]:
        """Where in the table those stand that are left."""
        ids = tables.columns(self.path, Trace, ["id"])
        return [place for place, (name,) in enumerate(ids) if name not in self.gone]

    @overload
    def __getitem__(self, place: int) -> Trace: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Trace]: ...
    def __getitem__(self, place: int | slice) -> Trace | Sequence[Trace]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        place = self._places[place] if self.gone else place
        ends = list(accumulate(self._sizes))
        group = bisect_right(ends, place)
        found = list(tables.each(self.path, Trace, [group]))
        return found[place - ends[group]]
