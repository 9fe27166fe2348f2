"""Task-aware re-sampling: problems drawn to a target mix by domain and difficulty (Thinking with DistilQwen, §3.1).

The paper says that the distributions are balanced and not how; the rule here is common in multilingual training: shares are
raised to 1/temperature (1 keeps them, more flattens them), then bounded by floors, caps and what there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field, model_validator

from stillwise.arrows import Curated, Curator
from stillwise.errors import UserError
from stillwise.parts import Fields
from stillwise.problems.domains import Domain, domain_of
from stillwise.records import Failure, Problem, digest

Cell = tuple[str, int | None]
"""Domain and level."""


class Share(Fields):
    """How much of the mix is wanted of a domain, a level, or a domain at a level."""

    domain: Domain | None = None
    """maths, code, science or other; None: every domain."""
    level: int | None = None
    """A level; None: every level."""
    share: float = Field(ge=0)
    """Relative to the other shares; 0 wants none."""


class Resample(Curator):
    """Drops problems until the mix of domains and levels is the wanted one; no problem is taken twice."""

    kind: ClassVar[str] = "resample"
    mix: tuple[Share, ...] = ()
    """Wanted shares; the last that fits a cell counts, divided among its cells as they are. None: as the problems are."""
    temperature: float = Field(default=1.0, gt=0)
    """Shares are raised to 1/temperature: 1 keeps them, more makes them more equal."""
    total: int | None = Field(default=None, ge=1)
    """How many problems go on; None: as many as there are in exactly the wanted mix."""
    floor: int = Field(default=0, ge=0)
    """At least so many of each cell, as far as there are."""
    cap: int | None = Field(default=None, ge=1)
    """At most so many of each cell."""

    @model_validator(mode="after")
    def _ordered(self) -> Resample:
        if self.cap is not None and self.cap < self.floor:
            raise ValueError(f"cap {self.cap} is below floor {self.floor}")
        return self

    def curate(self, problems: Sequence[Problem], benchmarks: Mapping[str, Sequence[Problem]], seed: int) -> Curated:
        """A failure ``not_in_the_mix`` for each problem that goes. Raises UserError where no wanted cell holds a problem."""
        cells: list[Cell] = [(domain_of(problem), problem.level) for problem in problems]
        available = dict(sorted(Counter(cells).items(), key=lambda item: _order(item[0])))
        weights = self.weights(available)
        if not any(weights.values()):
            raise UserError(f"resample: no problem is of a wanted cell; there are {', '.join(map(_name, available))}")
        asked = self.total or exact_total(available, weights)
        counts = allocate(available, weights, asked, floor=self.floor, cap=self.cap)
        kept = draw([problem.id for problem in problems], cells, counts, seed)
        dropped = [
            Failure(step=self.kind, item=problem.id, reason="not_in_the_mix", detail=_name(cell))
            for problem, cell in zip(problems, cells, strict=True)
            if problem.id not in kept
        ]
        return Curated(dropped=dropped, figures=_figures(available, weights, counts, asked))

    def weights(self, available: Mapping[Cell, int]) -> dict[Cell, float]:
        """Each cell's share of the wanted mix; they add up to 1 (or all are 0)."""
        raw = {cell: self._share(cell, available) ** (1 / self.temperature) for cell in available}
        whole = sum(raw.values())
        return {cell: value / whole if whole else 0.0 for cell, value in raw.items()}

    def _share(self, cell: Cell, available: Mapping[Cell, int]) -> float:
        if not self.mix:
            return float(available[cell])
        fitting = [share for share in self.mix if _fits(share, cell)]
        if not fitting:
            return 0.0
        chosen = fitting[-1]
        claimed = sum(count for other, count in available.items() if [s for s in self.mix if _fits(s, other)][-1:] == [chosen])
        return chosen.share * available[cell] / claimed


def _fits(share: Share, cell: Cell) -> bool:
    return share.domain in (None, cell[0]) and share.level in (None, cell[1])


def exact_total(available: Mapping[Cell, int], weights: Mapping[Cell, float]) -> int:
    """The most problems that can be drawn with every cell at its share."""
    return max(1, int(min(available[cell] / weight for cell, weight in weights.items() if weight > 0) + 1e-9))


def allocate(
    available: Mapping[Cell, int], weights: Mapping[Cell, float], total: int, *, floor: int = 0, cap: int | None = None
) -> dict[Cell, int]:
    """How many of each cell: shares of the total inside floor, cap and what there is; what one cannot give, the others do.

    Fractions go to the largest remainders, ties to the earlier cell. Fewer than the total where there are not so many.
    """
    highest = {c: min(n, cap if cap is not None else n) if weights[c] > 0 else 0 for c, n in available.items()}
    lowest = {c: min(floor, highest[c]) for c in available}
    low, high = 0.0, 1.0 + total / min((w for w in weights.values() if w > 0), default=1.0)

    def at(scale: float) -> dict[Cell, float]:
        return {c: min(float(highest[c]), max(float(lowest[c]), scale * weights[c])) for c in available}

    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(at(middle).values()) < total else (low, middle)
    return _rounded(at(high), highest, min(total, sum(highest.values())))


def _rounded(wanted: Mapping[Cell, float], highest: Mapping[Cell, int], total: int) -> dict[Cell, int]:
    counts = {cell: int(value + 1e-6) for cell, value in wanted.items()}
    order = sorted(wanted, key=lambda cell: (counts[cell] - wanted[cell], _order(cell)))
    for cell in order:
        if sum(counts.values()) < total and counts[cell] < highest[cell]:
            counts[cell] += 1
    return counts


def draw(ids: Sequence[str], cells: Sequence[Cell], counts: Mapping[Cell, int], seed: int) -> set[str]:
    """The drawn ids: of each cell those whose hash with the seed is lowest, whatever order they come in."""
    members: dict[Cell, list[str]] = {}
    for name, cell in zip(ids, cells, strict=True):
        members.setdefault(cell, []).append(name)
    return {
        name
        for cell, held in members.items()
        for name in sorted(held, key=lambda name: digest("resample", seed, name))[: counts.get(cell, 0)]
    }


def _figures(
    available: Mapping[Cell, int], weights: Mapping[Cell, float], counts: Mapping[Cell, int], asked: int
) -> dict[str, Any]:
    came = sum(counts.values())
    rows = [
        {
            "domain": cell[0],
            "level": cell[1],
            "available": available[cell],
            "asked_share": weights[cell],
            "came": counts[cell],
            "came_share": counts[cell] / came if came else 0.0,
        }
        for cell in available
    ]
    return {"asked": asked, "came": came, "cells": rows}


def _order(cell: Cell) -> tuple[str, bool, int]:
    return (cell[0], cell[1] is None, cell[1] or 0)


def _name(cell: Cell) -> str:
    return cell[0] if cell[1] is None else f"{cell[0]} at level {cell[1]}"
