"""The table that ends a run in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from stillwise.evaluate.paradigm_probe import paradigm_text
from stillwise.evaluate.shape import EvaluationSection, Metrics
from stillwise.evaluate.titration_figures import titration_text
from stillwise.evaluate.view_kinds import benchmarks, evaluations, ordered, samplings
from stillwise.evaluate.wording import level_name, levels_of, number, percent, percent_error, plain_table, points


def table(metrics: Mapping[str, Any]) -> str:
    """The end of a run as plain text: the modes, then every measured model by level, with paired differences."""
    read = cast("Metrics", metrics)
    measured = [*(_measured(read, name) for name in benchmarks(read)), _average(read)]
    blocks = [_modes(read), *measured, paradigm_text(read), titration_text(read)]
    return "\n\n".join(block for block in blocks if block) or "Nothing has been measured yet."


def _modes(metrics: Metrics) -> str:
    rows = [
        [
            name,
            f"{one['solved']:,}/{one['n']:,}",
            percent_error(one["pass_at_1_first_try"]),
            number(one["mean_tokens"]["value"]),
            percent(one["truncated_rate"]["value"]),
        ]
        for name, one in samplings(metrics).items()
    ]
    kept = [
        f"{name}: {metrics['selection'][name]['kept']:,} of {metrics['selection'][name]['problems']:,} problems kept, "
        f"{percent(metrics['selection'][name]['share_by_level'].get('5'))} of them level 5"
        for name in ordered(metrics, "selection")
    ]
    head = ("output", "solved", "first try, %", "tokens", "truncated")
    return "\n".join([plain_table(head, rows), *kept]) if rows else "\n".join(kept)


def _measured(metrics: Metrics, benchmark: str) -> str:
    models = {name: s for name, s in evaluations(metrics).items() if benchmark in s["benchmarks"]}
    groups = [one["benchmarks"][benchmark].get("by_level", {}) for one in models.values()]
    levels: list[str | None] = [*levels_of(groups), None]
    rows = [[level_name(key) if key else "all", *_cells(metrics, models, benchmark, key)] for key in levels]
    pairs = _pairs(metrics, benchmark)
    differences = [f"{before} → {after}, points [95 %]" for before, after in pairs]
    tokens = [f"{name}, tokens" for name in models]
    head = [f"pass@1 on {benchmark}, %", "problems", *models, *differences, *tokens]
    return plain_table(head, rows)


def _pairs(metrics: Metrics, benchmark: str) -> list[tuple[str, str]]:
    rows = [row for row in metrics.get("comparison", []) if row["benchmark"] == benchmark]
    return list(dict.fromkeys((row["from"], row["to"]) for row in rows))


def _cells(metrics: Metrics, models: Mapping[str, EvaluationSection], benchmark: str, key: str | None) -> list[str]:
    whole = [one["benchmarks"][benchmark] for one in models.values()]
    groups = [one if key is None else one.get("by_level", {}).get(key) for one in whole]
    problems = max((group["problems"] for group in groups if group), default=0)
    passed = [percent_error(group["pass_at_1"]) if group else "–" for group in groups]
    tokens = [number(group["tokens"]["mean"]["value"]) if group else "–" for group in groups]
    found = {
        (row["from"], row["to"]): points(row["difference"])
        for row in metrics.get("comparison", [])
        if row["benchmark"] == benchmark and row["level"] == key
    }
    return [f"{problems:,}", *passed, *(found.get(pair, "–") for pair in _pairs(metrics, benchmark)), *tokens]


def _average(metrics: Metrics) -> str:
    if len(benchmarks(metrics)) < 2:
        return ""
    rows = [[name, percent_error(one["average"])] for name, one in evaluations(metrics).items()]
    return plain_table(("unweighted average over benchmarks", "pass@1, %"), rows)
