"""How good, how long, from what: accuracy before and after, the teachers' modes, selection and training as figures.

Everything is drawn from ``metrics.json`` alone: one function for each figure or table, each None where nothing ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from stillwise.evaluate.charts import LEVELS, Bars, Count, Curves, Lines, Piece, Point, Series, Shares, series_colour
from stillwise.evaluate.charts import Counts as CountsChart
from stillwise.evaluate.shape import Comparison, Counts, FirstTry, Measurement, Metrics, SamplingSection
from stillwise.evaluate.view_kinds import (
    Card,
    Entry,
    Figure,
    Table,
    benchmarks,
    evaluations,
    legend_of,
    ordered,
    point,
    samplings,
    series,
)
from stillwise.evaluate.wording import (
    NOTHING,
    level_name,
    levels_of,
    number,
    percent,
    percent_error,
    percent_interval,
    points,
    spread_points,
    sure,
)

PAPER_TITLE = "Teach Small Models to Reason by Curriculum Distillation"
PAPER_LEVEL_5_SHARE = 0.24
"""§4.2: level 5 constitutes approximately 24 % of the data."""


def whole_differences(metrics: Metrics) -> list[Comparison]:
    """The comparisons over all levels."""
    return [row for row in metrics.get("comparison", []) if row["level"] is None]


def cards(metrics: Metrics) -> list[Card]:
    """The headline: how much better, at what length, from how many problems."""
    found = [card for row in whole_differences(metrics)[:2] for card in _difference_cards(metrics, row)]
    for name in ordered(metrics, "selection"):
        kept = metrics["selection"][name]
        note = f"of {kept['problems']:,}, in “{name}”"
        found.append(Card(label="problems kept for training", value=f"{kept['kept']:,}", note=note))
    return found


def _difference_cards(metrics: Metrics, row: Comparison) -> list[Card]:
    change, sections = row["difference"], metrics.get("evaluation", {})
    before, after = (sections.get(row[side]) for side in ("from", "to"))
    if before is None or after is None or change["value"] is None or row["benchmark"] not in after["benchmarks"]:
        return []
    old, new = before["benchmarks"][row["benchmark"]], after["benchmarks"][row["benchmark"]]
    verdict = {"higher": "good", "lower": "bad"}.get(sure(change), "")
    passed = f"{percent(old['pass_at_1']['value'])} → {percent(new['pass_at_1']['value'])}"
    tokens = f"{number(old['tokens']['mean']['value'])} → {number(new['tokens']['mean']['value'])}"
    interval = f"95 % interval {spread_points(change)}, paired, n = {change['n']:,} problems"
    where = f"{row['benchmark']}, {row['from']} → {row['to']}"
    return [
        Card(label=f"accuracy: {where}", value=passed.replace(" %", "\u00a0%"), note="pass@1, mean over samples"),
        Card(label="difference", value=f"{100 * change['value']:+.1f} points", note=interval, tone=verdict),
        Card(label="tokens per answer", value=tokens, note="as generated"),
    ]


def accuracy_figure(metrics: Metrics, benchmark: str) -> Figure | None:
    """Accuracy of every evaluated model by level, with intervals."""
    measured = {n: s["benchmarks"][benchmark] for n, s in evaluations(metrics).items() if benchmark in s["benchmarks"]}
    levels = levels_of(one.get("by_level", {}) for one in measured.values())
    if not levels:
        return None
    drawn = [Series(name, _over(one, levels), place) for place, (name, one) in enumerate(measured.items())]
    title = f"Accuracy on {benchmark} by level"
    head = (
        "model",
        "level",
        "problems",
        "pass@1 ± s.e., %",
        "95 % interval",
        "samples drawn too",
        "s.d. over runs",
        "tokens",
        "truncated",
        "no answer",
    )
    body = [row for name, one in measured.items() for row in _measured_rows(name, one)]
    return Figure(
        title=title,
        drawings=[("", Bars(title=title, categories=tuple(levels), series=tuple(drawn)))],
        legend=legend_of([(one.name, one.place) for one in drawn], marked=False),
        note="Share of correct samples (pass@1), mean over problems; whiskers are 95 % intervals over problems. “Samples drawn "
        "too” is the wider interval that resamples each problem’s samples as well.",
        head=head,
        body=body,
    )


def _over(one: Measurement, levels: Sequence[str]) -> tuple[Point, ...]:
    groups = one.get("by_level", {})
    return tuple(point(groups[key]["pass_at_1"]) if key in groups else Point(None) for key in levels)


def _measured_rows(name: str, one: Measurement) -> list[list[str]]:
    groups = one.get("by_level", {})
    named = [*((key, groups[key]) for key in levels_of([groups])), ("all", one)]
    return [[name, key, f"{group['problems']:,}", *_measured_cells(group)] for key, group in named]


def _measured_cells(group: Measurement) -> list[str]:
    return [
        percent_error(group["pass_at_1"]),
        percent_interval(group["pass_at_1"]),
        percent_interval(group["pass_at_1_cluster"]) if "pass_at_1_cluster" in group else NOTHING,
        percent(group["std_over_runs"]),
        number(group["tokens"]["mean"]["value"]),
        percent(group["truncated_rate"]["value"]),
        percent(group["no_answer_rate"]["value"]),
    ]


def summary_table(metrics: Metrics) -> Table | None:
    """Every model on every benchmark and their unweighted average, where there are several benchmarks."""
    names = ordered_benchmarks(metrics)
    if len(names) < 2:
        return None
    body = [
        [name, *(percent_error(one["benchmarks"][b]["pass_at_1"]) if b in one["benchmarks"] else "–" for b in names),
         percent_error(one["average"])]
        for name, one in evaluations(metrics).items()
    ]  # fmt: skip
    note = "pass@1 in percent ± standard error over problems; the average weighs benchmarks equally."
    return Table(title="All benchmarks", head=("model", *names, "average"), body=body, note=note, wide=True)


def ordered_benchmarks(metrics: Metrics) -> list[str]:
    """Benchmarks in the recipe's order, those that it does not name last."""
    found = benchmarks(metrics)
    named = [name for name in metrics.get("order", {}).get("benchmarks", []) if name in found]
    return named + [name for name in found if name not in named]


def comparison_table(metrics: Metrics) -> Table | None:
    """Paired differences, all levels and each level; what is the same in every row stands in the note."""
    rows = metrics.get("comparison", [])
    if not rows:
        return None
    columns = {"models": [f"{row['from']} → {row['to']}" for row in rows], "benchmark": [row["benchmark"] for row in rows]}
    varied = {name: cells for name, cells in columns.items() if len(set(cells)) > 1}
    same = [cells[0] for name, cells in columns.items() if name not in varied]
    body = [[*cells, *_comparison_cells(row)] for *cells, row in zip(*varied.values(), rows, strict=True)]
    about = f"{', '.join(same)}: " if same else ""
    head = (*varied, "level", "problems", "points [95 % interval]", "after is")
    return Table(
        title="Paired differences",
        head=head,
        body=body,
        note=f"{about}paired bootstrap over the same problems, 10,000 resamples.",
    )


def _comparison_cells(row: Comparison) -> list[str]:
    found = row["difference"]
    left = f"{found['n']:,}" + (f" ({row['unpaired']:,} unpaired)" if row["unpaired"] else "")
    return [row["level"] or "all", left, points(found), sure(found)]


def paradigm_figure(metrics: Metrics) -> Figure | None:
    """Accuracy and tokens of the first try by paradigm and level: the counterpart of the paper's Figure 1.

    Outputs that were cut from another's traces stand in the table only: nothing was generated for them.
    """
    outputs = samplings(metrics)
    levels = levels_of(one["by_level"] for one in outputs.values())
    if not levels:
        return None
    drawn = [(i, name, one) for i, (name, one) in enumerate(outputs.items()) if not one["derived"]]
    passed = tuple(_first_series(name, one, levels, "pass_at_1_first_try", i) for i, name, one in drawn)
    tokens = tuple(_first_series(name, one, levels, "mean_tokens", i) for i, name, one in drawn)
    keys = tuple(levels)
    drawings = [
        ("Accuracy of the first try", Lines(title="First-try accuracy by level", categories=keys, series=passed, top=1.0)),
        ("Tokens of the first try", Lines(title="Tokens by level", categories=keys, series=tokens, form="count")),
    ]
    head = (
        "output",
        "paradigm",
        "level",
        "problems",
        "first try, %",
        "95 % interval",
        "solved",
        "attempts",
        "tokens",
        "truncated",
    )
    body = [row for name, one in outputs.items() for row in _sampling_rows(name, one)]
    legend = legend_of((one.name, one.place) for one in passed)
    note = "Whiskers are 95 % intervals. Retries go to unsolved problems only, so first tries alone are compared."
    return Figure(title="Modes of reasoning", drawings=drawings, legend=legend, note=note, head=head, body=body)


def _first_series(name: str, one: SamplingSection, levels: Sequence[str], key: str, place: int) -> Series:
    return series(name, cast("Mapping[str, Mapping[str, object]]", one["by_level"]), levels, key, place)


def _sampling_rows(name: str, one: SamplingSection) -> list[list[str]]:
    named: list[tuple[str, FirstTry]] = [(key, one["by_level"][key]) for key in levels_of([one["by_level"]])]
    return [[name, one["paradigm"], key, *_first_cells(group)] for key, group in [*named, ("all", one)]]


def _first_cells(group: FirstTry) -> list[str]:
    return [
        f"{group['n']:,}",
        percent_error(group["pass_at_1_first_try"]),
        percent_interval(group["pass_at_1_first_try"]),
        f"{group['solved']:,}",
        f"{group['attempts']:,}",
        number(group["mean_tokens"]["value"]),
        percent(group["truncated_rate"]["value"]),
    ]


def funnel_figure(metrics: Metrics) -> Figure | None:
    """Problems asked, solved by each output, and kept."""
    outputs = samplings(metrics)
    if not outputs:
        return None
    asked = max(one["n"] for one in outputs.values())
    rows = [Count("problems", asked, "muted")]
    rows += [_funnel_row(f"{n}", s["solved"], asked, series_colour(i)) for i, (n, s) in enumerate(outputs.items())]
    for name in ordered(metrics, "selection"):
        rows.append(_funnel_row(name, metrics["selection"][name]["kept"], asked, "accent"))
    body = [[row.label, f"{row.value:,}", row.note] for row in rows]
    title = "From problems to the training set"
    note = "Each bar counts problems with at least one correct trace; the last ones are what selection kept."
    drawings = [("", CountsChart(title=title, rows=tuple(rows)))]
    return Figure(title=title, drawings=drawings, note=note, head=("set", "problems", "share"), body=body)


def _funnel_row(label: str, value: int, asked: int, colour: str) -> Count:
    return Count(label, value, colour, percent(value / asked if asked else None))


def level_figure(metrics: Metrics) -> Figure | None:
    """Share of each level among the problems and in what was kept."""
    kept = {name: metrics["selection"][name] for name in ordered(metrics, "selection")}
    if not kept:
        return None
    asked = next((one["by_level"] for one in samplings(metrics).values()), {})
    rows: dict[str, Counts] = {"problems": {key: group["n"] for key, group in asked.items()}} if asked else {}
    rows |= {name: one["by_level"] for name, one in kept.items()}
    levels = levels_of(rows.values())
    drawn = [(name, tuple(_piece(key, place, counts) for place, key in enumerate(levels))) for name, counts in rows.items()]
    title = "Levels before and after selection"
    hardest = [f"{percent(one['share_by_level'].get('5', 0.0))} of “{name}” is level 5" for name, one in kept.items()]
    if metrics.get("recipe", {}).get("paper", {}).get("title") == PAPER_TITLE:
        hardest.append(f"about {percent(PAPER_LEVEL_5_SHARE, 0)} in the paper (§4.2)")
    body = [
        [name, *(f"{counts.get(key, 0):,} ({percent(_share(counts, key))})" for key in levels)] for name, counts in rows.items()
    ]
    return Figure(
        title=title,
        drawings=[("", Shares(title=title, rows=tuple(drawn)))],
        legend=[Entry(level_name(key), LEVELS[place % 5]) for place, key in enumerate(levels)],
        note="; ".join(hardest) + ".",
        head=("set", *map(level_name, levels)),
        body=body,
    )


def _share(counts: Counts, key: str) -> float | None:
    total = sum(counts.values())
    return counts.get(key, 0) / total if total else None


def _piece(key: str, place: int, counts: Counts) -> Piece:
    return Piece(level_name(key), counts.get(key, 0), LEVELS[place % 5], on=f"on-{LEVELS[place % 5]}")


def training_figures(metrics: Metrics) -> list[Figure]:
    """The loss of every training step, stage after stage."""
    return [_training_figure(name, metrics) for name in ordered(metrics, "training")]


def _training_figure(name: str, metrics: Metrics) -> Figure:
    stages = metrics["training"][name]
    title = f"Training loss of {name}"
    keys = ("rows", "tokens", "steps", "epochs")
    body = [
        [s["stage"], *(number(s.get(key)) for key in keys), number(s.get("first_loss"), 3), number(s.get("last_loss"), 3)]  # type: ignore[arg-type]
        for s in stages
    ]
    return Figure(
        title=title,
        drawings=[("", Curves(title=title, stages=tuple((s["stage"], _pairs(s["curve"])) for s in stages)))],
        legend=[Entry(s["stage"], series_colour(place + 1)) for place, s in enumerate(stages)],
        note="Mean loss per supervised token in nats.",
        open_table=True,
        head=("stage", "rows", "tokens", "steps", "epochs", "first loss", "last loss"),
        body=body,
    )


def _pairs(curve: Sequence[Sequence[float]]) -> tuple[tuple[float, float], ...]:
    return tuple((step, value) for step, value, *_ in curve)
