"""Orders inside a stage, and ways to mix what was ordered: every lesson keeps its place among those of its own list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from math import sqrt
from typing import Literal, TypeVar

from stillwise.arrows import Row
from stillwise.curriculum.take import Taken
from stillwise.records import derive_seed

Order = Literal["as_given", "shuffled", "easy_to_hard", "hard_to_easy", "medium_first"]
Range = tuple[float, float]
T = TypeVar("T")


def difficulty(row: Row, by: str | None) -> float | None:
    """What orders go by: the trace's score of this step, or its problem's level; None where it is not known."""
    return row.scores.get(by) if by else row.level


def arranged(
    stage: str,
    found: Sequence[Taken],
    order: Order,
    seed: int,
    *,
    by: str | None = None,
    medium: Range = (0, 0),
    number: int = 0,
) -> list[Taken]:
    """The traces in an order. Equals keep a shuffled order that depends on seed, stage, trace and pass, not on the input's.

    ``as_given`` alone keeps the input's order. What has no difficulty comes last. ``medium_first``: those within ``medium``
    (both ends included), then all others from easy to hard.
    """
    if order == "as_given":
        return list(found)
    again = (number,) if number else ()
    shuffled = sorted(found, key=lambda one: derive_seed(seed, "curriculum", stage, one[0].trace_id, one[1].target, *again))
    if order == "shuffled":
        return shuffled
    rank = _ranks(order, medium)
    return sorted(shuffled, key=lambda one: _placed(rank, difficulty(one[0], by)))


def _ranks(order: Order, medium: Range) -> Callable[[float], tuple[int, float]]:
    if order == "medium_first":
        return lambda value: (0, 0.0) if medium[0] <= value <= medium[1] else (1, value)
    sign = 1 if order == "easy_to_hard" else -1
    return lambda value: (0, sign * value)


def _placed(rank: Callable[[float], tuple[int, float]], value: float | None) -> tuple[int, float]:
    return (2, 0.0) if value is None else rank(value)


def interleaved(lists: Sequence[Sequence[T]]) -> list[T]:
    """All lists side by side in one rhythm: each is spread evenly from beginning to end; a tie goes to the earlier list."""
    return _merged(lists, [[(j + 0.5) / len(held) for j in range(len(held))] for held in lists])


def crossfaded(lists: Sequence[Sequence[T]], overlap: float) -> list[T]:
    """One list fading into the next: round each border its share of the lessons falls linearly as the next one's rises.

    Each lesson occurs once. ``overlap`` 0 is one list after the other; at 1 a fade is as wide as both lists allow (an inner
    list gives half of itself to each neighbour), so that of two equal ones the first falls from all to nothing throughout.
    """
    sizes = [len(held) for held in lists]
    ends = list(accumulate(sizes))
    room = [size / (2 if 0 < i < len(sizes) - 1 else 1) for i, size in enumerate(sizes)]
    half = [0.0, *(overlap * min(a, b) for a, b in pairwise(room)), 0.0]
    times = [
        [_time(j + 0.5, end - size, end, half[i], half[i + 1]) for j in range(size)]
        for i, (size, end) in enumerate(zip(sizes, ends, strict=True))
    ]
    return _merged(lists, times)


def _time(mass: float, start: float, end: float, rise: float, fall: float) -> float:
    """When this much of a list is used up whose share rises over ``start`` ± ``rise`` and falls over ``end`` ± ``fall``."""
    left = end - start - mass
    if mass < rise:
        return start - rise + 2 * sqrt(rise * mass)
    if left < fall:
        return end + fall - 2 * sqrt(fall * left)
    return start + mass


def _merged(lists: Sequence[Sequence[T]], times: Sequence[Sequence[float]]) -> list[T]:
    placed = [(time, i, j) for i, held in enumerate(times) for j, time in enumerate(held)]
    return [lists[i][j] for _, i, j in sorted(placed)]
