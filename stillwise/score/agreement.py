"""How far judges agree: quadratic weighted kappa between two judges, and calibration on a panel of known marks."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


def quadratic_kappa(first: Sequence[int], second: Sequence[int]) -> float | None:
    """Cohen's kappa with squared distances as weights (Cohen, 1968): 1 at full agreement, 0 at chance, None without spread.

    Raises ValueError for panels of different lengths. Without spread (each judge gave one mark to all, the same) agreement
    cannot be told from chance.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} marks of one judge, {len(second)} of the other")
    seen = sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) / len(first) if first else 0.0
    left, right = Counter(first), Counter(second)
    by_chance = sum(n * m * (a - b) ** 2 for a, n in left.items() for b, m in right.items())
    expected = by_chance / len(first) ** 2 if first else 0.0
    return 1 - seen / expected if expected else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A judge's marks against those of a fixed panel."""

    n: int
    bias: float
    """Mean of mark minus panel's mark: above 0, the judge is generous."""
    mean_absolute_error: float
    kappa: float | None


def calibrate(given: Sequence[int], panel: Sequence[int]) -> Calibration:
    """Bias, mean absolute error and quadratic kappa of a judge on a panel; raises ValueError for an empty one."""
    if not panel:
        raise ValueError("the panel is empty")
    gaps = [mark - wanted for mark, wanted in zip(given, panel, strict=True)]
    return Calibration(
        n=len(gaps),
        bias=statistics.fmean(gaps),
        mean_absolute_error=statistics.fmean(map(abs, gaps)),
        kappa=quadratic_kappa(given, panel),
    )
