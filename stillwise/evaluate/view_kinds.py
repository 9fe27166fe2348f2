"""What a page is made of: figures, tables, cards; and how the views read ``metrics.json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from stillwise.evaluate.charts import Chart, Point, Series, mark, series_colour
from stillwise.evaluate.shape import Estimate, EvaluationSection, Metrics, SamplingSection
from stillwise.evaluate.wording import Cells

SQUARE = "■"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A plain table."""

    title: str
    head: Cells
    body: Sequence[Cells]
    note: str = ""
    wide: bool = False
    """Takes the page's whole width, however narrow it is."""

    @property
    def table(self) -> Table:
        """Itself, as a figure has one."""
        return self


@dataclass(frozen=True)
class Entry:
    """One line of a legend: what a colour and a mark stand for."""

    name: str
    colour: str
    mark: str = SQUARE


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Drawings with their legend, a sentence, and the same numbers as a table."""

    title: str
    drawings: Sequence[tuple[str, Chart]] = ()
    """(small title, what is drawn)."""
    legend: Sequence[Entry] = ()
    note: str = ""
    head: Cells = ()
    body: Sequence[Cells] = ()
    open_table: bool = False
    """The table is shown beside the drawing, not folded."""

    @property
    def table(self) -> Table:
        """The numbers alone."""
        return Table(title=self.title, head=self.head, body=self.body, note=self.note)


@dataclass(frozen=True, kw_only=True)
class Card:
    """One number that a reader should see first."""

    label: str
    value: str
    note: str = ""
    tone: str = ""
    """``good``, ``bad`` or nothing."""


def section(metrics: Metrics, name: str) -> Mapping[str, Any]:
    """A section by name; empty where nothing ran."""
    return cast("Mapping[str, Mapping[str, Any]]", metrics).get(name) or {}


def ordered(metrics: Metrics, name: str) -> list[str]:
    """The section's keys in the recipe's order; keys that ``order`` does not name come last, sorted."""
    held = section(metrics, name)
    named = [key for key in metrics.get("order", {}).get(name, []) if key in held]
    return named + sorted(key for key in held if key not in named)


def point(found: Estimate | None) -> Point:
    """An estimate as a point with its interval."""
    if found is None:
        return Point(None)
    low, high = found["ci"] or (None, None)
    return Point(found["value"], low, high)


def span(found: Estimate) -> tuple[float, float] | None:
    """The interval of an estimate as a pair."""
    return (found["ci"][0], found["ci"][1]) if found["ci"] else None


def series(name: str, groups: Mapping[str, Mapping[str, Any]], keys: Iterable[str], field: str, place: int) -> Series:
    """One estimate of every group that is there; the others are gaps."""
    return Series(name, tuple(point(groups[key][field]) if key in groups else Point(None) for key in keys), place)


def legend_of(names: Iterable[tuple[str, int]], *, marked: bool = True) -> list[Entry]:
    """A legend of series by name and place; bars have colours alone."""
    return [Entry(name, series_colour(place), mark(place) if marked else SQUARE) for name, place in names]


def evaluations(metrics: Metrics) -> dict[str, EvaluationSection]:
    """Evaluated models in the recipe's order."""
    return {name: metrics["evaluation"][name] for name in ordered(metrics, "evaluation")}


def samplings(metrics: Metrics) -> dict[str, SamplingSection]:
    """Sampled outputs in the recipe's order."""
    return {name: metrics["sampling"][name] for name in ordered(metrics, "sampling")}


def benchmarks(metrics: Metrics) -> list[str]:
    """Every benchmark that any model was measured on, in the recipe's order; those that it does not name come last, sorted."""
    found = {name for one in evaluations(metrics).values() for name in one["benchmarks"]}
    named = [name for name in metrics.get("order", {}).get("benchmarks", []) if name in found]
    return named + sorted(found - set(named))
