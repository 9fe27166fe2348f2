"""Values of nodes: exact fractions where they are rational, else fifty digits and more at random rational points.

Every operation is bounded (digits, exponents, size of values), so that a hostile answer costs next to nothing. Two values are
equal where their difference vanishes as the digits grow, relative to their size: tiny numbers are not all equal, and what
cancels is zero.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

from stillwise.verify.nodes import Based, Call, Node, Number, Percent, Power, Product, Quotient, Sum, Symbol, children, symbols

DIGITS = 60
MORE_DIGITS = 150
MAX_BITS = 20_000
"""Exact powers past this many bits are not formed."""
MAX_EXPONENT_BITS = 1e6
"""Approximate powers past two to this power are not formed."""
MAX_FACTORIAL = 2100
POINTS = 3
SIGNED_POINTS = 2
STEPPED_POINTS = 24
"""Whole numbers, one after the other, where floors, factorials or binomials of a variable occur."""


class TooLarge(ArithmeticError):
    """A value past the limits: not computed."""


class NoValue(ArithmeticError):
    """Not a number: undefined here, or no arithmetic at all."""


@lru_cache(maxsize=1 << 14)
def rational(node: Node) -> Fraction | None:
    """The exact value of an expression of rationals, None for others. Raises TooLarge, NoValue (a division by zero)."""
    match node:
        case Number(value):
            return value
        case Based(digits, base):
            return _in_base(digits, base)
        case Percent(inner):
            whole = rational(inner)
            return None if whole is None else whole / 100
        case Sum(parts):
            return _folded(parts, lambda total, term: total + term, Fraction(0))
        case Product(parts):
            return _folded(parts, lambda total, factor: total * factor, Fraction(1))
        case Quotient(top, bottom):
            above, below = rational(top), rational(bottom)
            if below == 0:
                raise NoValue("a division by zero")
            return None if above is None or below is None else above / below
        case Power(base, exponent):
            return _exact_power(base, exponent)
        case Call("abs", (inner,)):
            signed = rational(inner)
            return None if signed is None else abs(signed)
        case Call("factorial", (inner,)):
            return _exact_factorial(rational(inner))
    return None


def _in_base(digits: str, base: int) -> Fraction:
    whole, _, rest = digits.partition(".")
    if not 2 <= base <= 36 or any(int(digit, 36) >= base for digit in whole + rest):
        raise NoValue("a digit outside of its base")
    return Fraction(int(whole + rest, base), base ** len(rest))


def _folded(parts: tuple[Node, ...], step: Callable[[Fraction, Fraction], Fraction], start: Fraction) -> Fraction | None:
    total = start
    for part in parts:
        value = rational(part)
        if value is None or total.numerator.bit_length() + total.denominator.bit_length() > 2 * MAX_BITS:
            return None
        total = step(total, value)
    return total


def _exact_power(base: Node, exponent: Node) -> Fraction | None:
    below, above = rational(base), rational(exponent)
    if below is None or above is None or above.denominator != 1:
        return None
    if below == 0 and above <= 0:
        raise NoValue("a power of zero")
    bits = max(below.numerator.bit_length(), below.denominator.bit_length())
    if below not in (0, 1, -1) and (bits - 1 or 1) * abs(above) > MAX_BITS:
        return None
    return below ** int(above)


def _exact_factorial(value: Fraction | None) -> Fraction | None:
    if value is None or value.denominator != 1 or not 0 <= value <= MAX_FACTORIAL:
        return None
    import math

    return Fraction(math.factorial(int(value)))


def equal(left: Node, right: Node, everywhere: bool = False) -> bool | None:
    """Whether two expressions are equal: exactly, else at random points; None where no point gives two values.

    ``everywhere`` asks for negative points too, where roots and powers take their principal values.
    """
    if left == right:
        return True
    exact_left, exact_right = rational(left), rational(right)
    if exact_left is not None and exact_right is not None:
        return exact_left == exact_right
    names = sorted(symbols(left) | symbols(right))
    stepped = _steps(left) or _steps(right)
    points = STEPPED_POINTS if stepped else POINTS + (SIGNED_POINTS if everywhere else 0)
    seen = None
    for number in range(points if names else 1):
        same = _equal_at(left, right, names, number, stepped)
        if same is False:
            return False
        seen = same if seen is None else seen
    return seen


def _equal_at(left: Node, right: Node, names: list[str], number: int, stepped: bool) -> bool | None:
    point = {name: _coordinate(name, number, stepped) for name in names}
    try:
        return same_value(value(left, point, DIGITS), value(right, point, DIGITS)) or _vanishes(left, right, point)
    except (NoValue, ZeroDivisionError):
        return None


def proportional(left: Node, right: Node) -> int | None:
    """1 or -1, the sign of the constant by which two expressions differ; 0 where there is none, None where no point tells."""
    names = sorted(symbols(left) | symbols(right))
    ratios = []
    for number in range(POINTS + SIGNED_POINTS if names else 1):
        point = {name: _coordinate(name, number, stepped=False) for name in names}
        try:
            ratios.append(value(left, point) / value(right, point))
        except (NoValue, ZeroDivisionError):
            continue
    if not ratios or (names and len(ratios) < POINTS):
        return None
    first = ratios[0]
    if first == 0 or abs(first.imag) > abs(first) * 1e-30 or not all(same_value(first, ratio) for ratio in ratios):
        return 0
    return 1 if first.real > 0 else -1


def _vanishes(left: Node, right: Node, point: dict[str, Fraction]) -> bool:
    """Whether the difference is only rounding: more digits make it that much smaller."""
    rough = abs(value(left, point, DIGITS) - value(right, point, DIGITS))
    if rough > 1e-20:
        return False
    fine = abs(value(left, point, MORE_DIGITS) - value(right, point, MORE_DIGITS))
    return bool(fine <= rough * _context(DIGITS).mpf(10) ** (-(MORE_DIGITS - DIGITS) // 2))


def same_value(left: Any, right: Any, digits: int = 40) -> bool:
    """Whether two approximate values agree to this many digits, relative to the larger."""
    size = max(abs(left), abs(right))
    return bool(abs(left - right) <= size * _context(DIGITS).mpf(10) ** -digits)


def _coordinate(name: str, number: int, stepped: bool) -> Fraction:
    """A point's coordinate: positive rationals at first, then signed ones; whole numbers under floors and factorials."""
    draw = int.from_bytes(hashlib.sha256(f"{name}/{number}".encode()).digest()[:6], "big")
    if stepped:
        return Fraction(3 + draw % 7 + number * (1 + (draw >> 8) % 2))
    sign = -1 if number >= POINTS and draw % 3 else 1
    return sign * Fraction(211 + draw % 1789, 499 + (draw >> 16) % 503)


@lru_cache(maxsize=1 << 14)
def _steps(node: Node) -> bool:
    if isinstance(node, Call) and node.name in ("floor", "ceil", "factorial", "binom", "gcd", "lcm"):
        return bool(symbols(node))
    if isinstance(node, Power) and isinstance(node.base, Number) and node.base.value < 0:
        return bool(symbols(node.exponent))
    return any(map(_steps, children(node)))


@lru_cache(maxsize=4)
def _context(digits: int) -> Any:
    import mpmath

    context = mpmath.MPContext()
    context.dps = digits
    return context


def value(node: Node, point: dict[str, Fraction], digits: int = DIGITS) -> Any:
    """The approximate value (real or complex) at a point. Raises NoValue, TooLarge."""
    context = _context(digits)
    exact = rational(node)
    if exact is not None:
        return context.mpf(exact.numerator) / exact.denominator
    try:
        found = _value(node, point, context)
    except (ValueError, OverflowError) as err:
        raise NoValue(str(err)) from err
    if context.isnan(found) or context.isinf(found):
        raise NoValue("no finite value")
    return found


def _value(node: Node, point: dict[str, Fraction], context: Any) -> Any:
    def of(inner: Node) -> Any:
        return value(inner, point, context.dps)

    match node:
        case Symbol("pi"):
            return +context.pi
        case Symbol("e"):
            return +context.e
        case Symbol("i"):
            return context.mpc(0, 1)
        case Symbol(name):
            if name not in point:
                raise NoValue(f"{name} is no number")
            return context.mpf(point[name].numerator) / point[name].denominator
        case Sum(parts):
            return sum((of(part) for part in parts[1:]), of(parts[0]))
        case Product(parts):
            total = of(parts[0])
            for part in parts[1:]:
                total *= of(part)
            return total
        case Quotient(top, bottom):
            return of(top) / of(bottom)
        case Percent(inner):
            return of(inner) / 100
        case Power(base, exponent):
            return _power(of(base), of(exponent), context)
        case Call(name, arguments):
            return _call(name, [of(part) for part in _in_radians(name, arguments)], context)
    raise NoValue("no arithmetic")


_ANGLES = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})


def _in_radians(name: str, arguments: tuple[Node, ...]) -> tuple[Node, ...]:
    if name not in _ANGLES or not (isinstance(arguments[0], Call) and arguments[0].name == "degree"):
        return arguments
    return (Product((arguments[0].arguments[0], Quotient(Symbol("pi"), Number(Fraction(180))))),)


def _power(base: Any, exponent: Any, context: Any) -> Any:
    if base == 0:
        if context.re(exponent) <= 0:
            raise NoValue("a power of zero")
        return base
    if abs(exponent) * (abs(context.log(abs(base), 2)) + 1) > MAX_EXPONENT_BITS:
        raise TooLarge("a power")
    return context.power(base, exponent)


def _call(name: str, values: list[Any], context: Any) -> Any:
    known = _FUNCTIONS.get(name)
    if known is None or len(values) not in known[0]:
        raise NoValue(f"{name} of {len(values)} values")
    if max(map(abs, values)) > _LARGEST.get(name, float("inf")):
        raise TooLarge(name)
    return known[1](context, *values)


_LARGEST = {
    "exp": MAX_EXPONENT_BITS,
    "sinh": MAX_EXPONENT_BITS,
    "cosh": MAX_EXPONENT_BITS,
    "factorial": 1e9,
    "binom": 1e9,
} | dict.fromkeys(_ANGLES | {"floor", "ceil"}, 1e100)
_FUNCTIONS: dict[str, tuple[tuple[int, ...], Any]] = {
    "sqrt": ((1,), lambda c, x: c.sqrt(x)),
    "root": ((2,), lambda c, x, n: _root(c, x, n)),
    "abs": ((1,), lambda c, x: abs(x)),
    "floor": ((1,), lambda c, x: c.floor(x)),
    "ceil": ((1,), lambda c, x: c.ceil(x)),
    "factorial": ((1,), lambda c, x: c.factorial(x)),
    "binom": ((2,), lambda c, n, k: c.binomial(n, k)),
    "degree": ((1,), lambda c, x: x),
    "exp": ((1,), lambda c, x: c.exp(x)),
    "ln": ((1,), lambda c, x: c.log(x)),
    "lg": ((1,), lambda c, x: c.log(x) / c.log(10)),
    "log": ((1, 2), lambda c, x, base=None: c.log(x) if base is None else c.log(x) / c.log(base)),
    "arcsin": ((1,), lambda c, x: c.asin(x)),
    "arccos": ((1,), lambda c, x: c.acos(x)),
    "arctan": ((1,), lambda c, x: c.atan(x)),
    **{name: ((1,), lambda c, x, name=name: getattr(c, name)(x)) for name in ("sinh", "cosh", "tanh", *sorted(_ANGLES))},
    "min": (tuple(range(1, 20)), lambda c, *x: min(x)),
    "max": (tuple(range(1, 20)), lambda c, *x: max(x)),
}


def _root(context: Any, radicand: Any, order: Any) -> Any:
    """The real root of a negative number of odd order, else the principal one."""
    if order == 0:
        raise NoValue("a root of order zero")
    odd = context.im(radicand) == 0 and context.re(radicand) < 0 and context.im(order) == 0 and order % 2 == 1
    return -context.power(-radicand, 1 / order) if odd else _power(radicand, 1 / order, context)
