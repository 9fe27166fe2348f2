"""How long answers are, as generated: thinking and answer apart, right and wrong apart, and what a solved problem costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from stillwise.evaluate.estimates import estimate
from stillwise.evaluate.rows import Measured, by_problem
from stillwise.evaluate.shape import Estimate, Lengths, Spread
from stillwise.records import Outcome

Count = Callable[[Measured], int | None]
"""A sample's tokens of some sort; None where nobody counted them."""


def whole(row: Measured) -> int | None:
    """All generated tokens."""
    return row.num_tokens


def thinking(row: Measured) -> int | None:
    """Tokens up to the close of the thought."""
    return row.num_thinking_tokens


def answer(row: Measured) -> int | None:
    """Tokens after the thought."""
    if row.num_tokens is None or row.num_thinking_tokens is None:
        return None
    return row.num_tokens - row.num_thinking_tokens


def token_means(rows: Iterable[Measured], count: Count = whole) -> Estimate:
    """Mean over problems of the mean tokens of the samples whose count is known."""
    groups = by_problem(row for row in rows if count(row) is not None).values()
    return estimate([_mean([count(row) or 0 for row in group]) for group in groups], share=False, empty="no token counts")


def _mean(counts: Sequence[int]) -> float:
    return sum(counts) / len(counts)


def spread(rows: Sequence[Measured], count: Count = whole) -> Spread:
    """Mean over problems with its interval; median and 95th percentile over samples."""
    counts = [number for row in rows if (number := count(row)) is not None]
    return Spread(
        mean=token_means(rows, count), median=_quantile(counts, 0.5), p95=_quantile(counts, 0.95), samples=len(counts)
    )


def _quantile(counts: Sequence[int], share: float) -> float | None:
    import numpy as np

    return float(np.quantile(counts, share)) if counts else None


def lengths(rows: Sequence[Measured]) -> Lengths:
    """Every figure of length of one group of samples."""
    known = [row for row in rows if row.num_tokens is not None]
    counts = [row.num_tokens or 0 for row in known]
    right, wrong = [r for r in known if r.correct], [r for r in known if r.outcome is Outcome.INCORRECT]
    solved = {row.problem_id for row in right}
    return Lengths(
        mean=token_means(rows),
        median=_quantile(counts, 0.5),
        p90=_quantile(counts, 0.9),
        p95=_quantile(counts, 0.95),
        max=max(counts, default=None),
        total=sum(counts),
        per_correct=sum(counts) / len(right) if right else None,
        per_solved_problem=sum(counts) / len(solved) if solved else None,
        mean_when_correct=_mean([row.num_tokens or 0 for row in right]) if right else None,
        mean_when_incorrect=_mean([row.num_tokens or 0 for row in wrong]) if wrong else None,
        when_correct=spread(right),
        when_incorrect=spread(wrong),
        thinking=spread(rows, thinking),
        answer=spread(rows, answer),
        unknown=len(rows) - len(known),
    )
