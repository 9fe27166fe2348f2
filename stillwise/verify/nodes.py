"""What an answer is made of, once read: frozen values that compare by structure and hash."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Number:
    """An exact rational; ``decimals`` counts the digits written after a decimal point, None for integers."""

    value: Fraction
    decimals: int | None = None


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable or a constant (``pi``, ``e``, ``i``, ``infty``, ``emptyset``), its subscript in the name."""

    name: str


@dataclass(frozen=True, slots=True)
class Sum:
    """Terms added; a subtracted term is a Product with -1."""

    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """Factors multiplied."""

    factors: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Quotient:
    """A fraction, as written."""

    top: Node
    bottom: Node


@dataclass(frozen=True, slots=True)
class Power:
    """A base and its exponent."""

    base: Node
    exponent: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A function of numbers: sqrt, root, sin, log, abs, floor, ceil, factorial, binom, degree, …"""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Percent:
    """A number with a percent sign."""

    of: Node


@dataclass(frozen=True, slots=True)
class Measured:
    """A value with words behind it: a unit, or a noun."""

    of: Node
    words: str


@dataclass(frozen=True, slots=True)
class Based:
    """Digits with the base as a subscript."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """Parts between colons."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    r"""Items between brackets: ``open`` is ``(``, ``[``, ``{`` (a set) or empty (a bare list), ``close`` likewise."""

    open: str
    items: tuple[Node, ...]
    close: str


@dataclass(frozen=True, slots=True)
class Union:
    """Sets joined."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """Sides with signs between: ``=``, ``<``, ``<=``, ``!=``, ``in``, ``~`` (approximately)."""

    sides: tuple[Node, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of equal length."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """A named function of symbols, as on the left of its definition."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """Nothing but words."""

    text: str


@dataclass(frozen=True, slots=True)
class Conditioned:
    """An answer with a clause behind it: for which values it holds, what its letters mean."""

    of: Node
    clause: str


Node = (
    Number | Symbol | Sum | Product | Quotient | Power | Call | Percent | Measured | Based | Ratio | Sequence | Union | Relation
    | Matrix | Applied | Words | Conditioned
)  # fmt: skip

MINUS_ONE = Number(Fraction(-1))


def negated(node: Node) -> Node:
    """The node times -1, folded into a number."""
    return Number(-node.value, node.decimals) if isinstance(node, Number) else Product((MINUS_ONE, node))


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly inside a node."""
    match node:
        case (
            Sum(parts) | Product(parts) | Union(parts) | Ratio(parts) | Call(_, parts) | Applied(_, parts) | Relation(parts, _)
        ):
            return parts
        case Sequence(_, parts, _):
            return parts
        case Quotient(left, right) | Power(left, right):
            return (left, right)
        case Percent(inner) | Measured(inner, _) | Conditioned(inner, _):
            return (inner,)
        case Matrix(rows):
            return tuple(entry for row in rows for entry in row)
    return ()


def renamed(node: Node, names: dict[str, str]) -> Node:
    """The node with symbols renamed."""
    match node:
        case Symbol(name):
            return Symbol(names.get(name, name))
        case Sum(parts):
            return Sum(tuple(renamed(part, names) for part in parts))
        case Product(parts):
            return Product(tuple(renamed(part, names) for part in parts))
        case Quotient(left, right):
            return Quotient(renamed(left, names), renamed(right, names))
        case Power(left, right):
            return Power(renamed(left, names), renamed(right, names))
        case Call(name, parts):
            return Call(name, tuple(renamed(part, names) for part in parts))
        case Sequence(left_end, parts, right_end):
            return Sequence(left_end, tuple(renamed(part, names) for part in parts), right_end)
        case Relation(parts, signs):
            return Relation(tuple(renamed(part, names) for part in parts), signs)
    return node


CONSTANTS = frozenset({"pi", "e", "i", "infty"})


def symbols(node: Node) -> frozenset[str]:
    """The names of the variables inside a node; constants are none."""
    if isinstance(node, Symbol):
        return frozenset() if node.name in CONSTANTS else frozenset({node.name})
    return frozenset().union(*map(symbols, children(node))) if children(node) else frozenset()
