"""What the report shows, drawn from ``metrics.json`` alone: one function per figure or table, each None where nothing ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from stillwise.evaluate import charts
from stillwise.evaluate.charts import FunnelRow, Part, Point, Series
from stillwise.evaluate.shape import (
    Comparison,
    Counts,
    Estimate,
    EvaluationSection,
    FirstTry,
    Measurement,
    Metrics,
    SamplingSection,
)
from stillwise.evaluate.wording import (
    Cells,
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
from stillwise.records import Outcome

PAPER_TITLE = "Teach Small Models to Reason by Curriculum Distillation"
PAPER_LEVEL_5_SHARE = 0.24
"""§4.2: level 5 constitutes approximately 24 % of the data."""
OUTCOME_WORDS = {outcome.value: outcome.value.replace("_", " ") for outcome in Outcome}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing with its legend, a sentence, and the same numbers as a table."""

    title: str
    drawings: Sequence[tuple[str, str]] = ()
    """(small title, SVG)."""
    legend: Sequence[tuple[str, str]] = ()
    """(name, CSS colour)."""
    note: str = ""
    name: str = ""
    head: Cells = ()
    body: Sequence[Cells] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """A plain table."""

    head: Cells
    body: Sequence[Cells]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One number that a reader should see first."""

    label: str
    value: str
    note: str = ""
    tone: str = field(default="")
    """``good``, ``bad`` or nothing."""


def ordered(metrics: Metrics, section: str) -> list[str]:
    """The section's keys in the recipe's order; keys that ``order`` does not name come last, sorted."""
    held = cast("Mapping[str, object]", metrics.get(section, {}))
    named = [key for key in metrics.get("order", {}).get(section, []) if key in held]
    return named + sorted(key for key in held if key not in named)


def point(found: Estimate | None) -> Point:
    """An estimate as a point with its interval."""
    if found is None:
        return Point(None)
    low, high = found["ci"] or (None, None)
    return Point(found["value"], low, high)


def evaluations(metrics: Metrics) -> dict[str, EvaluationSection]:
    """Evaluated models in the recipe's order."""
    return {name: metrics["evaluation"][name] for name in ordered(metrics, "evaluation")}


def samplings(metrics: Metrics) -> dict[str, SamplingSection]:
    """Sampled outputs in the recipe's order."""
    return {name: metrics["sampling"][name] for name in ordered(metrics, "sampling")}


def benchmarks(metrics: Metrics) -> list[str]:
    """Every benchmark that any model was measured on, sorted."""
    return sorted({name for section in evaluations(metrics).values() for name in section["benchmarks"]})


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
        Card(label=f"accuracy: {where}", value=passed, note="pass@1, mean over samples"),
        Card(label="difference", value=f"{100 * change['value']:+.1f} points", note=interval, tone=verdict),
        Card(label="tokens per answer", value=tokens, note="as generated"),
    ]


def accuracy_figure(metrics: Metrics, benchmark: str) -> Figure | None:
    """Accuracy of every evaluated model by level, with intervals."""
    measured = {n: s["benchmarks"][benchmark] for n, s in evaluations(metrics).items() if benchmark in s["benchmarks"]}
    levels = levels_of(one.get("by_level", {}) for one in measured.values())
    if not levels:
        return None
    series = [Series(name, _over(one, levels), place) for place, (name, one) in enumerate(measured.items())]
    title = f"Accuracy on {benchmark} by level"
    head = (
        "model",
        "level",
        "problems",
        "pass@1 ± s.e., %",
        "95 % interval",
        "s.d. over runs",
        "tokens",
        "truncated",
        "no answer",
    )
    body = [row for name, one in measured.items() for row in _measured_rows(name, one)]
    return Figure(
        title=title,
        drawings=[("", charts.grouped_bars(levels, series, title))],
        legend=[(one.name, charts.colour(one.colour)) for one in series],
        note="Share of correct samples (pass@1), mean over problems; whiskers are 95 % intervals.",
        head=head,
        body=body,
    )


def _over(one: Measurement, levels: Sequence[str]) -> list[Point]:
    groups = one.get("by_level", {})
    return [point(groups[key]["pass_at_1"]) if key in groups else Point(None) for key in levels]


def _measured_rows(name: str, one: Measurement) -> list[list[str]]:
    groups = one.get("by_level", {})
    named = [*((key, groups[key]) for key in levels_of([groups])), ("all", one)]
    return [[name, key, f"{group['problems']:,}", *_measured_cells(group)] for key, group in named]


def _measured_cells(group: Measurement) -> list[str]:
    return [
        percent_error(group["pass_at_1"]),
        percent_interval(group["pass_at_1"]),
        percent(group["std_over_runs"]),
        number(group["tokens"]["mean"]["value"]),
        percent(group["truncated_rate"]["value"]),
        percent(group["no_answer_rate"]["value"]),
    ]


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
    return Table(head=head, body=body, note=f"{about}paired bootstrap over the same problems, 10,000 resamples.")


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
    passed = [_first_series(name, one, levels, "pass_at_1_first_try", i) for i, name, one in drawn]
    tokens = [_first_series(name, one, levels, "mean_tokens", i) for i, name, one in drawn]
    drawings = [
        ("Accuracy of the first try", charts.lines(levels, passed, "First-try accuracy by level", top=1.0)),
        ("Tokens of the first try", charts.lines(levels, tokens, "Tokens by level", form=charts.count)),
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
    legend = [(one.name, charts.colour(one.colour)) for one in passed]
    note = "Whiskers are 95 % intervals. Retries go to unsolved problems only, so first tries alone are compared."
    return Figure(title="Modes of reasoning", drawings=drawings, legend=legend, note=note, head=head, body=body)


def _first_series(name: str, one: SamplingSection, levels: Sequence[str], key: str, colour: int) -> Series:
    groups = cast("Mapping[str, Mapping[str, Estimate]]", one["by_level"])
    return Series(name, [point(groups[level][key]) if level in groups else Point(None) for level in levels], colour)


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
    rows = [FunnelRow("problems", asked, "var(--muted)")]
    rows += [_funnel_row(f"{n}", s["solved"], asked, charts.colour(i)) for i, (n, s) in enumerate(outputs.items())]
    for name in ordered(metrics, "selection"):
        rows.append(_funnel_row(name, metrics["selection"][name]["kept"], asked, "var(--accent)"))
    body = [[row.label, f"{row.value:,}", row.note] for row in rows]
    title = "From problems to the training set"
    note = "Each bar counts problems with at least one correct trace; the last ones are what selection kept."
    drawings = [("", charts.funnel(rows, title))]
    return Figure(title=title, drawings=drawings, note=note, head=("set", "problems", "share"), body=body)


def _funnel_row(label: str, value: int, asked: int, fill: str) -> FunnelRow:
    return FunnelRow(label, value, fill, percent(value / asked if asked else None))


def level_figure(metrics: Metrics) -> Figure | None:
    """Share of each level among the problems and in what was kept."""
    kept = {name: metrics["selection"][name] for name in ordered(metrics, "selection")}
    if not kept:
        return None
    asked = next((one["by_level"] for one in samplings(metrics).values()), {})
    rows: dict[str, Counts] = {"problems": {key: group["n"] for key, group in asked.items()}} if asked else {}
    rows |= {name: one["by_level"] for name, one in kept.items()}
    levels = levels_of(rows.values())
    drawn = [(name, [_level_part(key, place, counts) for place, key in enumerate(levels)]) for name, counts in rows.items()]
    title = "Levels before and after selection"
    hardest = [f"{percent(one['share_by_level'].get('5', 0.0))} of “{name}” is level 5" for name, one in kept.items()]
    if metrics.get("recipe", {}).get("paper", {}).get("title") == PAPER_TITLE:
        hardest.append(f"about {percent(PAPER_LEVEL_5_SHARE, 0)} in the paper (§4.2)")
    body = [
        [name, *(f"{counts.get(key, 0):,} ({percent(_share(counts, key))})" for key in levels)] for name, counts in rows.items()
    ]
    return Figure(
        title=title,
        drawings=[("", charts.stacked(drawn, title))],
        legend=[(level_name(key), f"var(--l{place % 5})") for place, key in enumerate(levels)],
        note="; ".join(hardest) + ".",
        head=("set", *map(level_name, levels)),
        body=body,
    )


def _share(counts: Counts, key: str) -> float | None:
    total = sum(counts.values())
    return counts.get(key, 0) / total if total else None


def _level_part(key: str, place: int, counts: Counts) -> Part:
    return Part(level_name(key), counts.get(key, 0), f"var(--l{place % 5})", on=f"var(--on-l{place % 5})")


def outcome_figure(metrics: Metrics) -> Figure | None:
    """Every outcome word's share, for each sampled output and each evaluation."""
    counts: dict[str, Counts] = {name: one["outcomes"] for name, one in samplings(metrics).items()}
    for name, section in evaluations(metrics).items():
        for benchmark, one in section["benchmarks"].items():
            counts[f"{name}: {benchmark}" if len(section["benchmarks"]) > 1 else name] = one["outcomes"]
    if not counts:
        return None
    fills = {word: f"var(--o-{word.replace('_', '-')})" for word in OUTCOME_WORDS}
    drawn = [
        (name, [Part(OUTCOME_WORDS[w], found.get(w, 0), fills[w]) for w in OUTCOME_WORDS]) for name, found in counts.items()
    ]
    title = "What became of every attempt"
    return Figure(
        title=title,
        drawings=[("", charts.stacked(drawn, title))],
        legend=[(OUTCOME_WORDS[word], fills[word]) for word in OUTCOME_WORDS],
        note="All attempts, retries included. Only “correct” counts as right; cut off is truncated, unreadable is undecided.",
        head=("set", *OUTCOME_WORDS.values()),
        body=[[name, *(f"{found.get(word, 0):,}" for word in OUTCOME_WORDS)] for name, found in counts.items()],
    )


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
        name=name,
        drawings=[("", charts.curves([(s["stage"], s["curve"]) for s in stages], title))],
        legend=[(s["stage"], charts.colour(place + 1)) for place, s in enumerate(stages)],
        note="Mean loss per supervised token in nats.",
        head=("stage", "rows", "tokens", "steps", "epochs", "first loss", "last loss"),
        body=body,
    )


def dropped_table(metrics: Metrics) -> Table | None:
    """Everything that did not go on, by step and reason."""
    selected = {name: metrics["selection"][name]["dropped"] for name in ordered(metrics, "selection")}
    failures: Iterable[tuple[str, Counts]] = metrics.get("failures", {}).items()
    merged = {**dict(failures), **selected}
    body = [
        [step, reason.replace("_", " "), f"{n:,}"] for step, reasons in merged.items() for reason, n in sorted(reasons.items())
    ]
    return Table(head=("step", "reason", "items"), body=body) if body else None
