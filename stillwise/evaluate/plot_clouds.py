"""Two quantities against each other: clouds of points, histograms, heat maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stillwise.evaluate import charts
from stillwise.evaluate.charts import FORMS, Dot, percent, series_colour
from stillwise.evaluate.plot_frame import LEFT, MARKERS, WIDTH, Drawing, ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT = 258.0
BOTTOM = 40.0
HEAT_CELL_HEIGHT = 22.0
MANY_CELLS = 12
"""Columns past which a heat map's cells are too narrow for numbers."""


def _log_ticks(axes: Axes, low: float, high: float) -> None:
    """Round numbers on a logarithmic axis: 1, 2, 5 times powers of ten."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    wide = high / low > 300
    ticks = [step * 10.0**power for power in range(-2, 9) for step in ((1,) if wide else (1, 2, 5))]
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: FORMS["count"](value)))


def cloud(chart: charts.Cloud) -> Drawing:
    """Points by two quantities; with intervals where they are known."""
    drawing = Drawing.of(HEIGHT)
    axes = drawing.axes(left=LEFT, bottom=BOTTOM)
    dots = [dot for group in chart.groups for dot in group.dots]
    highest = max((max(dot.y, *(dot.y_interval or (dot.y,))) for dot in dots), default=1.0)
    drawing.value_axis(axes, (chart.y_top or highest or 1.0) * 1.04, chart.y_form)
    for group in chart.groups:
        for dot in group.dots:
            _dot(drawing, axes, dot, group.place, chart.small)
    _horizontal(drawing, axes, chart, dots)
    axes.set_xlabel(chart.x_axis)
    if chart.y_axis:
        axes.set_title(chart.y_axis, loc="left", fontsize=11.5, color=ink("muted"), x=0, pad=6)
        axes.set_position((LEFT / WIDTH, BOTTOM / HEIGHT, (WIDTH - LEFT - 10) / WIDTH, (HEIGHT - BOTTOM - 26) / HEIGHT))
    return drawing


def _horizontal(drawing: Drawing, axes: Axes, chart: charts.Cloud, dots: list[Dot]) -> None:
    ends = [x for dot in dots for x in (dot.x, *(dot.x_interval or ()))]
    if chart.x_scale == "log":
        positive = [x for x in ends if x > 0] or [1.0]
        _log_ticks(axes, min(positive) / 1.25, max(positive) * 1.25)
    else:
        axes.set_xlim(0, max(ends, default=1.0) * 1.06 or 1.0)
        drawing.quantity(axes.xaxis, chart.x_form)


def _dot(drawing: Drawing, axes: Axes, dot: Dot, place: int, small: bool) -> None:
    colour = ink(series_colour(place))
    sides = [
        None if ends is None else [[max(0.0, value - ends[0])], [max(0.0, ends[1] - value)]]
        for value, ends in ((dot.x, dot.x_interval), (dot.y, dot.y_interval))
    ]
    if any(sides):
        axes.errorbar([dot.x], [dot.y], xerr=sides[0], yerr=sides[1], fmt="none", color=colour, elinewidth=1.1)
    size, alpha = (5.0, 0.55) if small else (7.5, 1.0)
    marker = MARKERS[place % len(MARKERS)]
    [drawn] = axes.plot([dot.x], [dot.y], color=colour, marker=marker, markersize=size, alpha=alpha, markeredgewidth=0)
    if dot.hint:
        drawn.set_gid(drawing.hint(dot.hint))


def histogram(chart: charts.Histogram) -> Drawing:
    """Outlines of each series' shares over the bins, filled lightly."""
    drawing = Drawing.of(HEIGHT - 20)
    axes = drawing.axes(left=LEFT, bottom=BOTTOM)
    top = max((share for _, values, _ in chart.series for share in values), default=1.0) or 1.0
    drawing.value_axis(axes, top * 1.08, "percent")
    for name, values, colour in chart.series:
        filled = axes.stairs(values, chart.edges, fill=True, color=ink(colour), alpha=0.28)
        filled.set_gid(drawing.hint(name))
        axes.stairs(values, chart.edges, color=ink(colour), linewidth=1.6)
    if chart.scale == "log":
        _log_ticks(axes, chart.edges[0], chart.edges[-1])
    else:
        axes.set_xlim(chart.edges[0], chart.edges[-1])
        drawing.quantity(axes.xaxis, "count")
    axes.set_xlabel(chart.axis)
    return drawing


def heat(chart: charts.Heat) -> Drawing:
    """Cells as dark as their share of the fullest, the count in each."""
    drawing = Drawing.of(len(chart.rows) * HEAT_CELL_HEIGHT + BOTTOM + 26)
    axes = drawing.axes(left=34.0, bottom=BOTTOM, top=26.0)
    most = max((cell for row in chart.cells for cell in row), default=0) or 1
    total = sum(cell for row in chart.cells for cell in row) or 1
    for y, row in enumerate(chart.cells):
        for x, cell in enumerate(row):
            # Even a single trace must be seen beside a cell of thousands.
            strength = 0.0 if not cell else 0.1 + 0.75 * cell / most
            [bar] = axes.bar(x, 0.94, 0.94, bottom=y - 0.47, color=ink("accent"), alpha=strength, linewidth=0)
            place = f"{chart.y_axis} {chart.rows[y]}, {chart.x_axis} {chart.columns[x]}"
            bar.set_gid(drawing.hint(f"{place}: {cell:,} ({percent(cell / total)})"))
            if cell and len(chart.columns) <= MANY_CELLS:
                axes.text(x, y, f"{cell:,}", ha="center", va="center", fontsize=9.5, color=ink("ink"))
    axes.set_xticks(range(len(chart.columns)), chart.columns)
    axes.set_yticks(range(len(chart.rows)), chart.rows)
    axes.set_xlim(-0.5, len(chart.columns) - 0.5)
    axes.set_ylim(-0.5, len(chart.rows) - 0.5)
    axes.set_xlabel(chart.x_axis)
    axes.set_title(chart.y_axis, loc="left", fontsize=11.5, color=ink("muted"), x=0, pad=6)
    return drawing
