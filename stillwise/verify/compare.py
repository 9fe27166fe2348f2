"""Whether two answers are the same, by kind and by policy: True, False, or None where this reader cannot tell."""

from __future__ import annotations

from collections.abc import Sequence as Many
from fractions import Fraction
from functools import lru_cache

from stillwise.verify.forms import (
    COORDINATES,
    Piece,
    as_list,
    as_parametrised,
    bare,
    decimals,
    defined,
    every,
    exact,
    listed,
    number_of,
    ordered_relation,
    pieces,
    plain,
    quantity,
    signed_symbol,
    turned,
    unreduced,
    without_value,
)
from stillwise.verify.latex import Unreadable, normalised
from stillwise.verify.nodes import (
    Applied,
    Based,
    Conditioned,
    Matrix,
    Node,
    Number,
    Percent,
    Product,
    Quotient,
    Ratio,
    Relation,
    Sequence,
    Sum,
    Symbol,
    Union,
    Words,
    negated,
    renamed,
    symbols,
)
from stillwise.verify.numeric import NoValue, TooLarge, equal, proportional, value
from stillwise.verify.policy import Policy
from stillwise.verify.reading import read
from stillwise.verify.units import units_differ
from stillwise.verify.words import clock, said_alike, words

VERSION = "maths@3"
MAX_ITEMS = 64


@lru_cache(maxsize=1 << 14)
def same(reference: str, answer: str, policy: Policy) -> bool | None:
    """Whether the answer is the reference; None where either cannot be read here. Equal text is equal, whatever it says."""
    left, right = normalised(reference), normalised(answer)
    if left == right and left:
        return True
    if policy.kind == "text":
        return words(left) == words(right)
    if said_alike(left, right, articles=policy.mode == "recall"):
        return True
    if time := clock(left):
        return time == clock(right)
    try:
        gold = read(reference)
    except Unreadable:
        return None
    try:
        return _Comparison(policy).declared(gold, read(answer))
    except Unreadable:
        return None
    except TooLarge:
        return None if _too_large(gold) else False
    except NoValue:
        return False


def _too_large(node: Node) -> bool:
    try:
        value(node, {name: Fraction(5, 3) for name in symbols(node)})
    except TooLarge:
        return True
    except ArithmeticError:
        return False
    return False


class _Comparison:
    """One reference against one answer."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.lenient = policy.mode == "recall"

    def declared(self, gold: Node, answer: Node) -> bool | None:
        """With what the declared kind adds: a percentage without its sign, a list that is ordered or not."""
        kind = self.policy.kind
        if isinstance(gold, Conditioned) or isinstance(answer, Conditioned):
            return self.conditioned(gold, answer)
        answer = as_parametrised(gold, answer)
        if kind == "percent" and not isinstance(gold, Percent):
            gold = Percent(gold)
        if kind in ("tuple", "set") and isinstance(gold, Sequence) and gold.open == "":
            gold = Sequence("(", gold.items, ")") if kind == "tuple" else Sequence("{", gold.items, "}")
            if isinstance(answer, Sequence) and answer.open == "":
                answer = Sequence(gold.open, answer.items, gold.close)
        if kind == "integer" and exact(bare(answer)[0]) not in (None, exact(bare(gold)[0])):
            return False
        return self.same(gold, answer, top=True)

    def conditioned(self, gold: Node, answer: Node) -> bool | None:
        """A clause behind an answer is not read: in recall it may be missing, two different ones leave doubt."""
        left, right = (side if isinstance(side, Conditioned) else Conditioned(side, "") for side in (gold, answer))
        found = self.declared(left.of, right.of)
        if found and left.clause != right.clause and (not self.lenient or (left.clause and right.clause)):
            return None
        return found

    def same(self, gold: Node, answer: Node, top: bool = False) -> bool | None:
        """The comparison at any depth."""
        if gold == answer:
            return True
        if isinstance(gold, Relation) or isinstance(answer, Relation):
            return self.relations(gold, answer, top)
        if isinstance(gold, Union) or isinstance(answer, Union) or Symbol("reals") in (gold, answer):
            return self.sets(gold, answer)
        if isinstance(gold, (Sequence, Matrix)) or isinstance(answer, (Sequence, Matrix)):
            return self.sequences(gold, answer)
        if isinstance(gold, Words) or isinstance(answer, Words):
            return isinstance(gold, Words) and isinstance(answer, Words) and words(gold.text) == words(answer.text)
        return self.quantities(gold, answer)

    def quantities(self, gold: Node, answer: Node) -> bool | None:
        """Numbers and expressions, with their percent signs and units."""
        (left, left_percent, left_unit), (right, right_percent, right_unit) = bare(gold), bare(answer)
        units = self.policy.units
        if (units == "strict" and left_unit != right_unit) or (units == "agree" and units_differ(left_unit, right_unit)):
            return False
        if left_percent == right_percent:
            return self.numbers(left, right)
        return self.percentages(left, right, left_percent)

    def percentages(self, left: Node, right: Node, reference_has_sign: bool) -> bool | None:
        """One side has a percent sign, the other has none."""
        rule = self.policy.percent
        if rule == "strict":
            return False
        bare = self.numbers(left, right) if rule in ("sign", "either") else False
        if bare or rule == "sign":
            return bare
        return self.numbers(Percent(left), right) if reference_has_sign else self.numbers(left, Percent(right))

    def numbers(self, gold: Node, answer: Node) -> bool | None:
        """Expressions: exactly, at random points, and within what the policy tolerates."""
        if gold == answer:
            return True
        if isinstance(gold, Based) or isinstance(answer, Based):
            return self.based(gold, answer)
        if isinstance(gold, Ratio) or isinstance(answer, Ratio):
            return self.ratios(gold, answer)
        if self.policy.fractions == "reduced" and (unreduced(gold) or unreduced(answer)):
            return False
        if without_value(gold) or without_value(answer):
            return signed_symbol(gold) == signed_symbol(answer) != None  # noqa: E711
        found = equal(gold, answer, everywhere=not self.lenient)
        return self.close(gold, answer) if found is False and not symbols(gold) and not symbols(answer) else found

    def close(self, gold: Node, answer: Node) -> bool:
        """Within the declared tolerances; where a decimal is written, also as a rounding to ``float_rounding`` places."""
        policy, places, given = self.policy, decimals(gold), decimals(answer)
        left, right = number_of(gold), number_of(answer)
        gap, size = abs(left - right), max(abs(left), abs(right))
        limits = [policy.relative_tolerance * size, policy.absolute_tolerance]
        as_written = isinstance(gold, Number) and isinstance(answer, Number) and places == given
        if not as_written and (places, given) != (None, None) and gap <= size * 10 ** (-policy.float_rounding / 2):
            limits.append(0.5 * 10**-policy.float_rounding)
        if policy.rounded_reference and places is not None and given is None:
            limits.append(0.5 * 10**-places)
        return max(limits) > 0 and bool(gap <= max(limits) * (1 + 1e-9))

    def based(self, gold: Node, answer: Node) -> bool | None:
        """Digits and base agree; in recall one base may be left out."""
        if isinstance(gold, Based) and isinstance(answer, Based):
            return gold.base == answer.base and (gold.digits == answer.digits or None is not exact(gold) == exact(answer))
        if not self.lenient:
            return False
        based, other = (gold, answer) if isinstance(gold, Based) else (answer, gold)
        plain = isinstance(other, Number) and isinstance(based, Based) and str(other.value) == based.digits.lstrip("0")
        return plain or (other is gold and equal(gold, answer))

    def ratios(self, gold: Node, answer: Node) -> bool | None:
        """Proportional parts; two parts are also their quotient."""
        if isinstance(gold, Ratio) and isinstance(answer, Ratio):
            if len(gold.parts) != len(answer.parts):
                return False
            (a, *others), (b, *given) = gold.parts, answer.parts
            if any(exact(part) == 0 for part in (*gold.parts, *answer.parts)):
                return every(self.numbers(x, y) for x, y in zip(gold.parts, answer.parts, strict=True))
            return every(
                self.numbers(x, y) if without_value(x) or without_value(y) else equal(Product((a, y)), Product((b, x)))
                for x, y in zip(others, given, strict=True)
            )
        parts = next(side.parts for side in (gold, answer) if isinstance(side, Ratio))
        if len(parts) != 2:
            return False
        as_quotients = [Quotient(*side.parts) if isinstance(side, Ratio) else side for side in (gold, answer)]
        return self.numbers(*as_quotients)

    def sequences(self, gold: Node, answer: Node) -> bool | None:
        """Tuples by place and ends, sets and bare lists in any order, matrices by entry."""
        left, right = listed(gold), listed(answer)
        if left is None or right is None:
            return self.lone(gold, answer)
        if isinstance(gold, Matrix) != isinstance(answer, Matrix) and not self.lenient:
            return False
        if isinstance(gold, Matrix) and isinstance(answer, Matrix) and len(gold.rows) != len(answer.rows):
            return False
        if len(left.items) != len(right.items) or len(left.items) > MAX_ITEMS:
            return False
        ends, others = (left.open, left.close), (right.open, right.close)
        loose = left.open in ("", "{") and right.open in ("", "{")
        if not loose and ends != others and not (self.lenient and as_list(left, right, gold, answer)):
            return False
        if loose and not (self.policy.order == "ordered" and "{" not in (left.open, right.open)):
            return self.unordered(left.items, right.items)
        if self.policy.order == "unordered" and ends == ("(", ")"):
            return self.unordered(left.items, right.items)
        return every(self.same(x, y) for x, y in zip(left.items, right.items, strict=True))

    def lone(self, gold: Node, answer: Node) -> bool | None:
        """One value against a list: in recall a set of one is its element."""
        for group, other, first in ((gold, answer, True), (answer, gold, False)):
            if self.lenient and isinstance(group, Sequence) and group.open == "{" and len(group.items) == 1:
                return self.same(group.items[0], other) if first else self.same(other, group.items[0])
        return False

    def unordered(self, left: Many[Node], right: Many[Node]) -> bool | None:
        """Whether each item of one finds its own in the other."""
        unused, doubt = list(right), False
        for item in left:
            verdicts = [self.same(item, other) for other in unused]
            if True in verdicts:
                del unused[verdicts.index(True)]
            elif None in verdicts:
                doubt = True
            else:
                return False
        return None if doubt else True

    def relations(self, gold: Node, answer: Node, top: bool) -> bool | None:
        """Definitions by their value, equations up to a factor, inequalities as sets."""
        left, right = defined(gold), defined(answer)
        if left and right:
            found = self.definitions(left, right, top)
            if found is not False or left[0] == right[0]:
                return found
        elif left and not isinstance(answer, Relation):
            return self.same(left[1], answer)
        elif right and not isinstance(gold, Relation):
            return self.same(gold, right[1])
        elif not isinstance(gold, Relation) and not symbols(gold) and (found_value := quantity(answer)):
            return self.same(gold, found_value)
        if ordered_relation(gold) or ordered_relation(answer) or isinstance(gold, Union) or isinstance(answer, Union):
            return self.sets(gold, answer)
        if isinstance(gold, Relation) and isinstance(answer, Relation):
            return self.equations(gold, answer)
        return False

    def definitions(self, left: tuple[Node | None, Node], right: tuple[Node | None, Node], top: bool) -> bool | None:
        """Two named values: the same name, or functions that differ in the names of their arguments only."""
        (name, gold), (other, answer) = left, right
        if isinstance(name, Applied) and isinstance(other, Applied) and len(name.arguments) == len(other.arguments):
            pairs = zip(name.arguments, other.arguments, strict=True)
            return self.same(
                gold, renamed(answer, {b.name: a.name for a, b in pairs if isinstance(a, Symbol) and isinstance(b, Symbol)})
            )
        if name is None or other is None or name == other:
            return self.same(gold, answer)
        coordinates = (symbols(name) | symbols(other)) & COORDINATES
        return self.same(gold, answer) if top and self.lenient and not coordinates else False

    def equations(self, gold: Relation, answer: Relation) -> bool | None:
        """Equal side by side, or differences of sides that are proportional."""
        if len(gold.sides) == len(answer.sides):
            for other in (answer, turned(answer)):
                if gold.signs == other.signs and every(self.same(x, y) for x, y in zip(gold.sides, other.sides, strict=True)):
                    return True
        if len(gold.signs) != 1 or len(answer.signs) != 1:
            return None if "in" in (*gold.signs, *answer.signs) else False
        kinds = {gold.signs[0], answer.signs[0]}
        if not kinds <= {"=", "!="} or len(kinds) > 1:
            return False if kinds & {"=", "!="} else None
        ratio = proportional(*(Sum((side[0], negated(side[1]))) for side in (gold.sides, answer.sides)))
        return None if ratio is None else ratio != 0

    def sets(self, gold: Node, answer: Node) -> bool | None:
        """Unions of intervals and points, whether written with brackets or as inequalities."""
        left, right = pieces(gold), pieces(answer)
        if left is None or right is None:
            other = answer if left is not None else gold
            alone = (left is None) != (right is None) and not isinstance(other, Relation)
            return False if alone else self.inequalities(gold, answer)
        if len(left) != len(right) or len(left) > MAX_ITEMS:
            return False
        unused = list(right)
        for piece in left:
            match = next((other for other in unused if self._same_piece(piece, other)), None)
            if match is None:
                return False
            unused.remove(match)
        return True

    def _same_piece(self, left: Piece, right: Piece) -> bool:
        return all(
            closed == other_closed and bool(self.same(end, other))
            for (end, closed), (other, other_closed) in zip(left, right, strict=True)
        )

    def inequalities(self, gold: Node, answer: Node) -> bool | None:
        """Inequalities of several variables: the same sides, or differences with a positive ratio."""
        if not (isinstance(gold, Relation) and isinstance(answer, Relation)):
            return False if plain(gold) or plain(answer) else None
        if len(gold.sides) != len(answer.sides):
            return False
        for other in (answer, turned(answer)):
            if gold.signs == other.signs and every(self.same(x, y) for x, y in zip(gold.sides, other.sides, strict=True)):
                return True
        if len(gold.signs) != 1:
            return False
        answer = answer if answer.signs == gold.signs else turned(answer)
        if answer.signs != gold.signs:
            return False
        ratio = proportional(*(Sum((side[0], negated(side[1]))) for side in (gold.sides, answer.sides)))
        return None if ratio is None else ratio == 1
