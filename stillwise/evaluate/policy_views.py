"""What a study shows of students that learnt from rewards: how judges mark their answers, and how training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

from stillwise.evaluate import metrics
from stillwise.evaluate.charts import Curves
from stillwise.evaluate.metrics import level_order
from stillwise.evaluate.shape import Estimate, Metrics
from stillwise.evaluate.view_kinds import Figure, Table, ordered
from stillwise.evaluate.wording import markdown_table, number

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Student: one evaluation section for each seed."""
Trained = Mapping[str, Sequence[Mapping[str, Any]]]
"""Student: the training sections of each seed, by step."""
MOMENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of a training, where its curves are read."""
WINDOW = 0.1
"""Share of the steps that a moment is the mean of."""
BARS = "▁▂▃▄▅▆▇█"
BAR_POINTS = 12


def score_tables(rows: Rows, benchmark: str) -> list[str]:
    """For each score of this benchmark's answers its mean with its interval, overall and by level."""
    names = sorted({name for sections in rows.values() for one in sections for name in _scores(one, benchmark)})
    return [block for name in names for block in _score_table(rows, benchmark, name)]


def _scores(section: Mapping[str, Any], benchmark: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = section.get("scores_per_problem", {}).get(benchmark, {})
    return found


def _score_table(rows: Rows, benchmark: str, name: str) -> list[str]:
    held = {label: _pooled([_scores(one, benchmark).get(name, {}) for one in sections]) for label, sections in rows.items()}
    levels = sorted({level for found in held.values() for level in found if level}, key=level_order)
    body = [
        [label, with_interval(found.get("")), *(with_interval(found.get(key)) for key in levels)]
        for label, found in held.items()
    ]
    words = "Mean over problems of the mean over samples, all seeds pooled; 95 % bootstrap interval over problems."
    table = markdown_table(["student", "all", *(f"level {level}" for level in levels)], body)
    return [f"## {benchmark}: {name}", words, table]


def _pooled(seeds: Sequence[Mapping[str, Mapping[str, Sequence[float]]]]) -> dict[str, Estimate]:
    """By level, and all together under the empty name."""
    sums: dict[str, dict[str, list[float]]] = {}
    for one in seeds:
        for level, problems in one.items():
            for problem, (total, samples) in problems.items():
                for key in ("", level):
                    held = sums.setdefault(key, {}).setdefault(problem, [0.0, 0.0])
                    held[0], held[1] = held[0] + total, held[1] + samples
    return {
        key: metrics.estimate([total / samples for total, samples in problems.values()], share=False)
        for key, problems in sums.items()
    }


def with_interval(found: Estimate | None) -> str:
    """``3.2 [3.1, 3.3]``."""
    if found is None or found["value"] is None:
        return "–"
    interval = "" if found["ci"] is None else f" [{found['ci'][0]:.1f}, {found['ci'][1]:.1f}]"
    return f"{found['value']:.1f}{interval}"


def policy_tables(trained: Trained) -> list[str]:
    """One table of curves for each student whose training drew answers of its own."""
    blocks = []
    for label, seeds in trained.items():
        stages = [stage for steps in seeds for found in steps.values() for stage in found if stage.get("policy_curves")]
        if stages:
            blocks += _policy_table(label, stages)
    if not blocks:
        return []
    words = (
        "Means over seeds at five moments of the training, each the mean of a window of a tenth of the steps; the bars are the "
        f"whole curve in {BAR_POINTS} points, from the lowest to the highest."
    )
    return ["## How training went", words, *blocks]


def _policy_table(label: str, stages: Sequence[Mapping[str, Any]]) -> list[str]:
    names = sorted({name for stage in stages for name in stage["policy_curves"]}, key=_order)
    body = []
    for name in names:
        curves = [[value for _, value in stage["policy_curves"][name]] for stage in stages if name in stage["policy_curves"]]
        mean = [fmean(values) for values in zip(*curves, strict=False)]
        body.append([name, *(number(_near(mean, moment), 3) for moment in MOMENTS), bars(mean)])
    steps = max(int(stage["steps"]) for stage in stages)
    groups, flat, lost = (sum(int(stage[key]) for stage in stages) for key in ("groups", "flat_groups", "unscored"))
    words = (
        f"**{label}**: {len(stages)} trainings of {steps} steps; {flat:,} of {groups:,} groups had no spread, "
        f"{lost:,} answers no reward."
    )
    return [words, markdown_table(["figure", *(f"{moment:.0%}" for moment in MOMENTS), "curve"], body)]


def _order(name: str) -> tuple[int, str]:
    first = ("reward", "reward_accurate", "reward_formatted", "tokens")
    return (first.index(name) if name in first else len(first), name)


def _near(values: Sequence[float], moment: float) -> float:
    """The mean of the window that ends (at 0: begins) nearest to this share of the curve."""
    width = max(1, round(WINDOW * len(values)))
    begin = round(moment * (len(values) - width))
    return fmean(values[begin : begin + width])


def bars(values: Sequence[float]) -> str:
    """The curve as a line of bars, lowest to highest."""
    count = min(BAR_POINTS, len(values))
    cuts = [len(values) * i // count for i in range(count + 1)]
    means = [fmean(values[begin:end]) for begin, end in pairwise(cuts)]
    low, high = min(means), max(means)
    return "".join(BARS[round((value - low) / (high - low) * (len(BARS) - 1)) if high > low else 0] for value in means)


def policy_blocks(whole: Metrics) -> list[Figure | Table]:
    """For the report: curves of each policy's rewards, lengths and KL, and how good each reward model is."""
    found: list[Figure | Table] = []
    for name in ordered(whole, "training"):
        for stage in whole["training"][name]:
            found += [_policy_figure(name, stage)] if stage.get("policy_curves") else []
            found += [_held_out_table(name, stage["held_out"])] if stage.get("held_out") else []
    return found


def _policy_figure(name: str, stage: Mapping[str, Any]) -> Figure:
    curves = {key: stage["policy_curves"][key] for key in sorted(stage["policy_curves"], key=_order)}
    drawn = {key: tuple((step, value) for step, value in curve) for key, curve in curves.items()}
    values = {key: [value for _, value in curve] for key, curve in curves.items()}
    return Figure(
        title=f"What {name} learnt from its own answers",
        drawings=[(key, Curves(title=f"{name}: {key}", stages=((key, pairs),))) for key, pairs in drawn.items()],
        note=f"{stage['flat_groups']:,} of {stage['groups']:,} groups had no spread and taught nothing; "
        f"{stage['unscored']:,} of {stage['answers']:,} answers had no reward.",
        head=("figure", "first tenth of the steps", "last tenth"),
        body=[[key, number(_near(each, 0.0), 3), number(_near(each, 1.0), 3)] for key, each in values.items()],
    )


def _held_out_table(name: str, report: Mapping[str, Any]) -> Table:
    body = [[key, number(value, 3)] for key, value in sorted(report.items()) if isinstance(value, float)]
    body += [[key, number(value)] for key, value in sorted(report.items()) if isinstance(value, int)]
    bins = [
        [f"calibration: said {said:.2f}", f"{true:.2f} ({count:,.0f})"] for said, true, count in report.get("calibration", ())
    ]
    note = "Scores in 0 to 1; calibration: what was said in the mean, the mean of the labels, and of how many answers."
    return Table(title=f"{name} on problems held out", head=("figure", "value"), body=[*body, *bins], note=note)


def reward_tables(trained: Trained) -> list[str]:
    """One row for each reward model: how good it is on problems held out, the mean over the seeds of all its trainings."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for seeds in trained.values():
        for steps in seeds:
            for name, stages in steps.items():
                found.setdefault(name, []).extend(stage["held_out"] for stage in stages if stage.get("held_out"))
    body = [[name, *_reward_row(reports)] for name, reports in found.items() if reports]
    head = ["reward model", "trainings", "held-out answers", "MAE", "MAE of the mean", "Spearman", "calibration error"]
    words = "Scores lie in 0 to 1, marks over 9; held out are whole problems."
    return ["## Reward models on problems held out", words, markdown_table(head, body)] if body else []


def _reward_row(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    distinct = list({repr(sorted(report.items())): report for report in reports}.values())
    keys = ("mae", "mae_of_mean", "spearman", "calibration_error")
    means = [[report[key] for report in distinct if report.get(key) is not None] for key in keys]
    answers = fmean(int(report.get("traces", report.get("pairs", 0))) for report in distinct)
    return [str(len(distinct)), number(answers), *(number(fmean(values), 3) if values else "–" for values in means)]
