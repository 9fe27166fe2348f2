"""Horizontal bars: counts against the largest, and shares that add up to one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stillwise.evaluate import charts
from stillwise.evaluate.charts import percent
from stillwise.evaluate.plot_frame import WIDTH, Drawing, ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 28.0
LABELS, NUMBERS = 118.0, 96.0
"""Room for the names at the left and the numbers at the right."""
LABEL_LETTERS = 17
ROOM_FOR_WORDS = 0.1
"""Share of the width under which a piece has no room for its number."""


def _rows(labels: list[str], right: float) -> tuple[Drawing, Axes]:
    drawing = Drawing.of(max(1, len(labels)) * ROW + 8)
    axes = drawing.axes(left=LABELS, bottom=4, right=right, top=4)
    axes.set_xlim(0, 1)
    axes.set_ylim(max(1, len(labels)) - 0.5, -0.5)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks(range(len(labels)), [_short(name) for name in labels])
    axes.tick_params(axis="y", labelcolor=ink("ink"))
    return drawing, axes


def _short(name: str) -> str:
    return name if len(name) <= LABEL_LETTERS else f"{name[: LABEL_LETTERS - 1]}…"


def counts(chart: charts.Counts) -> Drawing:
    """Each count on a track of the largest one's length."""
    drawing, axes = _rows([row.label for row in chart.rows], NUMBERS)
    whole = max((row.value for row in chart.rows), default=0) or 1
    for place, row in enumerate(chart.rows):
        axes.barh(place, 1, 0.68, color=ink("track"), linewidth=0)
        [bar] = axes.barh(place, row.value / whole, 0.68, color=ink(row.colour), linewidth=0)
        bar.set_gid(drawing.hint(f"{row.label}: {row.value:,}"))
        axes.text(1.025, place, f"{row.value:,}  {row.note}".rstrip(), va="center", color=ink("ink"))
    return drawing


def shares(chart: charts.Shares) -> Drawing:
    """Each row's pieces one after the other; a row that holds nothing is an empty track."""
    drawing, axes = _rows([label for label, _ in chart.rows], 8.0)
    gap = 1 / (WIDTH - LABELS)
    for place, (label, pieces) in enumerate(chart.rows):
        begun, total = 0.0, sum(piece.value for piece in pieces)
        if not total:
            axes.barh(place, 1, 0.68, color=ink("track"), linewidth=0)
            continue
        for piece in (one for one in pieces if one.value):
            share = piece.value / total
            [bar] = axes.barh(place, max(share - gap, gap), 0.68, left=begun, color=ink(piece.colour), linewidth=0)
            bar.set_gid(drawing.hint(f"{label}, {piece.name}: {percent(share)}"))
            if share > ROOM_FOR_WORDS:
                axes.text(begun + share / 2, place, percent(share), ha="center", va="center", color=ink(piece.on))
            begun += share
    return drawing
