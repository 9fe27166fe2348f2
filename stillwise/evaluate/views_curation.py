"""What curating, filtering and pairing decided: their own figures as tables, and a mix that was asked for beside what came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stillwise.evaluate.charts import Bars, Point, Series
from stillwise.evaluate.shape import Metrics
from stillwise.evaluate.view_kinds import Figure, Table, legend_of
from stillwise.evaluate.wording import percent

ASKED, CAME = "asked_share", "came_share"


def curation_blocks(metrics: Metrics) -> list[Figure | Table]:
    """Each step's figures, in the recipe's order."""
    return [block for name, found in metrics.get("curation", {}).items() for block in _blocks(name, found)]


def _blocks(name: str, found: Mapping[str, Any]) -> Iterator[Figure | Table]:
    title = f"{name}: {found['kind'].replace('_', ' ')}"
    rest = {key: value for key, value in found.items() if key != "kind"}
    for key, value in found.items():
        if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
            del rest[key]
            yield _mix(title, value) if ASKED in value[0] else _rows(f"{title}, {key.replace('_', ' ')}", value)
    if body := list(_flat(rest)):
        yield Table(title=title, head=("figure", "value"), body=body)


def _flat(value: Any, path: str = "") -> Iterator[Sequence[str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}, {key}".lstrip(", "))
    else:
        yield [path.replace("_", " "), _said(value)]


def _rows(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    head = list(dict.fromkeys(key for row in rows for key in row))
    return Table(
        title=title,
        head=[key.replace("_", " ") for key in head],
        body=[[_said(row.get(key)) for key in head] for row in rows],
    )


def _mix(title: str, rows: Sequence[Mapping[str, Any]]) -> Figure:
    """The shares asked for beside those that came, by domain and level."""
    names = tuple(f"{row['domain']} {row['level'] if row['level'] is not None else ''}".strip() for row in rows)
    drawn = [
        Series(label, tuple(Point(row[key]) for row in rows), place)
        for place, (label, key) in enumerate([("asked for", ASKED), ("came", CAME)])
    ]
    return Figure(
        title=title,
        drawings=[("", Bars(title=title, categories=names, series=tuple(drawn), axis=""))],
        legend=legend_of([(one.name, one.place) for one in drawn], marked=False),
        note="Shares of the problems that go on, by domain and level, beside what the recipe asked for.",
        head=("domain and level", "available", "asked for", "came", "share that came"),
        body=[
            [name, _said(row["available"]), percent(row[ASKED]), _said(row["came"]), percent(row[CAME])]
            for name, row in zip(names, rows, strict=True)
        ],
    )


def _said(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ", ".join(map(_said, value)) if isinstance(value, list) else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"
