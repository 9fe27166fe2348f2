"""What accuracy costs: accuracy against tokens, pass@k, how long answers are, and what the run consumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillwise.evaluate.charts import Cloud, Dot, Group, Histogram, Lines, Series
from stillwise.evaluate.shape import Estimate, Measurement, Metrics
from stillwise.evaluate.view_kinds import (
    Entry,
    Figure,
    Table,
    evaluations,
    legend_of,
    ordered,
    point,
    samplings,
    section,
    span,
)
from stillwise.evaluate.wording import number, percent, percent_error, percent_interval

RIGHT, WRONG = "o-correct", "o-incorrect"
WIDE = 20.0
"""Lengths that differ by more than this factor are drawn on a logarithmic axis."""


def tokens_figure(metrics: Metrics, benchmark: str) -> Figure | None:
    """Accuracy against mean tokens of every evaluated model on one benchmark, with both intervals."""
    measured = {n: one["benchmarks"][benchmark] for n, one in evaluations(metrics).items() if benchmark in one["benchmarks"]}
    found = {name: (one["tokens"]["mean"], one["pass_at_1"]) for name, one in measured.items()}
    body = [[name, percent_error(one["pass_at_1"]), *_lengths(one)] for name, one in measured.items()]
    return _against(f"Accuracy against tokens on {benchmark}", found, ("model", "pass@1, %", *LENGTH_HEAD), body)


def modes_tokens_figure(metrics: Metrics) -> Figure | None:
    """First-try accuracy against first-try tokens of every sampled output; one that was cut from another is left out."""
    outputs = {name: one for name, one in samplings(metrics).items() if not one["derived"]}
    found = {name: (one["mean_tokens"], one["pass_at_1_first_try"]) for name, one in outputs.items()}
    body = [[name, percent_error(passed), number(tokens["value"], 1)] for name, (tokens, passed) in found.items()]
    return _against("Accuracy against tokens of the modes", found, ("output", "first try, %", "mean tokens"), body)


LENGTH_HEAD = ("mean tokens", "median", "p95", "thinking", "answer", "when correct", "when incorrect", "per solved problem")


def _lengths(one: Measurement) -> list[str]:
    tokens: Mapping[str, Any] = one["tokens"]
    spreads = [
        tokens.get(key, {}).get("mean", {}).get("value") for key in ("thinking", "answer", "when_correct", "when_incorrect")
    ]
    return [number(tokens["mean"]["value"], 1), *(number(tokens.get(key)) for key in ("median", "p95")),
            *(number(value, 1) for value in spreads), number(tokens.get("per_solved_problem"), 1)]  # fmt: skip


def _against(
    title: str, found: Mapping[str, tuple[Estimate, Estimate]], head: Sequence[str], body: Sequence[Sequence[str]]
) -> Figure | None:
    known = {name: pair for name, pair in found.items() if None not in (pair[0]["value"], pair[1]["value"])}
    if not known:
        return None
    groups = tuple(Group(name, (_dot(name, *pair),), list(found).index(name)) for name, pair in known.items())
    lengths = [tokens["value"] or 0.0 for tokens, _ in known.values()]
    scale = "log" if min(lengths) > 0 and max(lengths) / min(lengths) > WIDE else "linear"
    chart = Cloud(title=title, groups=groups, x_axis="mean tokens per answer", y_top=1.0, x_scale=scale)  # type: ignore[arg-type]
    return Figure(
        title=title,
        drawings=[("", chart)],
        legend=legend_of((group.name, group.place) for group in groups),
        note="Whiskers are 95 % intervals; up and left is better.",
        head=head,
        body=body,
    )


def _dot(name: str, tokens: Estimate, passed: Estimate) -> Dot:
    x, y = tokens["value"] or 0.0, passed["value"] or 0.0
    return Dot(x, y, f"{name}: {percent(y)} at {number(x)} tokens", span(tokens), span(passed))


def pass_at_k_figure(metrics: Metrics, benchmark: str) -> Figure | None:
    """pass@k and maj@k of every model on one benchmark; None where a problem has one sample only."""
    held = {n: one["benchmarks"][benchmark] for n, one in evaluations(metrics).items() if benchmark in one["benchmarks"]}
    keys = sorted({key for one in held.values() for key in one["pass_at_k"]}, key=int)
    if len(keys) < 2:
        return None
    title = f"pass@k on {benchmark}"
    passed = _by_k(held, "pass_at_k", keys)
    majority = _by_k(held, "maj_at_k", keys)
    drawings = [("pass@k", Lines(title=title, categories=tuple(keys), series=passed, axis="k", top=1.0))]
    if any(p.value is not None for one in majority for p in one.points):
        drawings.append(
            ("maj@k", Lines(title=f"maj@k on {benchmark}", categories=tuple(keys), series=majority, axis="k", top=1.0))
        )
    body = [[name, *_k_cells(one)] for name, whole in held.items() for one in _rows_by_k(whole, keys)]
    return Figure(
        title=title,
        drawings=drawings,
        legend=legend_of((one.name, one.place) for one in passed),
        note="Unbiased estimates from all samples of a problem; whiskers are 95 % intervals.",
        head=("model", "k", "pass@k ± s.e., %", "95 % interval", "maj@k ± s.e., %"),
        body=body,
    )


def _by_k(held: Mapping[str, Measurement], field: str, keys: Sequence[str]) -> tuple[Series, ...]:
    groups: dict[str, Mapping[str, Estimate]] = {name: _found(one, field) for name, one in held.items()}
    return tuple(
        Series(name, tuple(point(found.get(key)) for key in keys), place) for place, (name, found) in enumerate(groups.items())
    )


def _found(one: Mapping[str, Any], field: str) -> Mapping[str, Estimate]:
    found: Mapping[str, Estimate] = one.get(field) or {}
    return found


def _rows_by_k(one: Measurement, keys: Sequence[str]) -> list[tuple[str, Estimate, Estimate | None]]:
    majority = _found(one, "maj_at_k")
    return [(key, one["pass_at_k"][key], majority.get(key)) for key in keys if key in one["pass_at_k"]]


def _k_cells(row: tuple[str, Estimate, Estimate | None]) -> list[str]:
    key, passed, majority = row
    return [key, percent_error(passed), percent_interval(passed), percent_error(majority) if majority else "–"]


def votes_table(metrics: Metrics) -> Table | None:
    """What all samples of a problem are worth together: majority, best by score, and how often most of k are right."""
    rows = [(name, b, m) for name, one in evaluations(metrics).items() for b, m in one["benchmarks"].items()]
    held = [(name, b, m) for name, b, m in rows if m["samples"] > m["problems"]]
    if not held:
        return None
    scores, shares = (sorted({key for *_, m in held for key in _found(m, field)}) for field in ("best_of_n", "g_pass_at_k"))
    head = ("model", "benchmark", "samples", "avg@n, %", "maj@n, %", "tied votes", *(f"best by {key}, %" for key in scores),
            *(f"G-Pass@{key}, %" for key in shares))  # fmt: skip
    body = [[name, b, *_vote_cells(m, scores, shares)] for name, b, m in held]
    note = "n is every sample of a problem. G-Pass@k at a share: the chance that at least that share of k samples is right."
    return Table(title="Several samples together", head=head, body=body, note=note)


def _vote_cells(one: Measurement, scores: Sequence[str], shares: Sequence[str]) -> list[str]:
    chosen = [_found(one, "best_of_n").get(key) for key in scores] + [_found(one, "g_pass_at_k").get(key) for key in shares]
    ties: Mapping[str, Any] = one
    first = [percent_error(one["pass_at_1"]), percent_error(one["maj_at_n"]), number(ties.get("maj_ties"))]
    return [f"{one['samples']:,}", *first, *(percent_error(found) if found else "–" for found in chosen)]


def length_figures(metrics: Metrics) -> list[Figure]:
    """How long the answers of each output and each measured model are, right and wrong ones apart."""
    held = section(metrics, "lengths")
    drawn = [(name, _histogram(name, held[name])) for name in ordered(metrics, "lengths")]
    if not drawn:
        return []
    body = [[name, *_histogram_cells(held[name])] for name, _ in drawn]
    note = "Shares of all answers with that outcome, by tokens as generated; the axis is logarithmic."
    legend = [Entry("correct", RIGHT), Entry("not correct", WRONG)]
    head = ("set", "answers", "correct", "shortest", "longest", "length unknown")
    return [Figure(title="How long answers are", drawings=drawn, legend=legend, note=note, head=head, body=body)]


def _histogram(name: str, one: Mapping[str, Any]) -> Histogram:
    shares = [(word, tuple(_shares(one[word])), colour) for word, colour in (("correct", RIGHT), ("wrong", WRONG))]
    used = [i for i in range(len(one["edges"]) - 1) if one["correct"][i] or one["wrong"][i]]
    first, last = (used[0], used[-1] + 1) if used else (0, 1)
    series = tuple((word, values[first:last], colour) for word, values, colour in shares)
    return Histogram(
        title=f"Tokens of {name}", edges=tuple(one["edges"][first : last + 1]), series=series, axis="tokens", scale="log"
    )


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [count / total for count in counts]


def _histogram_cells(one: Mapping[str, Any]) -> list[str]:
    right, wrong = sum(one["correct"]), sum(one["wrong"])
    return [f"{right + wrong:,}", f"{right:,}", number(one["shortest"]), number(one["longest"]), f"{one['unknown']:,}"]


def cost_table(metrics: Metrics) -> Table | None:
    """What every step consumed: answers and tokens generated, tokens trained on."""
    held = section(metrics, "cost")
    names = ordered(metrics, "cost")
    if not names:
        return None
    columns = ("answers", "prompt_tokens", "tokens", "trained_tokens", "training_steps")
    body = [[name, held[name]["kind"], *(_amount(held[name], key) for key in columns)] for name in names]
    totals = [sum(held[name].get(key) or 0 for name in names) for key in columns]
    body.append(["all", "", *(f"{total:,}" if total else "–" for total in totals)])
    head = ("step", "does", "answers", "prompt tokens", "generated tokens", "trained tokens", "optimiser steps")
    note = "As generated, retries included; answers that an edit made cost nothing. Tokens trained on count every epoch."
    return Table(title="What it cost", head=head, body=body, note=note)


def _amount(one: Mapping[str, Any], key: str) -> str:
    return "–" if one.get(key) is None else f"{one[key]:,}"
