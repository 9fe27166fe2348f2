"""The probes of the curriculum paper as figures, and how scores are spread: drawn when a run has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillwise.evaluate.charts import Cloud, Dot, Form, Group, Heat, Lines
from stillwise.evaluate.paradigm_probe import paradigm_tables, scales
from stillwise.evaluate.shape import Contrast, Estimate, Metrics, ParadigmSection, TitrationSection
from stillwise.evaluate.titration_figures import HEAD, titration_table, titrations
from stillwise.evaluate.view_kinds import Figure, Table, legend_of, samplings, section, series
from stillwise.evaluate.wording import levels_of, number, percent, points

MANY_SCALES = 6
"""Scales that are drawn; the tables have all."""


def paradigm_probe_figure(metrics: Metrics) -> Figure | None:
    """The upper row of Figure 1: pass@1 and tokens of each condition by level, one panel per scale."""
    held = scales(metrics)
    if not held:
        return None
    conditions = list(dict.fromkeys(name for one in held.values() for name in one["order"]))
    places = {name: place for place, name in enumerate(dict.fromkeys([*samplings(metrics), *conditions]))}
    drawings = [
        (f"{scale}: {words}", _panel(scale, one, places, field))
        for scale, one in list(held.items())[:MANY_SCALES]
        for field, words in (("pass_at_1", "pass@1"), ("tokens", "tokens"))
    ]
    return Figure(
        title="The paradigm probe",
        drawings=drawings,
        legend=legend_of((name, places[name]) for name in conditions),
        note="Every sample counts; whiskers are 95 % intervals. After Figure 1 of the paper, one panel per scale.",
    )


def paradigm_gap_figure(metrics: Metrics) -> Figure | None:
    """The lower row of Figure 1: what each condition adds to the next one, in pass@1 and in tokens, by level."""
    held = scales(metrics)
    pairs = list(dict.fromkeys(_gap(row) for one in held.values() for row in one["contrasts"]))
    if not pairs:
        return None
    drawings = [
        (f"{scale}: {words}", _gaps(scale, one, pairs, field))
        for scale, one in list(held.items())[:MANY_SCALES]
        for field, words in (("pass_at_1", "difference of pass@1"), ("tokens", "difference of tokens"))
    ]
    return Figure(
        title="What each condition adds",
        drawings=drawings,
        legend=legend_of((name, place) for place, name in enumerate(pairs)),
        note="Differences on the same problems; whiskers are 95 % intervals, paired bootstrap over problems.",
    )


def _gap(row: Contrast) -> str:
    return f"{row['to']} − {row['from']}"


def _gaps(scale: str, one: ParadigmSection, pairs: Sequence[str], field: str) -> Lines:
    groups: dict[str, dict[str, Contrast]] = {name: {} for name in pairs}
    for row in one["contrasts"]:
        if row["level"] is not None:
            groups[_gap(row)][row["level"]] = row
    levels = levels_of(groups.values())
    drawn = tuple(series(name, groups[name], levels, field, place) for place, name in enumerate(pairs))
    ends = [end for each in drawn for one in each.points for end in (one.value, one.low) if end is not None]
    form: Form = "count" if field == "tokens" else "percent"
    title = f"differences of {field}, {scale}"
    return Lines(title=title, categories=tuple(levels), series=drawn, form=form, bottom=min([0.0, *ends]))


def _panel(scale: str, one: ParadigmSection, places: Mapping[str, int], field: str) -> Lines:
    groups = {name: _levels(held["measurement"]) for name, held in one["conditions"].items()}
    levels = levels_of(groups.values())
    drawn = tuple(series(name, groups[name], levels, field, places[name]) for name in one["order"])
    title = f"{field} of {scale}"
    if field == "tokens":
        return Lines(title=title, categories=tuple(levels), series=drawn, form="count")
    return Lines(title=title, categories=tuple(levels), series=drawn, top=1.0)


def _levels(measurement: Mapping[str, Any]) -> dict[str, dict[str, Estimate]]:
    groups: Mapping[str, Any] = measurement.get("by_level") or {}
    return {key: {"pass_at_1": one["pass_at_1"], "tokens": one["tokens"]["mean"]} for key, one in groups.items()}


def paradigm_probe_tables(metrics: Metrics) -> list[Table]:
    """Conditions by level, and what each adds to the next cheaper one, for each scale."""
    return [Table(title=title, head=head, body=body) for title, head, body in paradigm_tables(metrics)]


def titration_figures(metrics: Metrics) -> list[Figure]:
    """Figure 2 of the paper: how much of the thought was needed against how much had still to be written."""
    return [_titration(name, one) for name, one in titrations(metrics).items()]


def _titration(name: str, one: TitrationSection) -> Figure:
    title = f"Context titration: {name}"
    groups = tuple(Group(group, _dots(one, group), place + 1) for place, group in enumerate(one["order"]))
    chart = Cloud(
        title=title,
        groups=groups,
        x_axis="context ratio: prefix over thought",
        y_axis="generation ratio: written over what was left",
        x_form="percent",
        small=True,
    )
    return Figure(
        title=title,
        drawings=[("", chart)] if any(group.dots for group in groups) else [],
        legend=legend_of((group.name, group.place) for group in groups),
        note=_titration_note(one),
        head=HEAD,
        body=titration_table(one),
        open_table=True,
    )


def _dots(one: TitrationSection, group: str) -> tuple[Dot, ...]:
    return tuple(
        Dot(
            float(context),
            float(written),
            f"{group}, level {level}: {percent(context, 0)} given, {percent(written, 0)} written",
        )
        for name, level, context, written in one["points"]
        if name == group and isinstance(context, (int, float)) and isinstance(written, (int, float))
    )


def _titration_note(one: TitrationSection) -> str:
    rank = {key: one[key]["value"] for key in ("level_and_context", "context_and_generation")}
    said = [
        f"Each mark is a problem that a prefix solved; search {one['search']}, {one['samples']} answers per prefix.",
        f"Spearman’s ρ of level and context ratio {_rho(rank['level_and_context'])},",
        f"of context and generation ratio {_rho(rank['context_and_generation'])}.",
        "Problems that no prefix solved count as more than the whole thought.",
    ]
    if one["difference"]:
        said.append(f"Last group minus first: {points(one['difference'])} points.")
    return " ".join(said)


def _rho(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def heat_figures(metrics: Metrics) -> list[Figure]:
    """Traces by cognitive difficulty and reasoning verbosity, where a run scored both."""
    found = section(metrics, "scores").get("verbosity_by_difficulty") or {}
    return [_heat(name, found[name]) for name in sorted(found)]


def _heat(name: str, one: Mapping[str, Any]) -> Figure:
    title = f"Verbosity and difficulty of {name}"
    columns, rows = tuple(map(str, one["verbosity"])), tuple(map(str, one["difficulty"]))
    cells = tuple(tuple(row) for row in one["cells"])
    chart = Heat(
        title=title,
        columns=columns,
        rows=rows,
        cells=cells,
        x_axis="reasoning verbosity (RV)",
        y_axis="cognitive difficulty (CD)",
    )
    note = (
        f"Traces by both scores, to the nearest whole number; {one['unscored']:,} traces lack one of them or lie off the scale."
    )
    body = [[rows[i], *(f"{cell:,}" for cell in row)] for i, row in enumerate(cells)]
    return Figure(title=title, drawings=[("", chart)], note=note, head=("CD \\ RV", *columns), body=body)


def scores_table(metrics: Metrics) -> Table | None:
    """How each score is spread over the traces that it was computed for."""
    held = section(metrics, "scores").get("by_step") or {}
    body = [
        [step, name, f"{one['n']:,}", f"{one['missing']:,}", *(number(one[key], 3) for key in ("mean", "min", "median", "max"))]
        for step in sorted(held)
        for name, one in sorted(held[step].items())
    ]
    head = ("step", "score", "traces", "without value", "mean", "least", "median", "greatest")
    return Table(title="Scores", head=head, body=body) if body else None
