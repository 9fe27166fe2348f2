"""The empty figure that every drawing begins with: its size, axes, grid and numbers, and what marks say on hovering."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stillwise.evaluate.charts import FORMS, Form
from stillwise.evaluate.theme import stand_in as ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = ["LEFT", "MARKERS", "WIDTH", "Drawing", "ink"]

WIDTH = 400.0
"""Small enough that its words stay readable when a phone shrinks it to 300 pixels."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Matplotlib's names for ``charts.MARKS``, in the same order."""
LEFT, RIGHT, TOP = 52.0, 10.0, 10.0
DOTS_PER_INCH = 72
"""One point is one unit of the drawing."""


@dataclass
class Drawing:
    """A figure of matplotlib in progress."""

    figure: Figure
    height: float
    hints: list[str] = field(default_factory=list)
    """What the marks say; a mark's id is its place."""

    @classmethod
    def of(cls, height: float) -> Drawing:
        """An empty drawing."""
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        figure = Figure(figsize=(WIDTH / DOTS_PER_INCH, height / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
        FigureCanvasSVG(figure)
        return cls(figure, height)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in units."""
        return WIDTH, self.height

    def axes(self, *, left: float, bottom: float, right: float = RIGHT, top: float = TOP) -> Axes:
        """Axes with these margins, no box, quiet ticks."""
        box = (left / WIDTH, bottom / self.height, (WIDTH - left - right) / WIDTH, (self.height - bottom - top) / self.height)
        axes = self.figure.add_axes(box)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(ink("line"))
        axes.tick_params(length=0, pad=6, colors=ink("muted"), labelcolor=ink("muted"))
        axes.xaxis.label.set_color(ink("muted"))
        axes.yaxis.label.set_color(ink("muted"))
        axes.patch.set_visible(False)
        return axes

    def value_axis(self, axes: Axes, top: float, form: Form) -> None:
        """A vertical axis from 0 with round numbers and a grid."""
        axes.set_ylim(0, top)
        self.quantity(axes.yaxis, form)
        axes.grid(axis="y", color=ink("line"), linewidth=0.8)
        axes.set_axisbelow(True)

    def quantity(self, axis: Axis, form: Form) -> None:
        """Round numbers on one axis."""
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        shown = FORMS[form]
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))

    def hint(self, words: str) -> str:
        """The id of a mark that says these words."""
        self.hints.append(words)
        return f"hint-{len(self.hints) - 1}"
