"""Figures as words: percent with errors, intervals, differences, and plain-text and Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from stillwise.evaluate.metrics import level_order
from stillwise.evaluate.shape import Estimate

NOTHING = "–"
Cells = Sequence[str]


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as percent, or a dash."""
    return NOTHING if value is None else f"{100 * value:.{digits}f} %"


def percent_error(found: Estimate, digits: int = 1) -> str:
    """Percent with the standard error over problems: ``63.5 ± 1.9``."""
    if found["value"] is None:
        return NOTHING
    error = "" if found["se"] is None else f" ± {100 * found['se']:.{digits}f}"
    return f"{100 * found['value']:.{digits}f}{error}"


def percent_interval(found: Estimate) -> str:
    """The 95 % interval in percent: ``61.0 to 67.2``."""
    return NOTHING if found["ci"] is None else f"{100 * found['ci'][0]:.1f} to {100 * found['ci'][1]:.1f}"


def points(found: Estimate) -> str:
    """A difference in percentage points with its interval: ``+22.3 [+19.8, +24.7]``."""
    if found["value"] is None:
        return NOTHING
    interval = "" if found["ci"] is None else f" [{100 * found['ci'][0]:+.1f}, {100 * found['ci'][1]:+.1f}]"
    return f"{100 * found['value']:+.1f}{interval}"


def spread_points(found: Estimate) -> str:
    """The interval of a difference in words: ``+19.8 to +24.7``."""
    return NOTHING if found["ci"] is None else f"{100 * found['ci'][0]:+.1f} to {100 * found['ci'][1]:+.1f}"


def number(value: float | None, digits: int = 0) -> str:
    """A number with thousands marks, or a dash."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def sure(found: Estimate) -> str:
    """What the interval of a difference says: ``higher``, ``lower`` or ``not told apart`` from zero."""
    if found["ci"] is None:
        return "no interval"
    low, high = found["ci"]
    return "higher" if low > 0 else "lower" if high < 0 else "not told apart"


def level_name(key: str) -> str:
    """A level key in a table."""
    return f"level {key}" if key.isdigit() else f"{key} level"


def levels_of(groups: Iterable[Mapping[str, object]]) -> list[str]:
    """All level keys of several groups, easiest first."""
    return sorted({key for group in groups for key in group}, key=level_order)


def plain_table(head: Cells, body: Sequence[Cells]) -> str:
    """Columns aligned by spaces: the first to the left, the others to the right, a rule under the head."""
    rows = [list(head), *map(list, body)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(_pad(cell, width, i) for i, (cell, width) in enumerate(zip(row, widths, strict=True))) for row in rows]
    return "\n".join([lines[0].rstrip(), "  ".join("─" * width for width in widths), *(text.rstrip() for text in lines[1:])])


def _pad(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def markdown_table(head: Cells, body: Sequence[Cells]) -> str:
    """A Markdown table, numbers to the right; pipes in cells are escaped."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in [head, rule, *body])
