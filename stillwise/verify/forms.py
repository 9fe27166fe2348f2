"""How answers are seen by the comparison: bare numbers, definitions, lists, sets as intervals; and the kind of a reference."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from stillwise.verify.latex import Unreadable
from stillwise.verify.nodes import (
    CONSTANTS,
    Applied,
    Based,
    Call,
    Matrix,
    Measured,
    Node,
    Number,
    Percent,
    Power,
    Product,
    Quotient,
    Relation,
    Sequence,
    Sum,
    Symbol,
    Union,
    Words,
    children,
    negated,
    renamed,
    symbols,
)
from stillwise.verify.numeric import rational, value
from stillwise.verify.policy import Kind
from stillwise.verify.reading import read
from stillwise.verify.units import unit_of

COORDINATES = frozenset("xyz")
FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
MAGNITUDES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}


def kind_of(reference: str) -> Kind | None:
    """The kind of answer that a reference is, as this reader sees it; None where it cannot be read."""
    try:
        return kind(read(reference))
    except Unreadable:
        return None


def kind(node: Node) -> Kind:
    """The kind of a node."""
    match node:
        case Words():
            return "text"
        case Percent():
            return "percent"
        case Measured() | Call("degree", _):
            return "unit"
        case Based():
            return "base"
        case Matrix():
            return "matrix"
        case Union() | Sequence("[", _, _) | Sequence("(", _, "]"):
            return "interval"
        case Sequence("(", _, _):
            return "tuple"
        case Sequence():
            return "set"
        case Relation(_, signs):
            return "equation" if set(signs) <= {"=", "~", "!="} else "interval"
        case Number(exact, decimals):
            return "decimal" if decimals is not None else "integer" if exact.denominator == 1 else "rational"
    try:
        return "rational" if rational(node) is not None else "expression"
    except ArithmeticError:
        return "expression"


End = tuple[Node, bool]
Piece = tuple[End, End]
"""Two ends, each closed or not; the end at infinity counts as open."""


def every(verdicts: Iterable[bool | None]) -> bool | None:
    """True where all are, False where one is, else None."""
    doubt = False
    for verdict in verdicts:
        if verdict is False:
            return False
        doubt |= verdict is None
    return None if doubt else True


def bare(node: Node) -> tuple[Node, bool, str | None]:
    """The number inside, whether it has a percent sign, and its unit."""
    percent, unit = False, None
    while True:
        match node:
            case Measured(inner, said):
                low = said.casefold().split()
                power = next((MAGNITUDES[word] for word in low if word in MAGNITUDES), 0)
                node = Product((inner, Number(Fraction(10**power)))) if power else inner
                unit = unit or unit_of(said)
            case Call("degree", (inner,)):
                node, unit = inner, unit or "deg"
            case Percent(inner):
                node, percent = inner, True
            case Product(
                (Number(Fraction(numerator=-1, denominator=1)), (Percent() | Measured() | Call("degree", _)) as inner)
            ):
                inside, percent, unit = bare(inner)
                return negated(inside), percent, unit
            case _:
                return node, percent, unit


def exact(node: Node) -> Fraction | None:
    """The exact value, None where there is none."""
    try:
        return rational(node)
    except ArithmeticError:
        return None


def number_of(node: Node) -> Any:
    """A value that tolerances can be measured on."""
    exact = rational(node)
    return value(node, {}) if exact is None else float(exact) if abs(exact) < 1e300 else value(node, {})


def decimals(node: Node) -> int | None:
    """The most digits written after a decimal point anywhere inside; None where no decimal is written."""
    found = [node.decimals] if isinstance(node, Number) else [decimals(child) for child in children(node)]
    return max((places for places in found if places is not None), default=None)


def unreduced(node: Node) -> bool:
    """Whether a fraction of integers inside is not in lowest terms."""
    if isinstance(node, Quotient) and isinstance(node.top, Number) and isinstance(node.bottom, Number):
        ratio = node.bottom.value
        return ratio == 0 or Fraction(node.top.value, ratio).denominator != abs(ratio)
    return any(map(unreduced, children(node)))


def without_value(node: Node) -> bool:
    """Whether infinity or the empty set stands inside."""
    if isinstance(node, Symbol):
        return node.name in ("infty", "emptyset")
    return any(map(without_value, children(node)))


def signed_symbol(node: Node) -> tuple[int, str] | None:
    """The sign and the name of a lone symbol."""
    match node:
        case Symbol(name):
            return 1, name
        case Product((Number(factor), Symbol(name))) if factor == -1:
            return -1, name
    return None


def listed(node: Node) -> Sequence | None:
    """The node as a sequence: tuples, sets, lists, and the rows of a matrix."""
    match node:
        case Sequence():
            return node
        case Matrix(rows) if len(rows) == 1 or len(rows[0]) == 1:
            return Sequence("(", tuple(entry for row in rows for entry in row), ")")
        case Matrix(rows):
            return Sequence("(", tuple(Sequence("(", row, ")") for row in rows), ")")
    return None


def as_list(left: Sequence, right: Sequence, gold: Node, answer: Node) -> bool:
    """In recall: a tuple may be written without its brackets, a vector as a matrix of one row or column."""
    if isinstance(gold, Matrix) or isinstance(answer, Matrix):
        return all((side.open, side.close) in (("(", ")"), ("[", "]"), ("", "")) for side in (left, right))
    return {(left.open, left.close), (right.open, right.close)} == {("", ""), ("(", ")")}


def is_name(node: Node) -> bool:
    """Whether a node only names something: a symbol, a function of symbols, a segment, a tuple of names."""
    match node:
        case Symbol(name):
            return name not in CONSTANTS
        case Applied():
            return True
        case Product(parts):
            return all(isinstance(part, Symbol) and part.name[0].isupper() for part in parts)
        case Call("abs", (inner,)) | Measured(inner, _):
            return is_name(inner)
        case Sequence("(" | "", parts, _):
            return all(is_name(part) for part in parts)
    return False


def defined(node: Node) -> tuple[Node | None, Node] | None:
    """A name and its value, of ``x = 5``, ``5 = x``, ``x = 2 + 3 = 5``, ``x in S``, ``x ~ 5``; of ``1 + 1 = 2`` the value."""
    if not isinstance(node, Relation):
        return None
    sides, signs = node.sides, node.signs
    if signs == ("in",) and is_name(sides[0]):
        return sides[0], sides[1]
    if not set(signs) <= {"=", "~"}:
        return None
    exact = sides[: signs.index("~") + 1] if "~" in signs else sides
    if is_name(exact[0]):
        return exact[0], exact[-1] if len(exact) > 1 else sides[1]
    if is_name(exact[-1]) and len(exact) > 1:
        return exact[-1], exact[0]
    if all(not symbols(side) for side in exact):
        return None, exact[-1]
    return (None, exact[0]) if len(exact) == 1 else None


def quantity(node: Node) -> Node | None:
    """The value in "m + n = 10 + 23 = 33": what follows a formula of two letters or more.

    "2x = 66" is not solved yet, and what equals zero is an equation.
    """
    if not isinstance(node, Relation) or set(node.signs) != {"="} or len(symbols(node.sides[0])) < 2:
        return None
    value = node.sides[-1]
    return None if any(symbols(side) for side in node.sides[1:]) or exact(value) == 0 else value


def as_parametrised(gold: Node, answer: Node) -> Node:
    """The answer with the reference's letter for a whole number that both declare: "n in Z" for "k in Z"."""
    wanted, given = (_whole(side) for side in (gold, answer))
    return answer if wanted is None or given is None or wanted in symbols(answer) else renamed(answer, {given: wanted})


def _whole(node: Node) -> str | None:
    """The one letter that a list declares to be in Z."""
    items = node.items if isinstance(node, Sequence) and node.open == "" else ()
    match [
        item.sides[0] for item in items if isinstance(item, Relation) and item.signs == ("in",) and item.sides[1] == Symbol("Z")
    ]:
        case [Symbol(name)]:
            return name
    return None


def ordered_relation(node: Node) -> bool:
    """Whether a node is an inequality or says that something lies in a set."""
    if isinstance(node, Sequence):
        return any(map(ordered_relation, node.items))
    return isinstance(node, Relation) and bool(set(node.signs) & (FLIPPED.keys() | {"in"}))


def turned(relation: Relation) -> Relation:
    """The relation read from right to left."""
    return Relation(relation.sides[::-1], tuple(FLIPPED.get(sign, sign) for sign in relation.signs[::-1]))


def plain(node: Node) -> bool:
    """Whether a node is certainly no set of reals."""
    return isinstance(node, (Number, Quotient, Power, Sum, Product, Words, Matrix, Percent, Based))


FAR: Node = Symbol("infty")


def pieces(node: Node) -> list[Piece] | None:
    """A set of reals as intervals and points; None for what is none."""
    match node:
        case Union(parts) | Sequence("", parts, _):
            found = [pieces(part) for part in parts]
            return None if None in found else [piece for pieces in found if pieces for piece in pieces]
        case Sequence("{", points, _):
            return [((point, True), (point, True)) for point in points]
        case Sequence("(" | "[", (low, high), _):
            return [((low, node.open == "[" and not without_value(low)), (high, node.close == "]" and not without_value(high)))]
        case Relation(sides, signs):
            return bounds(sides, signs)
        case Symbol("reals"):
            return [((negated(FAR), False), (FAR, False))]
    return None


def bounds(sides: tuple[Node, ...], signs: tuple[str, ...]) -> list[Piece] | None:
    """An inequality of one name as pieces."""
    if signs == ("in",) and is_name(sides[0]):
        return pieces(sides[1])
    if signs == ("=",) and is_name(sides[0]):
        return [((sides[1], True), (sides[1], True))]
    if signs == ("!=",) and is_name(sides[0]):
        return [((negated(FAR), False), (sides[1], False)), ((sides[1], False), (FAR, False))]
    if not all(sign in FLIPPED for sign in signs):
        return None
    if signs[0] in (">", ">="):
        sides, signs = sides[::-1], tuple(FLIPPED[sign] for sign in signs[::-1])
    if not all(sign in ("<", "<=") for sign in signs):
        return None
    if len(sides) == 3 and is_name(sides[1]):
        return [((sides[0], signs[0] == "<="), (sides[2], signs[1] == "<="))]
    if len(sides) == 2 and is_name(sides[0]) and not symbols(sides[0]) & symbols(sides[1]):
        return [((negated(FAR), False), (sides[1], signs[0] == "<="))]
    if len(sides) == 2 and is_name(sides[1]):
        return [((sides[0], signs[0] == "<="), (FAR, False))]
    return None
