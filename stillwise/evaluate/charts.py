"""Small SVG charts as strings: grouped bars with intervals, lines, curves, funnels, stacked shares.

Colours are CSS variables of the page (``--s0`` … for series, ``--o-correct`` … for outcomes), so one drawing serves light and
dark. Every chart has a title for screen readers; the page puts a table with the same numbers below it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 270
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 14, 34
SERIES_COLOURS = 8
ROW = 30
LABEL_WIDTH = 150
NUMBER_WIDTH = 118

Format = Callable[[float], str]


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
    points: Sequence[Point]
    colour: int
    """Index of the series colour; the same thing keeps its colour in every chart."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from data to pixels with round ticks."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        span = (self.high - self.low) or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """At most ``count`` + 1 round values inside the range."""
        rough = (self.high - self.low or 1.0) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def percent(value: float) -> str:
    """A fraction as whole percent."""
    return f"{100 * value:.0f} %"


def count(value: float) -> str:
    """A number with thousands marks; small ones keep the decimals that they need."""
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.3g}"


def colour(index: int) -> str:
    """The CSS colour of a series."""
    return f"var(--s{index % SERIES_COLOURS})"


def text(x: float, y: float, words: str, *, anchor: str = "middle", css: str = "tick") -> str:
    """One line of escaped text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, css: str = "grid", stroke: str | None = None) -> str:
    """A straight line."""
    style = f' style="stroke:{stroke}"' if stroke else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"{style}/>'


def rect(x: float, y: float, width: float, height: float, fill: str, hint: str = "") -> str:
    """A filled rectangle with a tooltip."""
    size = f'width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} rx="1.5" style="fill:{fill}">{tooltip(hint)}</rect>'


def tooltip(hint: str) -> str:
    """The hover text of an element."""
    return f"<title>{escape(hint)}</title>" if hint else ""


def svg(parts: Iterable[str], title: str, *, width: float = WIDTH, height: float = HEIGHT) -> str:
    """The drawing, scalable, named for screen readers."""
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}" '
        f'style="max-width:{width:.0f}px" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def top_of(series: Sequence[Series]) -> float:
    """The largest value or upper end."""
    ends = [x for one in series for point in one.points for x in (point.value, point.high) if x is not None]
    return max(ends, default=1.0) or 1.0


def frame(y: Scale, form: Format, categories: Sequence[str], centres: Sequence[float], axis: str) -> list[str]:
    """Horizontal grid with its numbers, category names, and the name of the horizontal axis."""
    parts = []
    for tick in y.ticks():
        parts += [line(LEFT, y(tick), WIDTH - RIGHT, y(tick)), text(LEFT - 6, y(tick) + 3.5, form(tick), anchor="end")]
    parts += [text(x, HEIGHT - BOTTOM + 15, name) for x, name in zip(centres, categories, strict=True)]
    return [*parts, text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, axis, css="axis")]


def whisker(x: float, point: Point, y: Scale, stroke: str = "var(--ink)") -> str:
    """The interval of a point."""
    if point.low is None or point.high is None:
        return ""
    low, high = y(point.low), y(point.high)
    caps = line(x - 3, low, x + 3, low, css="whisker", stroke=stroke) + line(
        x - 3, high, x + 3, high, css="whisker", stroke=stroke
    )
    return line(x, low, x, high, css="whisker", stroke=stroke) + caps


def centres_of(number: int) -> list[float]:
    """The middle of each category's band."""
    band = (WIDTH - LEFT - RIGHT) / max(1, number)
    return [LEFT + band * (i + 0.5) for i in range(number)]


def hint_of(series: str, category: str, point: Point, form: Format) -> str:
    """What hovering over a point says."""
    interval = f" ({form(point.low)} to {form(point.high)})" if point.low is not None and point.high is not None else ""
    return f"{series}, {category}: {form(point.value or 0)}{interval}"


def grouped_bars(
    categories: Sequence[str],
    series: Sequence[Series],
    title: str,
    *,
    axis: str = "level",
    form: Format = percent,
    top: float = 1.0,
) -> str:
    """Bars side by side for each category, each with its interval and its value above."""
    y = Scale(0, top, HEIGHT - BOTTOM, TOP)
    centres = centres_of(len(categories))
    band = (WIDTH - LEFT - RIGHT) / max(1, len(categories))
    bar = min(46.0, band * 0.78 / max(1, len(series)))
    parts = frame(y, form, categories, centres, axis)
    for place, one in enumerate(series):
        for centre, category, point in zip(centres, categories, one.points, strict=True):
            x = centre + (place - len(series) / 2) * bar
            if point.value is None:
                parts.append(text(x + bar / 2, y(0) - 4, "–"))
                continue
            hint = hint_of(one.name, category, point, form)
            parts.append(rect(x + 1, y(point.value), bar - 2, y(0) - y(point.value), colour(one.colour), hint))
            parts.append(whisker(x + bar / 2, point, y))
    return svg(parts, title)


def lines(
    categories: Sequence[str],
    series: Sequence[Series],
    title: str,
    *,
    axis: str = "level",
    form: Format = percent,
    top: float | None = None,
) -> str:
    """A line with markers and intervals for each series; a missing point breaks the line."""
    y = Scale(0, top or top_of(series) * 1.05, HEIGHT - BOTTOM, TOP)
    centres = centres_of(len(categories))
    parts = frame(y, form, categories, centres, axis)
    for place, one in enumerate(series):
        shift = (place - (len(series) - 1) / 2) * 4.0
        parts.append(_line_of(one, [x + shift for x in centres], categories, y, form))
    return svg(parts, title)


def _line_of(one: Series, xs: Sequence[float], categories: Sequence[str], y: Scale, form: Format) -> str:
    runs: list[list[str]] = [[]]
    marks = []
    for x, category, point in zip(xs, categories, one.points, strict=True):
        if point.value is None:
            runs.append([])
            continue
        runs[-1].append(f"{x:.1f},{y(point.value):.1f}")
        hint = tooltip(hint_of(one.name, category, point, form))
        marks.append(whisker(x, point, y, colour(one.colour)))
        marks.append(
            f'<circle cx="{x:.1f}" cy="{y(point.value):.1f}" r="3.6" style="fill:{colour(one.colour)}">{hint}</circle>'
        )
    paths = [
        f'<polyline points="{" ".join(run)}" class="path" style="stroke:{colour(one.colour)}"/>' for run in runs if len(run) > 1
    ]
    return "".join(paths + marks)


def curves(stages: Sequence[tuple[str, Sequence[Sequence[float]]]], title: str) -> str:
    """Loss over optimiser steps, one stage after the other along one axis, a rule between stages."""
    drawn = [(name, curve) for name, curve in stages if curve]
    losses = [point[1] for _, curve in drawn for point in curve]
    total = sum(curve[-1][0] for _, curve in drawn) or 1
    x, y = Scale(0, total, LEFT, WIDTH - RIGHT), Scale(0, max(losses, default=1.0) * 1.08, HEIGHT - BOTTOM, TOP)
    parts = frame(y, count, [], [], "optimiser step")
    parts += [text(x(tick), HEIGHT - BOTTOM + 15, count(tick)) for tick in x.ticks()]
    begun = 0.0
    for place, (name, curve) in enumerate(drawn):
        points = " ".join(f"{x(begun + step):.1f},{y(loss):.1f}" for step, loss in curve)
        parts.append(f'<polyline points="{points}" class="path" style="stroke:{colour(place + 1)}"/>')
        parts.append(text(x(begun) + 6, TOP + 8, name, anchor="start", css="axis"))
        parts.append(line(x(begun), TOP, x(begun), HEIGHT - BOTTOM, css="rule") if place else "")
        begun += curve[-1][0]
    return svg(parts, title)


@dataclass(frozen=True, slots=True)
class FunnelRow:
    """One bar of a funnel."""

    label: str
    value: int
    fill: str
    note: str = ""


def funnel(rows: Sequence[FunnelRow], title: str) -> str:
    """Horizontal bars of counts against the first row's, the share behind each."""
    whole = max((row.value for row in rows), default=0) or 1
    x = Scale(0, whole, LABEL_WIDTH, WIDTH - NUMBER_WIDTH)
    parts = []
    for place, row in enumerate(rows):
        y = place * ROW + 4
        parts.append(text(LABEL_WIDTH - 8, y + 15, row.label, anchor="end", css="label"))
        parts.append(rect(LABEL_WIDTH, y, x(whole) - LABEL_WIDTH, ROW - 9, "var(--track)"))
        parts.append(rect(LABEL_WIDTH, y, x(row.value) - LABEL_WIDTH, ROW - 9, row.fill, f"{row.label}: {row.value:,}"))
        words = f"{row.value:,}  {row.note}".rstrip()
        parts.append(text(WIDTH - NUMBER_WIDTH + 8, y + 15, words, anchor="start", css="label"))
    return svg(parts, title, height=len(rows) * ROW + 4)


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a stacked bar."""

    name: str
    value: float
    fill: str
    on: str = "#fff"
    """Colour of the words on it."""


def stacked(rows: Sequence[tuple[str, Sequence[Part]]], title: str, *, form: Format = percent) -> str:
    """Horizontal bars of shares that add up to one; a share is written where it has room."""
    x = Scale(0, 1, LABEL_WIDTH, WIDTH - RIGHT)
    parts = []
    for place, (label, pieces) in enumerate(rows):
        y, begun, total = place * ROW + 4, 0.0, sum(piece.value for piece in pieces) or 1
        parts.append(text(LABEL_WIDTH - 8, y + 15, label, anchor="end", css="label"))
        for piece in pieces:
            share = piece.value / total
            width = x(begun + share) - x(begun)
            parts.append(rect(x(begun), y, width - 1, ROW - 9, piece.fill, f"{label}, {piece.name}: {form(share)}"))
            if width > 34:
                middle = x(begun) + width / 2
                style = f'style="fill:{piece.on}"'
                parts.append(text(middle, y + 15, form(share), css="inside").replace("<text ", f"<text {style} ", 1))
            begun += share
    return svg(parts, title, height=len(rows) * ROW + 4)
