"""Tokens to nodes: a small recursive reader of answers. Bounded in depth and length; raises Unreadable, never hangs."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from stillwise.verify.cursor import END, Cursor
from stillwise.verify.latex import Token, Unreadable, normalised, tokens
from stillwise.verify.nodes import (
    Applied,
    Based,
    Call,
    Conditioned,
    Matrix,
    Measured,
    Node,
    Number,
    Percent,
    Power,
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
)
from stillwise.verify.words import unwrapped

MAX_DEPTH = 40
MAX_DIGITS = 2000
MAX_EXPONENT_CHARS = 4
"""Of numbers such as 1.5e-300, which are formed exactly."""
_RELATIONS = frozenset({"=", "<", ">", "<=", ">=", "!=", "in", "~"})
_CLOSERS = frozenset({")", "]", "}", "\\}", "rfloor", "rceil", "\\&", "&", "\\\\"})
ENDS = frozenset({")", "]", "\\}"})
_MATRICES = frozenset(
    ("matrix pmatrix bmatrix Bmatrix array smallmatrix").split()  # noqa: SIM905
)
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "twelve": 12}
_SPELT = {"zero": 0, "one": 1, "eleven": 11} | _BASES
_BASED = re.compile(r"(?:[A-Za-z]\s*=\s*)?\(?([0-9A-Z]+)\)?_(?:(\d+)|\{\s*\s*(\w+)\s*\})")
_SCIENTIFIC = re.compile(r"[-+]?\d{1,40}[eE][-+]?\d{1,3}")
_PROSE = re.compile(r"[A-Za-z][A-Za-z ,.'’\"!?:;()-]*")
_CLAUSE = re.compile(r"(?:for|where|with|when|if|since|because|mod)\b", re.IGNORECASE)
_REALS = re.compile(r"(?:all|any) real (?:numbers|values)(?: x)?|all (?:of )?the real numbers|all reals", re.IGNORECASE)
_OTHER = re.compile(r"\b(?:not|less|more|greater|fewer|below|above|neither|except|at (?:least|most))\b", re.IGNORECASE)
"""Words before a number that make it another answer."""
_FENCES = {"(": ")", "[": "]", "\\{": "\\}", "{": "}"}


@lru_cache(maxsize=1 << 14)
def read(answer: str) -> Node:
    """The answer as a node. Raises Unreadable."""
    text = normalised(answer)
    if not text:
        raise Unreadable("nothing is written")
    if (based := _BASED.fullmatch(unwrapped(text))) and (base := _base(based[2] or based[3])):
        return Based(based[1], base)
    if _REALS.fullmatch(" ".join(unwrapped(text).split())):
        return Symbol("reals")
    if (said := unwrapped(text).strip().casefold()) in _SPELT:
        return Number(Fraction(_SPELT[said]))
    if _SCIENTIFIC.fullmatch(text):
        return Number(Fraction(text))
    if _PROSE.fullmatch(text) and re.search(r"[a-z]{2} [A-Za-z]|[a-z]{4}", text) and " " in text:
        return Words(text)
    reader = _Reader(tokens(text))
    return reader.everything()


def _base(word: str) -> int | None:
    return int(word) if word.isdigit() and len(word) < 3 else _BASES.get(word)


class _Reader(Cursor):
    """One pass over the tokens, by recursive descent."""

    def everything(self) -> Node:
        """The whole text: a lone item, or a bare list."""
        whole = self.tokens
        self.tokens = whole[: _clause(whole)]
        items = self.items(forks=True)
        if self.next is not END:
            raise Unreadable(f"an unexpected {self.next.text}")
        node = items[0] if len(items) == 1 else Sequence("", tuple(items), "")
        clause = " ".join(token.text for token in whole[len(self.tokens) :]).strip(" ,")
        return Conditioned(node, clause) if clause else node

    def items(self, forks: bool = False) -> list[Node]:
        """Items between commas, semicolons and words like "and"; with ``forks`` a ± counts as two items."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("nested too deep")
        found: list[Node] = []
        while True:
            while self.at(",", ";"):
                self.place += 1
            if self.next is END or (self.next.kind == "op" and self.next.text in _CLOSERS):
                break
            found += self.both_signs() if forks else [self.item()]
            if not self.at(",", ";"):
                break
        self.depth -= 1
        if not found:
            raise Unreadable("nothing between brackets")
        return found

    def both_signs(self) -> list[Node]:
        start, self.forked = self.place, False
        first = self.item()
        if not self.forked:
            return [first]
        self.place, self.sign = start, -1
        second = self.item()
        self.sign, self.forked = 1, False
        return [first, second]

    def item(self) -> Node:
        """Words, or a relation with words before and behind."""
        self.skip("~")
        start, before = self.place, self.words()
        if self.next is END or self.at(",", ";") or (self.next.kind == "op" and self.next.text in _CLOSERS):
            return Words(before)
        if before:
            self.skip(":") or self.skip("=")
        node = self.relation()
        if _OTHER.search(before):
            return Words(" ".join(token.text for token in self.tokens[start : self.place]))
        return self.measured(node)

    def measured(self, node: Node) -> Node:
        """The node with the words behind it."""
        if self.next.kind != "words":
            return node
        found = [self.words()]
        if self.skip("^"):
            found.append("^" + (self.take().text if not self.skip("{") else self._until_brace()))
        if self.skip("/"):
            found.append("/" + (self.words() or self.take().text))
        while self.next.kind == "words":
            found.append(self.words())
        if self.skip("("):
            depth = 1
            while depth and self.next is not END:
                text = self.take().text
                depth += (text == "(") - (text == ")")
        return Measured(node, " ".join(found))

    def relation(self) -> Node:
        sides, signs = [self.side()], []
        while self.next.kind == "op" and self.next.text in _RELATIONS:
            signs.append(self.take().text)
            sides.append(self.side())
        if self.at("|") and len(sides) > 1 and self.depth > 1:
            raise Unreadable("a condition")
        return Relation(tuple(sides), tuple(signs)) if signs else sides[0]

    def side(self) -> Node:
        if applied := self.applied():
            return applied
        parts = [self.ratio()]
        while self.skip("∪"):
            parts.append(self.ratio())
        return Union(tuple(parts)) if len(parts) > 1 else parts[0]

    def applied(self) -> Applied | None:
        """``f(x)`` right before an equals sign: a definition, not a product."""
        start = self.place
        if self.next.kind != "id" or self.place + 1 >= len(self.tokens) or self.tokens[self.place + 1].text != "(":
            return None
        name = self.take().text
        self.place += 1
        arguments: list[Node] = []
        while self.next.kind in ("id", "num") or self.at(","):
            token = self.take()
            if token.kind != "op":
                arguments.append(Symbol(token.text) if token.kind == "id" else self.number(token.text))
        if arguments and self.skip(")") and self.next.text == "=":
            return Applied(name, tuple(arguments))
        self.place = start
        return None

    def ratio(self) -> Node:
        parts = [self.sum()]
        if self.bars and isinstance(parts[0], Symbol):
            # The colon of a set such as {x : x > 3}.
            return parts[0]
        while self.skip(":"):
            parts.append(self.sum())
        return Ratio(tuple(parts)) if len(parts) > 1 else parts[0]

    def sum(self) -> Node:
        terms: list[Node] = []
        while True:
            sign = self.signs()
            term = self.term()
            terms.append(term if sign > 0 else negated(term))
            if not self.at("+", "-", "±", "∓"):
                break
        return Sum(tuple(terms)) if len(terms) > 1 else terms[0]

    def term(self) -> Node:
        node = self.factor()
        factors, divided = [node], 0
        while True:
            if self.skip("*"):
                factors.append(self.signed_factor())
            elif self.skip("/"):
                if (divided := divided + 1) > MAX_DEPTH:
                    raise Unreadable("nested too deep")
                factors = [Quotient(_product(factors), self.signed_factor())]
            elif self.starts_factor():
                factors.append(self.factor())
                factors = self.mixed(factors)
            else:
                return _product(factors)

    def signed_factor(self) -> Node:
        sign = self.signs()
        factor = self.factor()
        return factor if sign > 0 else negated(factor)

    def mixed(self, factors: list[Node]) -> list[Node]:
        r"""``918\frac{1}{2}`` and ``11 2/3`` are sums: an integer right before a proper fraction of integers."""
        whole, part = factors[-2], factors[-1]
        if not (isinstance(whole, Number) and whole.decimals is None and len(factors) == 2):
            return factors
        if isinstance(part, Number) and part.decimals is None and self.at("/"):
            self.place += 1
            part = Quotient(part, self.factor())
        signed = part
        if isinstance(part, Percent):
            part = part.of
        elif isinstance(part, Call) and part.name == "degree":
            part = part.arguments[0]
        if not isinstance(part, Quotient):
            if isinstance(part, Number):
                raise Unreadable("two numbers side by side")
            return factors
        top, bottom = part.top, part.bottom
        if isinstance(top, Number) and isinstance(bottom, Number) and 0 <= top.value < bottom.value:
            both = Sum((whole, part))
            return [Percent(both) if isinstance(signed, Percent) else Call("degree", (both,)) if signed is not part else both]
        return factors

    def starts_factor(self) -> bool:
        kind, text = self.next
        if kind in ("num", "id", "fn"):
            return True
        if kind == "cmd":
            return text != "end"
        return kind == "op" and (text in ("(", "[", "{", "lfloor", "lceil") or (text == "|" and not self.bars))

    def factor(self) -> Node:
        """A primary with what stands behind it: powers, factorials, degree and percent signs."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("nested too deep")
        node = self.primary()
        for _ in range(MAX_DEPTH):
            if self.skip("^"):
                node = Power(node, self.group())
            elif self.skip("!"):
                node = Call("factorial", (node,))
            elif self.skip("%"):
                node = Percent(node)
            elif self.skip("°"):
                node = Call("degree", (node,))
            elif self.at("'"):
                raise Unreadable("a prime")
            else:
                break
        else:
            raise Unreadable("nested too deep")
        self.depth -= 1
        return node

    def group(self) -> Node:
        """An exponent: a braced group, or one signed factor's first piece."""
        sign = self.signs()
        node = (
            self.braced()
            if self.at("{")
            else self.factor()
            if self.next.kind == "num" and self._power_next()
            else self.primary()
        )
        return node if sign > 0 else negated(node)

    def _power_next(self) -> bool:
        return self.place + 1 < len(self.tokens) and self.tokens[self.place + 1].text == "^"

    def braced(self) -> Node:
        if not self.skip("{"):
            raise Unreadable("a group was expected")
        items = self.items()
        if not self.skip("}"):
            raise Unreadable("a group is never closed")
        return items[0] if len(items) == 1 else Sequence("", tuple(items), "")

    def argument(self) -> Node:
        r"""What a command takes: a group, or one sign (``\frac12`` takes 1, then 2)."""
        if self.at("{"):
            return self.braced()
        kind, text = self.next
        if kind == "num" and len(text) > 1:
            self.tokens[self.place] = Token("num", text[1:])
            return self.number(text[0])
        return self.primary()

    def primary(self) -> Node:
        kind, text = self.take()
        if kind == "num":
            return self.number(text)
        if kind == "id":
            return self.symbol(text)
        if kind in ("fn", "cmd"):
            self.nested += 1
            if self.nested > MAX_DEPTH:
                raise Unreadable("nested too deep")
            node = self.function(text) if kind == "fn" else self.command(text)
            self.nested -= 1
            return node
        if kind == "op" and text in _FENCES:
            self.place -= 1
            return self.fenced()
        if kind == "op" and text in _PAIRS:
            return self.paired(text)
        raise Unreadable(f"an unexpected {text or 'end'}")

    def number(self, text: str) -> Node:
        if len(text) > MAX_DIGITS:
            raise Unreadable("a number too long")
        if self.at("_"):
            self.place += 1
            base = self.subscript()
            if (radix := _base(base)) is None:
                raise Unreadable("a subscript of a number")
            return Based(text, radix)
        low = text.casefold()
        if "e" in low:
            if len(low.partition("e")[2]) > MAX_EXPONENT_CHARS:
                raise Unreadable("an exponent too large")
            return Number(Fraction(low), len(low.partition("e")[0].partition(".")[2]))
        whole, point, rest = text.partition(".")
        repeats = point and self.next == Token("cmd", "overline")
        if repeats:
            return self.repeating(whole, rest)
        return Number(Fraction(int((whole or "0") + rest), 10 ** len(rest)), len(rest) if point else None)

    def repeating(self, whole: str, rest: str) -> Node:
        self.place += 1
        period = self.braced() if self.at("{") else self.primary()
        last = self.tokens[self.place - 1].text
        start = last if last.isdigit() else self.tokens[self.place - 2].text
        if not isinstance(period, Number) or not start.isdigit():
            raise Unreadable("a repeating decimal")
        fixed = Fraction(int((whole or "0") + rest), 10 ** len(rest))
        return Number(fixed + Fraction(int(start), (10 ** len(start) - 1) * 10 ** len(rest)))

    def symbol(self, name: str) -> Node:
        if self.skip("_"):
            name += "_" + self.subscript()
        return Symbol(name)

    def function(self, name: str) -> Node:
        base: list[Node] = []
        power: Node | None = None
        while self.at("_", "^"):
            if self.skip("_"):
                base = [self.argument()]
            elif self.skip("^"):
                power = self.group()
        if self.at("(", "[", "{"):
            inner = self.fenced()
            arguments = inner.items if isinstance(inner, Sequence) else (inner,)
        else:
            arguments = (self.bare_argument(),)
        if power == Number(Fraction(-1)) and name in ("sin", "cos", "tan"):
            name, power = f"arc{name}", None
        call = Call("log" if base else name, (*arguments, *base))
        return call if power is None else Power(call, power)

    def bare_argument(self) -> Node:
        r"""What ``\sin 2x`` takes: factors side by side, up to a sign or another function."""
        sign = self.signs()
        factors = [self.factor()]
        while self.starts_factor() and self.next.kind not in ("fn",) and not self.at("(", "["):
            factors.append(self.factor())
        return _product(factors) if sign > 0 else negated(_product(factors))

    def command(self, name: str) -> Node:
        if name in ("frac", "binom"):
            top, bottom = self.argument(), self.argument()
            return Quotient(top, bottom) if name == "frac" else Call("binom", (top, bottom))
        if name == "sqrt":
            order = self.fenced() if self.at("[") else None
            inner = self.fenced() if self.at("(") else self.argument()
            return Call("sqrt", (inner,)) if order is None else Call("root", (inner, order))
        if name == "begin":
            return self.environment()
        if name in ("overline", "bar", "hat", "tilde", "widehat"):
            inner = self.argument()
            letters = inner.factors if isinstance(inner, Product) else (inner,)
            if all(isinstance(letter, Symbol) for letter in letters):
                return Symbol(" ".join([name, *(letter.name for letter in letters if isinstance(letter, Symbol))]))
        raise Unreadable(f"\\{name}")

    def environment(self) -> Node:
        name = self._name()
        if name not in _MATRICES:
            raise Unreadable(f"an environment {name}")
        if name == "array" and self.skip("{"):
            while not self.skip("}"):
                if self.take() is END:
                    raise Unreadable("columns of an array")
        rows: list[list[Node]] = [[]]
        while self.next != Token("cmd", "end"):
            if self.skip("\\&") or self.skip("&"):
                continue
            if self.skip("\\\\"):
                rows.append([])
                continue
            rows[-1] += self.items()
        self.place += 1
        self._name()
        rows = [row for row in rows if row]
        if not rows or len({len(row) for row in rows}) > 1:
            raise Unreadable("rows of different lengths")
        return Matrix(tuple(map(tuple, rows)))

    def fenced(self) -> Node:
        """Brackets: a lone item between round ones is itself, else a sequence with its ends."""
        opened = self.take().text
        if opened == "{":
            self.place -= 1
            return self.braced()
        start = self.place
        self.bars += opened == "\\{"
        items = self.items()
        self.bars -= opened == "\\{"
        if opened == "\\{" and self.skip("|"):
            # {x | 2 < x < 3}: the condition says it all.
            items = self.items()
        elif opened == "\\{" and self.skip(":"):
            items = self.items()
        closed = self.take().text
        if closed not in ENDS or (closed == "\\}") != (opened == "\\{"):
            raise Unreadable("brackets do not match")
        if opened == "\\{":
            return self._set(items, start)
        if len(items) == 1 and _FENCES[opened] == closed:
            return items[0]
        return Sequence(opened, tuple(items), closed)

    def _set(self, items: list[Node], start: int) -> Node:
        if self.forked:
            place, self.forked, self.sign = self.place, False, 1
            self.place = start
            items = self.items(forks=True)
            self.place, self.forked = place, False
        return items[0] if len(items) == 1 and isinstance(items[0], Relation) else Sequence("{", tuple(items), "}")

    def paired(self, opened: str) -> Node:
        name, closer = _PAIRS[opened]
        self.bars += opened == "|"
        inner = self.items()
        if len(inner) != 1 or not self.skip(closer):
            raise Unreadable("bars do not match")
        self.bars -= opened == "|"
        return Call(name, (inner[0],))


_PAIRS = {"|": ("abs", "|"), "lfloor": ("floor", "rfloor"), "lceil": ("ceil", "rceil")}


def _clause(found: list[Token]) -> int:
    """Where a clause such as "for some integer t" begins outside of brackets."""
    depth = 0
    for i, token in enumerate(found):
        depth += (token.text in _FENCES) - (token.text in _CLOSERS) if token.kind == "op" else 0
        if i and depth == 0 and token.kind == "words" and _CLAUSE.match(token.text):
            return i - (found[i - 1].text == ",")
    return len(found)


def _product(factors: list[Node]) -> Node:
    return factors[0] if len(factors) == 1 else Product(tuple(factors))
