"""What became of everything: outcomes, the rules that found answers, and what was dropped, with reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillwise.evaluate.charts import Piece, Shares
from stillwise.evaluate.shape import Counts, Metrics
from stillwise.evaluate.view_kinds import Entry, Figure, Table, evaluations, ordered, samplings
from stillwise.evaluate.wording import percent
from stillwise.records import Outcome

OUTCOME_WORDS = {outcome.value: outcome.value.replace("_", " ") for outcome in Outcome}


def outcome_figure(metrics: Metrics) -> Figure | None:
    """Every outcome word's share, for each sampled output and each evaluation."""
    counts: dict[str, Counts] = {name: one["outcomes"] for name, one in samplings(metrics).items()}
    for name, one in evaluations(metrics).items():
        for benchmark, measured in one["benchmarks"].items():
            counts[f"{name}: {benchmark}" if len(one["benchmarks"]) > 1 else name] = measured["outcomes"]
    if not counts:
        return None
    fills = {word: f"o-{word.replace('_', '-')}" for word in OUTCOME_WORDS}
    rows = tuple(
        (name, tuple(Piece(OUTCOME_WORDS[w], n.get(w, 0), fills[w]) for w in OUTCOME_WORDS)) for name, n in counts.items()
    )
    title = "What became of every attempt"
    return Figure(
        title=title,
        drawings=[("", Shares(title=title, rows=rows))],
        legend=[Entry(OUTCOME_WORDS[word], fills[word]) for word in OUTCOME_WORDS],
        note="All attempts, retries included. Only “correct” counts as right; cut off is truncated, unreadable is undecided.",
        head=("set", *OUTCOME_WORDS.values()),
        body=[[name, *(f"{found.get(word, 0):,}" for word in OUTCOME_WORDS)] for name, found in counts.items()],
    )


def rules_table(metrics: Metrics) -> Table | None:
    """By which rule each answer was found: a rising share of fallbacks means that a prompt is not understood."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {
        (name, benchmark): measured
        for name, one in evaluations(metrics).items()
        for benchmark, measured in one["benchmarks"].items()
    }
    rules = sorted({rule for measured in found.values() for rule in measured["rules"]})
    if not rules:
        return None
    body = [
        [*names, *(_share(measured["rules"], rule) for rule in rules), _graders(measured)] for names, measured in found.items()
    ]
    head = ("model", "benchmark", *(rule.replace("_", " ") for rule in rules), "graded by")
    note = "Samples by the rule that found the answer; “none” where nothing that could be an answer was found."
    return Table(title="How answers were found", head=head, body=body, note=note)


def _graders(measured: Mapping[str, Any]) -> str:
    """Which graders compared, with their versions; a dash in metrics that did not say."""
    return ", ".join(sorted(measured.get("graders") or {})) or "–"


def _share(counts: Counts, rule: str) -> str:
    total = sum(counts.values())
    return f"{counts.get(rule, 0):,} ({percent(counts.get(rule, 0) / total if total else None)})"


def dropped_table(metrics: Metrics) -> Table | None:
    """Everything that did not go on, by step and reason."""
    selected: Mapping[str, Counts] = {name: metrics["selection"][name]["dropped"] for name in ordered(metrics, "selection")}
    merged = {**metrics.get("failures", {}), **selected}
    body = [
        [step, reason.replace("_", " "), f"{n:,}"] for step, reasons in merged.items() for reason, n in sorted(reasons.items())
    ]
    return Table(title="Dropped, with reasons", head=("step", "reason", "items"), body=body) if body else None
