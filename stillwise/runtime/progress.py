"""What long steps show while they run: bars on a terminal, plain lines in a log, nothing when quiet.

Durations appear on the screen only; no artefact that is compared byte by byte reads this module.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Literal, Self, TextIO

from stillwise.arrows import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Mode = Literal["bars", "lines", "quiet"]
WINDOW_S = 30.0
"""The rate looks back this far: a journal replayed in an instant must not promise an early end."""
BAR_WIDTH = 20


def duration(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"


def figure(name: str, value: float) -> str:
    """One running figure as words: shares as percent, ``x_per_s`` as a rate, counts with thousands marks."""
    label = name.replace("_per_s", "/s").replace("_", " ")
    if name in ("accuracy", "correct", "solved") or name.endswith(("_share", "_rate", "_accuracy")):
        return f"{label} {100 * value:.1f} %"
    if abs(value) >= 1000 or float(value).is_integer():
        return f"{label} {value:,.0f}"
    return f"{label} {value:.3g}"


class Bar:
    """One step's progress (``arrows.Progress``): items done, rate, time left, and the latest figures."""

    def __init__(self, label: str, total: int, clock: Callable[[], float], on_advance: Callable[[Bar], None]) -> None:
        self.label = label
        self.total = total
        self.done = 0
        self.figures: dict[str, float] = {}
        self._clock = clock
        self._on_advance = on_advance
        self._began = clock()
        self._marks: deque[tuple[float, int]] = deque([(self._began, 0)])

    def advance(self, done: int = 1, **figures: float) -> None:
        """Count items done and remember the figures; the display decides what to show."""
        self.done += done
        self.figures.update(figures)
        self._mark()
        self._on_advance(self)

    def _mark(self) -> None:
        now = self._clock()
        self._marks.append((now, self.done))
        while len(self._marks) > 2 and now - self._marks[1][0] >= WINDOW_S:
            self._marks.popleft()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the bar was opened."""
        return self._clock() - self._began

    @property
    def rate(self) -> float | None:
        """Items a second over the last half minute; None before the first item."""
        began, before = self._marks[0]
        seconds = self._clock() - began
        gained = self.done - before
        return gained / seconds if gained > 0 and seconds > 0 else None

    @property
    def left_s(self) -> float | None:
        """Seconds left at the present rate; None where no rate is known."""
        rate = self.rate
        return max(0, self.total - self.done) / rate if rate else None

    def status(self) -> str:
        """Count, rate, elapsed, time left and figures in one line without the label."""
        rate, left = self.rate, self.left_s
        times = duration(self.elapsed_s) + (f", {duration(left)} left" if left else "")
        parts = [f"{self.done:,}/{self.total:,}", *([f"{rate:,.1f}/s"] if rate else []), times]
        return "  ".join([*parts, *(figure(name, value) for name, value in self.figures.items())])

    def closing(self) -> str:
        """The line that stays when the bar is over: the whole step's mean rate, not the last half minute's."""
        seconds = self.elapsed_s
        rate = [f"{self.done / seconds:,.1f}/s"] if self.done and seconds > 0 else []
        count = f"{self.done:,}" if self.done >= self.total else f"{self.done:,} of at most {self.total:,}"
        figures = (figure(name, value) for name, value in self.figures.items())
        return "  ".join([f"{self.label}: {count}", *rate, duration(seconds), *figures])


def silent(label: str, total: int) -> Progress:
    """A bar that nobody looks at."""
    return Bar(label, total, time.monotonic, lambda bar: None)


class Display:
    """All bars of one process, one under the other; a context manager. ``display.open`` is the ``Tools.progress`` opener.

    A bar closes by itself when its total is reached; ``step`` closes the bars whose total was only an upper bound.
    """

    def __init__(
        self,
        *,
        mode: Mode | None = None,
        stream: TextIO | None = None,
        every_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stderr
        self.mode: Mode = mode or ("bars" if self._stream.isatty() else "lines")
        self._every_s = every_s
        self._clock = clock
        self._bars: list[Bar] = []
        self._said: dict[int, float] = {}
        self._stack = ExitStack()
        self._console: Console | None = None

    def __enter__(self) -> Self:
        if self.mode == "bars":
            self._stack.enter_context(self._live())
        return self

    def __exit__(self, *_: object) -> None:
        self._close(list(self._bars))
        self._stack.close()

    def _live(self) -> AbstractContextManager[object]:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=self._stream)
        return Live(console=self._console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def _render(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        for bar in list(self._bars):
            drawn = ProgressBar(total=max(1, bar.total), completed=bar.done, width=BAR_WIDTH)
            grid.add_row(Text(bar.label), drawn, Text(bar.status(), no_wrap=True, overflow="ellipsis"))
        return grid

    def _say(self, line: str) -> None:
        if self._console is not None:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            print(line, file=self._stream, flush=True)

    def open(self, label: str, total: int) -> Progress:
        """A new bar under those that are open."""
        bar = Bar(label, total, self._clock, self._heard)
        self._bars.append(bar)
        self._said[id(bar)] = self._clock()
        if self.mode == "lines":
            self._say(f"{label}: 0/{total:,}")
        if total <= 0:
            self._close([bar])
        return bar

    def _heard(self, bar: Bar) -> None:
        if bar not in self._bars:
            return
        if bar.done >= bar.total:
            self._close([bar])
        elif self.mode == "lines" and self._clock() - self._said[id(bar)] >= self._every_s:
            self._said[id(bar)] = self._clock()
            self._say(f"{bar.label}: {bar.status()}")

    def _close(self, bars: list[Bar]) -> None:
        for bar in bars:
            self._bars.remove(bar)
            del self._said[id(bar)]
            if self.mode != "quiet":
                self._say(bar.closing())

    @contextmanager
    def step(self) -> Iterator[None]:
        """Bars that are opened inside are closed at the end, also where fewer items came than the total allowed."""
        before = list(self._bars)
        try:
            yield
        finally:
            self._close([bar for bar in self._bars if bar not in before])
