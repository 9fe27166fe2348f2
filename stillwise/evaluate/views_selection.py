"""Why these traces: the student's profile, what was chosen by difficulty and verbosity, lengths on easy and hard ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillwise.evaluate.charts import Bars, Heat, Lines, Point, Series
from stillwise.evaluate.estimates import wilson_interval
from stillwise.evaluate.shape import Metrics
from stillwise.evaluate.view_kinds import Figure, legend_of, ordered
from stillwise.evaluate.wording import NOTHING, number, percent

THIRDS = ("easy", "middle", "hard")
"""In this order, not in that of metrics.json."""
MARKS = tuple(str(mark) for mark in range(10))


def selection_figures(metrics: Metrics) -> list[Figure]:
    """The figures of every selecting step that explains its choice."""
    found = [(name, metrics["selection"][name].get("figures") or {}) for name in ordered(metrics, "selection")]
    figures = [make(name, held) for name, held in found for make in (_profile, _cells, _lengths)]
    return [figure for figure in figures if figure is not None]


def _profile(name: str, held: Mapping[str, Any]) -> Figure | None:
    """The student's pass rate by difficulty, and the verbosities that follow from it."""
    bins = held.get("profile") or []
    if not bins:
        return None
    title = f"The student’s profile, and what “{name}” takes from it"
    points = tuple(_rate(one) for one in bins)
    categories = tuple(f"CD {one['cd']}" for one in bins)
    drawn = Lines(title=title, categories=categories, series=(Series("pass rate", points, 0),), axis="", top=1.0)
    return Figure(
        title=title,
        drawings=[("", drawn)],
        note=_sentence(held),
        open_table=True,
        head=("cognitive difficulty", "problems", "solved", "pass rate", "nats per token", "standing", "verbosity taken"),
        body=[_profile_row(one) for one in bins],
    )


def _rate(one: Mapping[str, Any]) -> Point:
    return Point(one["pass_rate"], *wilson_interval(one["pass_rate"], one["n"])) if one["n"] else Point(None)


def _profile_row(one: Mapping[str, Any]) -> Sequence[str]:
    low, high = one["rv_range"]
    taken = NOTHING if one["standing"] == "beyond" else f"{low:.1f} to {high:.1f}"
    solved = f"{one['k']:,} of {one['n']:,}"
    likely = NOTHING if one["likelihood"] is None else f"{one['likelihood']:.3f}"
    return (str(one["cd"]), f"{one['problems']:,}", solved, percent(one["pass_rate"]), likely, one["standing"], taken)


def _sentence(held: Mapping[str, Any]) -> str:
    reach = held.get("cd_range")
    ranged = f"cognitive difficulty {reach[0]} to {reach[1]} is in reach; " if reach else "no difficulty is in reach; "
    return (
        f"{held['chosen']:,} traces of {held['asked']:,} asked for: {ranged}{held['fitting']:,} of {held['candidates']:,} "
        "candidates have marks that suit the student. Whiskers are 95 % intervals of Wilson over attempts."
    )


def _cells(name: str, held: Mapping[str, Any]) -> Figure | None:
    """What was chosen by difficulty and verbosity; the table has the domains apart."""
    cells = held.get("cells") or []
    if not cells:
        return None
    title = f"What “{name}” chose, by difficulty and verbosity"
    counts = tuple(
        tuple(sum(one["chosen"] for one in cells if (one["cd"], one["rv"]) == (cd, rv)) for cd in range(10)) for rv in range(10)
    )
    drawn = Heat(title=title, columns=MARKS, rows=MARKS, cells=counts, x_axis="cognitive difficulty", y_axis="verbosity")
    body = [[one["domain"], *(f"{one[key]:,}" for key in ("cd", "rv", "fitting", "chosen"))] for one in cells]
    note = "Traces. Every cell of domain, difficulty and verbosity gets an equal part of the budget, or all that it has."
    head = ("domain", "cognitive difficulty", "verbosity", "fitting", "chosen")
    return Figure(title=title, drawings=[("", drawn)], note=note, head=head, body=body)


def _lengths(name: str, held: Mapping[str, Any]) -> Figure | None:
    """Mean length on easy, middle and hard problems before and after the choice."""
    found = held.get("lengths") or {}
    thirds: Mapping[str, Any] = {third: found[third] for third in THIRDS if third in found}
    if not any(one["before"]["traces"] for one in thirds.values()):
        return None
    title = f"Length by difficulty, before and after “{name}”"
    words = (("before", "all correct traces"), ("after", "chosen"))
    drawn = tuple(
        Series(word, tuple(Point(one[when]["mean_tokens"]) for one in thirds.values()), place)
        for place, (when, word) in enumerate(words)
    )
    body = [
        [third, *(text for when, _ in words for text in (f"{one[when]['traces']:,}", number(one[when]["mean_tokens"], 1)))]
        for third, one in thirds.items()
    ]
    return Figure(
        title=title,
        drawings=[("", Bars(title=title, categories=tuple(thirds), series=drawn, axis="", form="count", top=None))],
        legend=legend_of([(one.name, one.place) for one in drawn], marked=False),
        note="Mean tokens of traces on the easy, the middle and the hard third of difficulties.",
        head=("problems", "traces before", "tokens before", "traces after", "tokens after"),
        body=body,
    )
