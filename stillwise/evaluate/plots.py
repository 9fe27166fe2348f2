"""Charts to inline SVG, drawn by matplotlib: no raster, no font, no address; equal charts give equal bytes.

Colours go in as stand-ins and come out as CSS variables of the page (``theme``), words stay words (the browser sets them in
its own font), and what a mark says on hovering stands in its ``<title>``. Matplotlib is imported by the first drawing.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from stillwise.evaluate import charts, plot_clouds, plot_rows
from stillwise.evaluate.charts import Chart, Point, Series, hint_of, series_colour, top_of
from stillwise.evaluate.plot_frame import LEFT, MARKERS, Drawing, ink
from stillwise.evaluate.theme import inline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT = 250.0
HEADROOM = 1.04
"""A mark at the top of the axis must not be cut off."""
SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 11.5,
    "text.parse_math": False,
    "axes.linewidth": 0.8,
    "path.simplify": False,
}
"""Set on top of matplotlib's own defaults, so that nobody's matplotlibrc changes a byte. Model names are no formulas."""


@lru_cache(maxsize=256)
def draw(chart: Chart) -> str:
    """The chart as one ``<svg>`` element: scalable, named for screen readers, every word escaped."""
    with _quiet():
        drawing = KINDS[type(chart)](chart)
        return inline(_saved(drawing, chart.title), title=chart.title, size=drawing.size, hints=drawing.hints)


@contextmanager
def _quiet() -> Iterator[None]:
    """Matplotlib's own defaults and ours; no word about fonts that are built or lack a letter: the browser sets the words."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib.style

    with warnings.catch_warnings(), matplotlib.style.context(["default", SETTINGS]):
        warnings.filterwarnings("ignore", message="Glyph")
        warnings.filterwarnings("ignore", message=".*missing from.*font")
        yield


def _saved(drawing: Drawing, salt: str) -> str:
    import matplotlib

    # Ids are salted by the title: two drawings of one page must not share a clip path that print hides.
    matplotlib.rcParams["svg.hashsalt"] = salt
    text = io.StringIO()
    drawing.figure.savefig(text, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return text.getvalue()


def _framed(chart: charts.Bars | charts.Lines, top: float) -> tuple[Drawing, Axes]:
    drawing = Drawing.of(HEIGHT)
    axes = drawing.axes(left=LEFT, bottom=38.0)
    drawing.value_axis(axes, top, chart.form)
    axes.set_xticks(range(len(chart.categories)), [_short(name) for name in chart.categories])
    axes.set_xlim(-0.5, max(0.5, len(chart.categories) - 0.5))
    axes.set_xlabel(chart.axis)
    return drawing, axes


def _short(name: str) -> str:
    return name if len(name) <= 12 else f"{name[:11]}…"


def bars(chart: charts.Bars) -> Drawing:
    """Bars side by side, whiskers over them, a dash where nothing was measured."""
    drawing, axes = _framed(chart, (chart.top or top_of(chart.series)) * HEADROOM)
    width = 0.8 / max(1, len(chart.series))
    for place, one in enumerate(chart.series):
        shift = (place - (len(chart.series) - 1) / 2) * width
        for x, (category, point) in enumerate(zip(chart.categories, one.points, strict=True)):
            if point.value is None:
                axes.text(x + shift, 0, "–", ha="center", va="bottom", color=ink("muted"))
                continue
            hint = drawing.hint(hint_of(one.name, category, point, chart.form))
            axes.bar(x + shift, point.value, width * 0.92, color=ink(series_colour(one.place)), linewidth=0)[0].set_gid(hint)
            _whisker(axes, x + shift, point, "ink")
    return drawing


def _whisker(axes: Axes, x: float, point: Point, colour: str) -> None:
    if point.value is None or point.low is None or point.high is None:
        return
    reach = [[point.value - point.low], [point.high - point.value]]
    # Rounded figures may put an end past the value by 1e-7: a negative reach is refused.
    reach = [[max(0.0, side[0])] for side in reach]
    axes.errorbar([x], [point.value], yerr=reach, fmt="none", color=ink(colour), elinewidth=1.2, capsize=2.5, capthick=1.2)


def lines(chart: charts.Lines) -> Drawing:
    """Lines with marks and whiskers, moved apart a little so that intervals do not hide one another."""
    top = (chart.top or top_of(chart.series)) * HEADROOM
    drawing, axes = _framed(chart, top)
    if chart.bottom < 0:
        axes.set_ylim(chart.bottom * HEADROOM, top)
        axes.axhline(0, color=ink("muted"), linewidth=0.9)
    for place, one in enumerate(chart.series):
        shift = (place - (len(chart.series) - 1) / 2) * 0.05
        _line(drawing, axes, chart, one, shift)
    return drawing


def _line(drawing: Drawing, axes: Axes, chart: charts.Lines, one: Series, shift: float) -> None:
    colour = ink(series_colour(one.place))
    xs = [x + shift for x in range(len(one.points))]
    axes.plot(xs, [float("nan") if p.value is None else p.value for p in one.points], color=colour, linewidth=1.8)
    for x, category, point in zip(xs, chart.categories, one.points, strict=True):
        if point.value is not None:
            _whisker(axes, x, point, series_colour(one.place))
            [dot] = axes.plot([x], [point.value], color=colour, marker=MARKERS[one.place % len(MARKERS)], markersize=6.5)
            dot.set_gid(drawing.hint(hint_of(one.name, category, point, chart.form)))


def curves(chart: charts.Curves) -> Drawing:
    """One line per stage along one axis of steps, each stage's name at its start."""
    drawing = Drawing.of(HEIGHT)
    axes = drawing.axes(left=LEFT, bottom=38.0)
    drawn = [(name, curve) for name, curve in chart.stages if curve]
    values = [value for _, curve in drawn for _, value in curve]
    low = min(0.0, *values) if values else 0.0
    top = max(0.0, *values) if values else 1.0
    top = top or -low or 1.0
    drawing.value_axis(axes, top * 1.14, "count")
    if low < 0:
        axes.set_ylim(low * 1.14, top * 1.14)
    begun = 0.0
    for place, (name, curve) in enumerate(drawn):
        axes.plot([begun + x for x, _ in curve], [y for _, y in curve], color=ink(series_colour(place + 1)), linewidth=1.4)
        axes.text(begun, top * 1.13, f" {name[:24]}", ha="left", va="top", color=ink("muted"))
        if place:
            axes.axvline(begun, color=ink("muted"), linewidth=0.8, linestyle=(0, (3, 3)))
        begun += curve[-1][0]
    axes.set_xlim(0, begun or 1)
    drawing.quantity(axes.xaxis, "count")
    axes.set_xlabel(chart.axis)
    return drawing


KINDS: dict[type[Any], Callable[[Any], Drawing]] = {
    charts.Bars: bars,
    charts.Lines: lines,
    charts.Curves: curves,
    charts.Counts: plot_rows.counts,
    charts.Shares: plot_rows.shares,
    charts.Cloud: plot_clouds.cloud,
    charts.Histogram: plot_clouds.histogram,
    charts.Heat: plot_clouds.heat,
}
