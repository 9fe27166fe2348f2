"""What the report shows of a training on pairs: how likely the student found both answers, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillwise.evaluate.charts import Curves
from stillwise.evaluate.shape import Metrics
from stillwise.evaluate.view_kinds import Figure, ordered
from stillwise.evaluate.wording import number

SIDES = ("chosen", "rejected")


def pair_figures(metrics: Metrics) -> list[Figure]:
    """One figure for each stage that learnt from pairs."""
    stages = [(name, stage) for name in ordered(metrics, "training") for stage in metrics["training"][name]]
    return [_pair_figure(name, stage) for name, stage in stages if stage.get("pair_curve")]


def _pair_figure(name: str, stage: Mapping[str, Any]) -> Figure:
    curves = {side: tuple((row[0], row[place]) for row in stage["pair_curve"]) for place, side in enumerate(SIDES, start=1)}
    apart = tuple((step, chosen - rejected) for step, chosen, rejected in stage["pair_curve"])
    drawn = {**curves, "chosen minus rejected": apart}
    body = [[key, *(number(value, 3) for value in _ends([value for _, value in curve]))] for key, curve in drawn.items()]
    return Figure(
        title=f"How likely {name} finds chosen and rejected answers",
        drawings=[(key, Curves(title=f"{name}: {key}", stages=((key, curve),))) for key, curve in drawn.items()],
        note=f"Mean log-probability per token in nats over {stage['pairs']:,} pairs: most losses on pairs can win by lowering "
        "both answers, the rejected one faster, so the chosen one's is what to watch.",
        open_table=True,
        head=("answers", "first step", "lowest", "last step"),
        body=body,
    )


def _ends(values: list[float]) -> tuple[float, float, float]:
    return values[0], min(values), values[-1]
