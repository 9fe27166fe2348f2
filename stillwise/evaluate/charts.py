"""What a figure shows, as values: bars, lines, curves, counts, shares, clouds, histograms, heat maps. ``plots`` draws them.

A chart holds every number and word that its drawing holds, so it can be compared, kept and tested without drawing it. Colours
are names of the page's CSS variables (``s0`` … for series, ``o-correct`` … for outcomes): one drawing serves light and dark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

SERIES = tuple(f"s{i}" for i in range(8))
LEVELS = tuple(f"l{i}" for i in range(5))
OUTCOMES = tuple(f"o-{name}" for name in ("correct", "incorrect", "undecided", "truncated", "timed-out", "failed"))
PLAIN = ("ink", "muted", "line", "track", "accent", "paper", *(f"on-l{i}" for i in range(5)), "on-o")
COLOURS = (*SERIES, *LEVELS, *OUTCOMES, *PLAIN)
"""Every colour that a chart may name; the page's style defines each for light and for dark."""
MARKS = "●■▲◆▼✚✖★"
"""The marks of the series: what a reader without colours tells them apart by."""

Form = Literal["percent", "count"]
Scale = Literal["linear", "log"]


@dataclass(frozen=True, slots=True)
class Point:
    """A value with its interval; all None where nothing was measured."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """One named row of points, one per category."""

    name: str
    points: tuple[Point, ...]
    place: int
    """Which series colour and mark; the same thing keeps its own in every chart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Bars side by side for each category, each with its interval; a missing point is a dash."""

    title: str
    categories: tuple[str, ...]
    series: tuple[Series, ...]
    axis: str = "level"
    form: Form = "percent"
    top: float | None = 1.0
    """The upper end of the axis; None fits it to the values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """A line with marks and intervals for each series; a missing point breaks the line."""

    title: str
    categories: tuple[str, ...]
    series: tuple[Series, ...]
    axis: str = "level"
    form: Form = "percent"
    top: float | None = None
    bottom: float = 0.0
    """The lower end of the axis; below 0 for differences, whose zero is then ruled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Values over steps, one stage after the other along one axis, a rule between stages."""

    title: str
    stages: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]
    """(name, (step, value) pairs)."""
    axis: str = "optimiser step"


@dataclass(frozen=True, slots=True)
class Count:
    """One bar of a list of counts."""

    label: str
    value: int
    colour: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Horizontal bars of counts against the largest, the number and a note beside each."""

    title: str
    rows: tuple[Count, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a row of shares."""

    name: str
    value: float
    colour: str
    on: str = "on-o"
    """Colour of the words on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Horizontal bars that add up to one; a share is written where it has room."""

    title: str
    rows: tuple[tuple[str, tuple[Piece, ...]], ...]


@dataclass(frozen=True, slots=True)
class Dot:
    """One point of a cloud, with intervals in both directions where they are known."""

    x: float
    y: float
    hint: str = ""
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """The points of one colour and mark."""

    name: str
    dots: tuple[Dot, ...]
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """Points in a plane."""

    title: str
    groups: tuple[Group, ...]
    x_axis: str
    y_axis: str = ""
    x_form: Form = "count"
    y_form: Form = "percent"
    x_scale: Scale = "linear"
    y_top: float | None = None
    small: bool = False
    """Small, half transparent marks: many points lie on one another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Shares of each series by bins with common edges."""

    title: str
    edges: tuple[float, ...]
    series: tuple[tuple[str, tuple[float, ...], str], ...]
    """(name, one share for each bin, colour)."""
    axis: str
    scale: Scale = "linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """Counts by two ordered quantities; ``cells[row][column]``, rows drawn from the bottom up."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    cells: tuple[tuple[int, ...], ...]
    x_axis: str
    y_axis: str


Chart = Bars | Lines | Curves | Counts | Shares | Cloud | Histogram | Heat
Format = Callable[[float], str]


def percent(value: float) -> str:
    """A fraction as whole percent."""
    return f"{100 * value:.0f} %"


def count(value: float) -> str:
    """A number with thousands marks; small ones keep the decimals that they need."""
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.3g}"


FORMS: dict[Form, Format] = {"percent": percent, "count": count}


def series_colour(place: int) -> str:
    """The colour of a series, by its place."""
    return SERIES[place % len(SERIES)]


def mark(place: int) -> str:
    """The mark of a series, by its place."""
    return MARKS[place % len(MARKS)]


def hint_of(series: str, category: str, point: Point, form: Form) -> str:
    """What hovering over a point says."""
    shown = FORMS[form]
    interval = f" ({shown(point.low)} to {shown(point.high)})" if point.low is not None and point.high is not None else ""
    return f"{series}, {category}: {shown(point.value or 0)}{interval}"


def top_of(series: Sequence[Series]) -> float:
    """The largest value or upper end."""
    ends = [x for one in series for point in one.points for x in (point.value, point.high) if x is not None]
    return max(ends, default=1.0) or 1.0
