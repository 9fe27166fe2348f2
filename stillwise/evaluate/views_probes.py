"""The probes of the curriculum paper as figures, and how scores are spread: drawn when a run has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillwise.evaluate.charts import Cloud, Dot, Group, Heat, Lines
from stillwise.evaluate.shape import Estimate, Metrics, ParadigmSection, TitrationGroup, TitrationSection
from stillwise.evaluate.view_kinds import Figure, Table, legend_of, ordered, section, series
from stillwise.evaluate.wording import levels_of, number, percent, percent_error, percent_interval, points, sure

MANY_SCALES = 6
"""Scales that are drawn; the table has all."""


def paradigm_probe_figure(metrics: Metrics) -> Figure | None:
    """Figure 1 of the paper: pass@1 above, tokens below, one panel per scale, conditions by level."""
    scales: Mapping[str, ParadigmSection] = section(metrics, "paradigms")
    names = ordered(metrics, "paradigms")
    if not names:
        return None
    conditions = list(dict.fromkeys(name for scale in names for name in scales[scale]["order"]))
    shown = names[:MANY_SCALES]
    drawings = [
        *((f"{scale}: pass@1", _panel(scale, scales[scale], conditions, "pass_at_1")) for scale in shown),
        *((f"{scale}: tokens", _panel(scale, scales[scale], conditions, "tokens")) for scale in shown),
    ]
    body = [row for scale in names for row in _condition_rows(scale, scales[scale])]
    return Figure(
        title="The paradigm probe",
        drawings=drawings,
        legend=legend_of((name, place) for place, name in enumerate(conditions)),
        note="Every sample counts; whiskers are 95 % intervals. After Figure 1 of the paper, one panel per scale.",
        head=("scale", "condition", "level", "problems", "pass@1 ± s.e., %", "95 % interval", "tokens"),
        body=body,
    )


def _panel(scale: str, one: ParadigmSection, conditions: Sequence[str], field: str) -> Lines:
    groups = {name: _levels(held["measurement"]) for name, held in one["conditions"].items()}
    levels = levels_of(groups.values())
    drawn = tuple(series(name, groups[name], levels, field, place) for place, name in enumerate(conditions) if name in groups)
    form, top = ("percent", 1.0) if field == "pass_at_1" else ("count", None)
    return Lines(title=f"{field} of {scale}", categories=tuple(levels), series=drawn, form=form, top=top)  # type: ignore[arg-type]


def _levels(measurement: Mapping[str, Any]) -> dict[str, dict[str, Estimate]]:
    groups: Mapping[str, Any] = measurement.get("by_level") or {}
    return {key: {"pass_at_1": one["pass_at_1"], "tokens": one["tokens"]["mean"]} for key, one in groups.items()}


def _condition_rows(scale: str, one: ParadigmSection) -> list[list[str]]:
    rows = []
    for name in one["order"]:
        whole: Mapping[str, Any] = one["conditions"][name]["measurement"]
        groups: Mapping[str, Any] = whole.get("by_level") or {}
        for key, group in [*((key, groups[key]) for key in levels_of([groups])), ("all", whole)]:
            passed = group["pass_at_1"]
            tokens = number(group["tokens"]["mean"]["value"], 1)
            rows.append([scale, name, key, f"{group['problems']:,}", percent_error(passed), percent_interval(passed), tokens])
    return rows


def contrasts_table(metrics: Metrics) -> Table | None:
    """What each paradigm adds to the next cheaper one, in points and in tokens."""
    scales: Mapping[str, ParadigmSection] = section(metrics, "paradigms")
    body = [
        [
            scale,
            f"{row['to']} − {row['from']}",
            row["level"] or "all",
            f"{row['pass_at_1']['n']:,}",
            points(row["pass_at_1"]),
            sure(row["pass_at_1"]),
            difference(row["tokens"]),
        ]
        for scale in ordered(metrics, "paradigms")
        for row in scales[scale]["contrasts"]
    ]
    head = ("scale", "difference", "level", "problems", "points [95 % interval]", "first is", "tokens [95 % interval]")
    note = "Paired on the same problems, bootstrap over problems."
    return Table(title="What each paradigm adds", head=head, body=body, note=note) if body else None


def difference(found: Estimate) -> str:
    """A difference of plain numbers with its interval: ``+12.3 [+8.0, +16.9]``."""
    if found["value"] is None:
        return "–"
    interval = "" if found["ci"] is None else f" [{found['ci'][0]:+,.1f}, {found['ci'][1]:+,.1f}]"
    return f"{found['value']:+,.1f}{interval}"


def titration_figures(metrics: Metrics) -> list[Figure]:
    """Figure 2 of the paper: how much of the thought was needed against how much had still to be written."""
    held: Mapping[str, TitrationSection] = section(metrics, "titration")
    return [_titration(name, held[name]) for name in ordered(metrics, "titration")]


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
    rows = [
        *((key, one["groups"][key]) for key in one["order"]),
        *((f"level {k}", one["by_level"][k]) for k in levels_of([one["by_level"]])),
    ]
    return Figure(
        title=title,
        drawings=[("", chart)] if any(group.dots for group in groups) else [],
        legend=legend_of((group.name, group.place) for group in groups),
        note=_titration_note(one),
        head=(
            "group",
            "problems",
            "solved",
            "never solved",
            "context ratio, median",
            "of the solved",
            "generation ratio, median",
        ),
        body=[[key, *_titration_cells(group)] for key, group in rows],
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


def _titration_cells(group: TitrationGroup) -> list[str]:
    ratios = [_ratio(group[key]) for key in ("context_ratio", "context_ratio_solved", "generation_ratio")]
    return [f"{group['n']:,}", f"{group['solved']:,}", f"{sum(group['censored'].values()):,}", *ratios]


def _ratio(found: Estimate) -> str:
    if found["value"] is None:
        return found.get("reason") or "–"
    interval = "" if found["ci"] is None else f" [{100 * found['ci'][0]:.0f}, {100 * found['ci'][1]:.0f}]"
    return f"{percent(found['value'])}{interval}"


def _titration_note(one: TitrationSection) -> str:
    rank = {key: one[key]["value"] for key in ("level_and_context", "context_and_generation")}  # type: ignore[literal-required]
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
    note = f"Traces by both scores, whole numbers; {one['unscored']:,} traces lack one of them."
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
