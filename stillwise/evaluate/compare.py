"""Are two runs told apart? Paired differences on the problems that both measured, with intervals, a test, and plain words.

For each problem the difference of its share of correct samples; the interval resamples problems (paired bootstrap, 10,000
resamples), the p-value flips the signs of the differences (paired randomisation test). A difference is *shown* only where the
interval leaves out zero and p is below 0.05: with a handful of problems a bootstrap alone would claim too much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stillwise.errors import UserError
from stillwise.evaluate import metrics
from stillwise.evaluate.metrics import AVERAGE, level_order
from stillwise.evaluate.sections import flat
from stillwise.evaluate.shape import Estimate
from stillwise.evaluate.wording import level_name, markdown_table, number, points

PASSED, TOKENS = "per_problem", "tokens_per_problem"
MEASURES = {PASSED: "pass@1, points", TOKENS: "tokens per answer"}
FLIPS = 10_000
SHOWN_BELOW = 0.05
NOT_SHOWN, UNPAIRED = "no difference shown", "not comparable: no shared problem"
METHOD = (
    "Differences are after minus before on shared problems; 95 % paired bootstrap over problems, 10,000 resamples; p by "
    "flipping signs, 10,000 times. A difference is shown where the interval leaves out zero and p < 0.05. The intervals are "
    "not corrected for their number: of twenty rows without any difference one may look like one."
)

PerLevel = Mapping[str, Mapping[str, Sequence[int]]]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One evaluation of one run."""

    name: str
    section: Mapping[str, Any]
    """An ``EvaluationSection``."""
    order: Sequence[str] = ()
    """Benchmarks in the run's order."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """How it was measured: samples, temperature, limits, grader, versions."""


def compared(sides: Sequence[Side]) -> dict[str, Any]:
    """Every later side against the first, as JSON values. Raises UserError where two sides share no problem at all."""
    if len(sides) < 2:
        raise UserError("compare needs at least two runs")
    names = [side.name for side in sides]
    if len(set(names)) < len(names):
        raise UserError(f"two sides are called the same ({', '.join(names)}); give RUN:EVALUATION, or other folders")
    rows = [row for side in sides[1:] for row in _against(sides[0], side)]
    return {
        "method": METHOD,
        "reference": sides[0].name,
        "runs": [_described(side) for side in sides],
        "notes": [note for side in sides[1:] for note in _notes(sides[0], side)],
        "rows": rows,
    }


def _described(side: Side) -> dict[str, Any]:
    section = side.section
    return {
        "name": side.name,
        "model": section.get("model", ""),
        "revision": section.get("revision", ""),
        "settings": dict(side.settings),
    }


def _benchmarks(before: Side, after: Side) -> list[str]:
    held = [name for name in before.section[PASSED] if name in after.section[PASSED]]
    first = [name for name in before.order if name in held]
    return first + [name for name in held if name not in first]


def _against(before: Side, after: Side) -> list[dict[str, Any]]:
    names = _benchmarks(before, after)
    if not any(_shared(before, after, name) for name in names):
        had = [", ".join(side.section[PASSED]) or "none" for side in (before, after)]
        raise UserError(
            f"{before.name} and {after.name} share no problem: measured on {had[0]} and {had[1]}; "
            "a comparison needs the same problems (by the content of question and answer)"
        )
    return [row for measure in MEASURES for row in _measured(before, after, names, measure)]


def _shared(before: Side, after: Side, name: str) -> set[str]:
    return set(flat(before.section[PASSED][name])) & set(flat(after.section[PASSED][name]))


def _measured(before: Side, after: Side, names: Sequence[str], measure: str) -> list[dict[str, Any]]:
    """Rows of one measure: every benchmark whole and by level, then the unweighted average of the benchmarks."""
    old, new = before.section.get(measure, {}), after.section.get(measure, {})
    common = [name for name in names if name in old and name in new]
    head = {"from": before.name, "to": after.name, "measure": measure}
    rows = [{**head, "benchmark": name, **row} for name in common for row in _levels(old[name], new[name])]
    values = {name: metrics.paired_values(flat(old[name]), flat(new[name])) for name in common}
    held = {name: found for name, found in values.items() if found}
    if len(held) > 1 and measure == PASSED:
        rows.append({**head, "benchmark": AVERAGE, "level": None, **_average(held, rows)})
    return rows


def _average(values: Mapping[str, Sequence[float]], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The unweighted average over benchmarks: each weighs the same however many problems it has, in the p-value too."""
    whole = [row for row in rows if row["level"] is None and row["benchmark"] in values]
    weighted = [value / len(held) for held in values.values() for value in held]
    return {
        **{side: sum(row[side] for row in whole) / len(whole) for side in ("before", "after")},
        **{side: sum(row[side] for row in whole) for side in ("only_before", "only_after")},
        **_judged(metrics.average(values, share=False), sign_flip_p(weighted)),
    }


def _levels(old: PerLevel, new: PerLevel) -> list[dict[str, Any]]:
    whole = _row(None, flat(old), flat(new))
    levels = sorted(set(old) & set(new), key=level_order)
    return [whole, *(_row(key, old[key], new[key]) for key in levels if len(levels) > 1)]


def _row(level: str | None, old: Mapping[str, Sequence[float]], new: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    shared = sorted(set(old) & set(new))
    values = metrics.paired_values(old, new)
    return {
        "level": level,
        "before": _mean(old, shared),
        "after": _mean(new, shared),
        "only_before": len(set(old) - set(new)),
        "only_after": len(set(new) - set(old)),
        **_judged(metrics.paired_difference(old, new), sign_flip_p(values)),
    }


def _mean(held: Mapping[str, Sequence[float]], keys: Sequence[str]) -> float | None:
    return sum(held[key][0] / held[key][1] for key in keys) / len(keys) if keys else None


def _judged(difference: Estimate, p: float | None) -> dict[str, Any]:
    return {"difference": difference, "p": p, "verdict": verdict(difference, p)}


def verdict(difference: Estimate, p: float | None) -> str:
    """``higher``, ``lower``, or why neither may be said."""
    if difference["n"] == 0:
        return UNPAIRED
    low, high = difference["ci"] or [0.0, 0.0]
    if low <= 0 <= high or p is None or p >= SHOWN_BELOW:
        return NOT_SHOWN
    return "higher" if low > 0 else "lower"


def sign_flip_p(values: Sequence[float], seed: int = 0) -> float | None:
    """The two-sided p-value of a mean of paired differences when signs are exchangeable; None without any value.

    Exact up to 13 problems (all sign patterns), else from 10,000 random ones, the observed pattern counted in.
    """
    import numpy as np

    if not values:
        return None
    array = np.asarray([value for value in values if value], dtype=np.float64)
    observed = abs(array.sum()) - 1e-12
    if len(array) <= 13:
        patterns = np.array(np.meshgrid(*[[-1.0, 1.0]] * len(array))).reshape(len(array), -1) if len(array) else np.ones((0, 1))
        return float((np.abs(array @ patterns) >= observed).mean())
    rng = np.random.default_rng(seed)
    extreme = 0
    for _ in range(FLIPS // 500):
        signs = rng.integers(0, 2, (500, len(array)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ array) >= observed).sum())
    return (extreme + 1) / (FLIPS + 1)


def _notes(before: Side, after: Side) -> list[str]:
    """Where the two sides were not measured alike: other problems, other settings."""
    pair = f"{before.name} and {after.name}"
    found = [note for name in _benchmarks(before, after) if (note := _difference_of_problems(before, after, name))]
    for side, other in ((before, after), (after, before)):
        alone = [name for name in side.section[PASSED] if name not in other.section[PASSED]]
        found += [f"{', '.join(alone)}: measured for {side.name} only, left out"] if alone else []
    keys = [key for key in before.settings if before.settings[key] != after.settings.get(key, before.settings[key])]
    found += [f"{pair} differ in {key}: {before.settings[key]} and {after.settings[key]}" for key in keys]
    return found


def _difference_of_problems(before: Side, after: Side, name: str) -> str:
    old, new = flat(before.section[PASSED][name]), flat(after.section[PASSED][name])
    shared = set(old) & set(new)
    words = []
    if set(old) != set(new):
        words.append(
            f"{len(shared):,} shared problems are compared; {len(set(old) - shared):,} only in {before.name} "
            f"and {len(set(new) - shared):,} only in {after.name} are left out"
        )
    samples = [sorted({int(held[key][1]) for key in shared}) for held in (old, new)]
    if shared and samples[0] != samples[1]:
        counts = [" to ".join(map(str, dict.fromkeys((one[0], one[-1])))) for one in samples]
        words.append(f"samples per problem differ: {counts[0]} and {counts[1]}")
    return f"{name}: {'; '.join(words)}" if words else ""


def markdown(found: Mapping[str, Any]) -> str:
    """The comparison as Markdown: what the rows say in words, the numbers, and where the runs were not measured alike."""
    runs = [[one["name"], one["model"], one["revision"]] for one in found["runs"]]
    blocks = [
        f"# {' against '.join([' and '.join(run[0] for run in runs[1:]), found['reference']])}",
        *_sentences(found["rows"]),
    ]
    for measure, title in MEASURES.items():
        rows = [row for row in found["rows"] if row["measure"] == measure]
        blocks += [f"## {title[0].upper()}{title[1:]}", _rows_table(rows, measure)] if rows else []
    blocks += ["## Runs", markdown_table(["run", "role", "revision"], runs)]
    blocks += ["## Not alike", "\n".join(f"- {note}" for note in found["notes"])] if found["notes"] else []
    return "\n\n".join([*blocks, found["method"]]) + "\n"


def _sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    whole = [row for row in rows if row["level"] is None and row["measure"] == PASSED]
    return ["\n".join(f"- {_sentence(row)}" for row in whole)]


def _sentence(row: Mapping[str, Any]) -> str:
    said = row["verdict"]
    words = {"higher": f"{row['to']} is higher than {row['from']}", "lower": f"{row['to']} is lower than {row['from']}"}
    start = words.get(said, f"{said} between {row['from']} and {row['to']}" if said == NOT_SHOWN else said)
    return f"{row['benchmark']}: {start}, {points(row['difference'])} points over {row['difference']['n']:,} problems."


def _rows_table(rows: Sequence[Mapping[str, Any]], measure: str) -> str:
    varied = len({(row["from"], row["to"]) for row in rows}) > 1
    head = [
        *(["runs"] if varied else []),
        "benchmark",
        "level",
        "problems",
        "before",
        "after",
        "difference [95 %]",
        "p",
        "after is",
    ]
    body = [[*([f"{row['from']} → {row['to']}"] if varied else []), *_cells(row, measure)] for row in rows]
    return markdown_table(head, body)


def _cells(row: Mapping[str, Any], measure: str) -> list[str]:
    found, shares = row["difference"], measure == PASSED
    sides = [row["before"], row["after"]]
    shown = [("–" if x is None else f"{100 * x:.1f}") if shares else number(x) for x in sides]
    p = "–" if row["p"] is None else f"{row['p']:.3f}" if row["p"] >= 0.001 else "< 0.001"
    level = "all" if row["level"] is None else level_name(row["level"])
    return [row["benchmark"], level, f"{found['n']:,}", *shown, points(found) if shares else _tokens(found), p, row["verdict"]]


def _tokens(found: Estimate) -> str:
    if found["value"] is None:
        return "–"
    interval = f" [{found['ci'][0]:+,.0f}, {found['ci'][1]:+,.0f}]" if found["ci"] else ""
    return f"{found['value']:+,.0f}{interval}"
