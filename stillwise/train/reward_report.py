"""How good a reward model is on problems that it did not learn from: error, rank correlation, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from statistics import fmean
from typing import Any

BINS = 5
"""Equal groups of the answers by what is predicted, for the calibration."""


def regression_report(found: Sequence[float | None], labels: Sequence[float], learnt: Sequence[float]) -> dict[str, Any]:
    """MAE, RMSE, Spearman's rho, calibration, and the MAE of always saying the mean of the labels learnt from.

    ``calibration`` holds [mean predicted, mean label, answers] of equal groups by prediction; ``calibration_error`` is their
    mean absolute gap, weighted by size. Answers without a prediction are counted and left out.
    """
    pairs = [(value, label) for value, label in zip(found, labels, strict=True) if value is not None]
    report: dict[str, Any] = {"traces": len(labels), "unscored": len(labels) - len(pairs)}
    if not pairs:
        return report
    errors = [value - label for value, label in pairs]
    mean = fmean(learnt)
    bins = calibration(pairs)
    return {
        **report,
        "mae": fmean(map(abs, errors)),
        "rmse": sqrt(fmean(error**2 for error in errors)),
        "mae_of_mean": fmean(abs(mean - label) for _, label in pairs),
        "spearman": spearman([value for value, _ in pairs], [label for _, label in pairs]),
        "calibration_error": sum(abs(said - true) * n for said, true, n in bins) / len(pairs),
        "calibration": [list(each) for each in bins],
    }


def calibration(pairs: Sequence[tuple[float, float]], bins: int = BINS) -> list[tuple[float, float, int]]:
    """(mean predicted, mean label, answers) of at most ``bins`` groups of equal size, by prediction."""
    ordered = sorted(pairs)
    cuts = [len(ordered) * i // bins for i in range(bins + 1)]
    groups = [ordered[begin:end] for begin, end in pairwise(cuts) if begin < end]
    return [(fmean(v for v, _ in group), fmean(label for _, label in group), len(group)) for group in groups]


def spearman(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; None where either side is constant."""
    first, second = ranks(left), ranks(right)
    means = fmean(first), fmean(second)
    spread = sqrt(sum((x - means[0]) ** 2 for x in first) * sum((y - means[1]) ** 2 for y in second))
    if not spread:
        return None
    return sum((x - means[0]) * (y - means[1]) for x, y in zip(first, second, strict=True)) / spread


def ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1, equal values at the mean of theirs."""
    places: dict[float, list[int]] = {}
    for rank, value in enumerate(sorted(values), 1):
        places.setdefault(value, []).append(rank)
    return [fmean(places[value]) for value in values]


def pair_report(chosen: Sequence[float | None], rejected: Sequence[float | None]) -> dict[str, Any]:
    """The share of held-out pairs in the right order (a tie is half), and the mean gap."""
    pairs = [(win, lose) for win, lose in zip(chosen, rejected, strict=True) if win is not None and lose is not None]
    report: dict[str, Any] = {"pairs": len(chosen), "unscored": len(chosen) - len(pairs)}
    if not pairs:
        return report
    right = fmean(1.0 if win > lose else 0.5 if win == lose else 0.0 for win, lose in pairs)
    return {**report, "accuracy": right, "gap": fmean(win - lose for win, lose in pairs)}
