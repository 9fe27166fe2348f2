"""Whether a program printed what was expected: as stripped lines, else number by number, exactly or within a tolerance."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from itertools import zip_longest

_SHOWN = 60


def lines_of(text: str) -> list[str]:
    """The lines without the space around them, and without empty lines at the ends."""
    return [line.strip() for line in text.strip().split("\n")]


def difference(printed: str, expected: str, tolerance: float = 0.0) -> str | None:
    """The first line that differs, in words; None where the output is right."""
    for number, (left, right) in enumerate(zip_longest(lines_of(printed), lines_of(expected)), start=1):
        if left is None or right is None:
            return f"line {number} {'is missing' if left is None else 'is too much'}"
        if left != right and not same_numbers(left, right, tolerance):
            return f"line {number} is {left[:_SHOWN]!r}, not {right[:_SHOWN]!r}"
    return None


def same_numbers(printed: str, expected: str, tolerance: float = 0.0) -> bool:
    """Whether both lines are numbers, and equal ones (as decimals: 1.50 is 1.5; 0.1 is not 0.1000000001 without tolerance)."""
    left, right = _decimals(printed), _decimals(expected)
    if left is None or right is None or len(left) != len(right):
        return False
    return all(a == b or (tolerance > 0 and _close(a, b, tolerance)) for a, b in zip(left, right, strict=True))


def _decimals(line: str) -> list[Decimal] | None:
    try:
        found = [Decimal(token) for token in line.split()]
    except InvalidOperation:
        return None
    return found if all(number.is_finite() for number in found) else None


def _close(printed: Decimal, expected: Decimal, tolerance: float) -> bool:
    """Relative to the expected number, absolute where that is below 1."""
    left, right = float(printed), float(expected)
    return abs(left - right) <= tolerance * max(1.0, abs(right))
