"""What a run's judges are worth, as tables: marks owed, calibration on a panel, agreement of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillwise.evaluate.shape import Metrics
from stillwise.evaluate.view_kinds import Table, section
from stillwise.evaluate.wording import NOTHING


def judge_tables(metrics: Metrics) -> list[Table]:
    """A row for each judging step, and one for each two that judged by the same rubric."""
    found = section(metrics, "judges")
    tables = []
    if steps := found.get("steps"):
        tables.append(
            Table(
                title="Judges",
                head=(
                    "step",
                    "rubric",
                    "judge",
                    "judgements",
                    "spread",
                    "traces",
                    "undecided",
                    "panel",
                    "bias",
                    "mean error",
                    "kappa",
                ),
                body=[[one["step"], *_judge(one)] for one in steps],
                note="Spread is the standard deviation of several judgements of a trace, mean over traces. Bias, mean absolute "
                "error and quadratic kappa are those on a fixed panel of known marks, where one was asked for.",
            )
        )
    if pairs := found.get("agreement"):
        tables.append(
            Table(
                title="Agreement between judges",
                head=("rubric", "first", "second", "traces", "quadratic kappa"),
                body=[_pair(one) for one in pairs],
                note="Over the traces that both marked: 1 is full agreement, 0 is chance.",
            )
        )
    return tables


def _judge(one: Mapping[str, Any]) -> Sequence[str]:
    spread = NOTHING if one["spread"] is None else f"{one['spread']:.2f}"
    counts = (f"{one['judgements']:,}", spread, f"{one['traces']:,}", f"{one['undecided']:,}")
    return (one["rubric"].replace("_", " "), one["by"], *counts, *_panel(one["panel"]))


def _panel(found: Mapping[str, Any] | None) -> Sequence[str]:
    if not found:
        return (NOTHING,) * 4
    name = f"{found['panel']}, {found['n']:,} traces" + (f", {found['undecided']:,} undecided" if found["undecided"] else "")
    if not found["n"]:
        return (name, NOTHING, NOTHING, NOTHING)
    return (name, f"{found['bias']:+.2f}", f"{found['mean_absolute_error']:.2f}", _kappa(found["kappa"]))


def _kappa(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _pair(one: Mapping[str, Any]) -> Sequence[str]:
    return (one["rubric"].replace("_", " "), one["first"], one["second"], f"{one['traces']:,}", _kappa(one["kappa"]))
