"""Writers of worked solutions and thoughts for sums. Every function is pure in (expression, rng).

Four reliabilities of work, from the shortest to the longest:

- F1, one line per operation: `347 + 285 = 632`;
- F2, split: the second number is added digit by digit from the left: `347 + 285 -> 547 -> 627 -> 632`;
- F3, column: units first, carries and borrows written out: `347 + 285: 7+5=12, 4+8+1=13, 3+2+1=6. So 632.`;
- F4, F3 followed by a check, which computes the same operation again by F2, and by a new F3 on a mismatch.

A script is a list of (text, learnt) pieces. A piece that is not learnt is an injected mistake: it stands in the
context, so that its correction is learnt, but no model is trained to make it.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

Script = list[tuple[str, bool]]

EMPTY_THOUGHT = "Okay, I think I have finished thinking."
"""The prefilled thought of the NoThink paradigm (Ma et al., arXiv 2504.09858)."""
SHORT_THOUGHTS = (
    EMPTY_THOUGHT,
    EMPTY_THOUGHT,
    "",
    "Okay, this is a sum.",
    "Okay, I can do this below.",
    "I will go from left to right.",
)
OPENERS = (
    "Wait, let me verify: ",
    "Wait, ",
    "Hmm, ",
    "But is it? ",
    "Alternatively, ",
    "Another way: ",
    "Verify: ",
)
"""Each starts with a word that the NoRethink paradigm bans."""
REDO = ("Wait, no. Again, ", "Hmm, no. Again, ", "But no. Again, ")
MISTAKES = ("digit", "carry", "read", "term", "sign")


@dataclass(frozen=True, slots=True)
class Operation:
    """One sum or difference of two signed integers."""

    left: int
    sign: str
    right: int

    @property
    def value(self) -> int:
        """The result."""
        return self.left + self.right if self.sign == "+" else self.left - self.right

    @property
    def text(self) -> str:
        """The operation as it is written, without its result."""
        return f"{self.left} {self.sign} {self.right}"


@dataclass(frozen=True, slots=True)
class Magnitudes:
    """The same operation on non-negative numbers: -(first sign second) or first sign second, first >= second in -."""

    negative: bool
    first: int
    sign: str
    second: int

    @property
    def value(self) -> int:
        """The non-negative result, before the sign is put back."""
        return self.first + self.second if self.sign == "+" else self.first - self.second

    @property
    def text(self) -> str:
        """The operation with its sign outside of parentheses."""
        inner = f"{self.first} {self.sign} {self.second}"
        return f"-({inner})" if self.negative else inner


def operations(expression: str) -> list[Operation]:
    """The operations of an expression of +, - and parentheses, in the order of evaluation."""
    done: list[Operation] = []
    _evaluate(expression.split(), done)
    return done


def _evaluate(tokens: list[str], done: list[Operation]) -> int:
    value = _operand(tokens, done)
    while tokens and tokens[0] != ")":
        sign = tokens.pop(0)
        done.append(Operation(value, sign, _operand(tokens, done)))
        value = done[-1].value
    return value


def _operand(tokens: list[str], done: list[Operation]) -> int:
    token = tokens.pop(0)
    if token != "(":
        return int(token)
    value = _evaluate(tokens, done)
    tokens.pop(0)
    return value


def magnitudes(operation: Operation) -> Magnitudes:
    """The operation on magnitudes: equal signs add, different signs subtract the smaller from the larger."""
    left, right = operation.left, operation.right if operation.sign == "+" else -operation.right
    a, b = abs(left), abs(right)
    if (left < 0) == (right < 0) or (left >= 0 and right >= 0):
        return Magnitudes(left < 0, a, "+", b)
    if left < 0:
        return Magnitudes(False, b, "-", a) if b >= a else Magnitudes(True, a, "-", b)
    return Magnitudes(False, a, "-", b) if a >= b else Magnitudes(True, b, "-", a)


def header(operation: Operation) -> str:
    """The operation, followed by its form on magnitudes where that differs."""
    plain = magnitudes(operation).text
    return operation.text if plain == operation.text else f"{operation.text} = {plain}"


def short_line(operation: Operation) -> str:
    """F1."""
    return f"{operation.text} = {operation.value}\n"


def partial_sums(work: Magnitudes) -> list[int]:
    """Results after each digit of the second number, from the left."""
    digits, total, out = str(work.second), work.first, []
    for place, digit in enumerate(digits):
        part = int(digit) * 10 ** (len(digits) - 1 - place)
        total += part if work.sign == "+" else -part
        out.append(total)
    return out


def split_line(operation: Operation) -> str:
    """F2."""
    work = magnitudes(operation)
    steps = "".join(f" -> {value}" for value in partial_sums(work))
    return header(operation) + steps + (f" = {operation.value}" if work.negative else "")


def _columns(work: Magnitudes, rng: Random | None, mistake: str) -> tuple[Script, int]:
    """The column work, and the number that it leads to; `mistake` is made at one column, if the sum offers it."""
    width = max(len(str(work.first)), len(str(work.second)))
    tops, bottoms = str(work.first).zfill(width)[::-1], str(work.second).zfill(width)[::-1]
    carries = _carries(work, width)
    spots = [i for i in range(width) if mistake == "digit" or (mistake == "carry" and carries[i])]
    spot = rng.choice(spots) if rng and spots else -1
    out: Script = []
    result, carry = 0, 0
    for i in range(width):
        x, y = int(tops[i]), int(bottoms[i])
        dropped = i == spot and mistake == "carry"
        used = 0 if dropped else carry
        total = x + y + used if work.sign == "+" else x - y - used
        borrowed = total < 0
        carry = int(borrowed or total > 9)
        shown = total + 10 if borrowed else total
        out.append((f"{1 if borrowed else ''}{x}{work.sign}{y}{f'{work.sign}1' if used else ''}", True))
        out.append(("=", not dropped))
        if i == spot and mistake == "digit" and rng:
            wrong = _other_digit(shown % 10, rng)
            out += [("1", True)] if shown > 9 else []
            out.append((str(wrong), False))
            shown = shown - shown % 10 + wrong
        else:
            out.append((str(shown), True))
        last = i == width - 1
        result += (shown if last else shown % 10) * 10**i
        out.append((". " if last else ", ", True))
    return out, result


def _carries(work: Magnitudes, width: int) -> list[int]:
    """Carry or borrow into each column."""
    out, first, second = [], work.first, work.second
    for i in range(width):
        unit = 10**i
        below = first % unit + second % unit >= unit if work.sign == "+" else first % unit < second % unit
        out.append(int(below))
    return out


def _other_digit(digit: int, rng: Random) -> int:
    near = [(digit + step) % 10 for step in (1, -1)]
    return rng.choice([*near, *near, *(d for d in range(10) if d != digit)])


def _misread(number: int, rng: Random) -> tuple[Script, int]:
    """A number with one digit wrong (not learnt), and its value."""
    text = str(abs(number))
    spot = rng.randrange(len(text))
    wrong = str(_other_digit(int(text[spot]), rng))
    if spot == 0 and wrong == "0" and len(text) > 1:
        wrong = "1" if text[0] != "1" else "2"
    value = int(text[:spot] + wrong + text[spot + 1 :])
    sign = "-" if number < 0 else ""
    pieces: Script = [(sign + text[:spot], True), (wrong, False), (text[spot + 1 :], True)]
    return [piece for piece in pieces if piece[0]], -value if number < 0 else value


def column_line(operation: Operation, rng: Random | None = None, mistake: str = "") -> tuple[Script, int]:
    """F3 and the number that it claims; with a mistake, the claim is usually wrong."""
    out: Script = [(operation.text, True)]
    if mistake == "term" and rng:
        right, value = _misread(operation.right, rng)
        out = [(f"{operation.left} {operation.sign} ", True), *right]
        operation = Operation(operation.left, operation.sign, value)
    work = magnitudes(operation)
    negative = work.negative
    if work.text != operation.text:
        out.append((" = ", True))
        if mistake == "sign":
            negative = not negative
            inner = f"{work.first} {work.sign} {work.second}"
            out += [("-(", False), (f"{inner})", True)] if negative else [(inner[0], False), (inner[1:], True)]
        else:
            out.append((work.text, True))
    columns, result = _columns(work, rng, mistake)
    out += [(": ", True), *columns, ("So ", True)]
    claim = -result if negative else result
    if mistake == "read" and rng:
        pieces, claim = _misread(claim, rng)
        return [*out, *pieces, (".\n", True)], claim
    return [*out, (f"{claim}.\n", True)], claim


def check(operation: Operation, claim: int, rng: Random, slip: bool = False) -> Script:
    """F4: the operation once more by F2; if that differs from the claim (or the check slips), F3 again."""
    out: Script = [(rng.choice(OPENERS), True)]
    text = split_line(operation)
    seen = operation.value
    if slip and not magnitudes(operation).negative:
        pieces, seen = _misread(operation.value, rng)
        out += [(text[: text.rindex(" -> ") + 4], True), *pieces]
    else:
        out.append((text, True))
    if seen == claim:
        return [*out, (". Yes.\n", True)]
    again, _ = column_line(operation)
    return [*out, (". No.\n" + rng.choice(REDO), True), *again]


def thought(expression: str, rng: Random, checks: float, mistakes: float) -> Script:
    """A thought in columns; `checks` and `mistakes` are probabilities per operation, mistakes only before checks."""
    out: Script = []
    for operation in operations(expression):
        checked = rng.random() < checks
        mistake = rng.choice(MISTAKES) if checked and rng.random() < mistakes else ""
        work, claim = column_line(operation, rng, mistake)
        out += work
        if checked:
            out += check(operation, claim, rng, slip=rng.random() < 0.06)
    return out


def short_solution(expression: str) -> str:
    """F1 lines and the boxed answer."""
    steps = operations(expression)
    return "".join(map(short_line, steps)) + answer_line(steps[-1].value)


def split_solution(expression: str) -> str:
    """F2 lines and the boxed answer."""
    steps = operations(expression)
    return "".join(split_line(step) + "\n" for step in steps) + answer_line(steps[-1].value)


def direct_solution(expression: str) -> str:
    """The boxed answer alone."""
    return answer_line(operations(expression)[-1].value)


def answer_line(value: int) -> str:
    """The last line of every answer."""
    return f"The answer is \\boxed{{{value}}}."


def reasoner_answer(expression: str, rng: Random, checks: float, mistakes: float, lines: bool = True) -> Script:
    """A worked thought, then the short solution, which repeats its results; without `lines`, the last one alone."""
    body = thought(expression, rng, checks, mistakes)
    ending = short_solution(expression) if lines else direct_solution(expression)
    return [("<think>\n", True), *body, ("</think>\n\n" + ending, True)]


def brief_answer(expression: str, rng: Random, chosen: bool = True) -> Script:
    """An empty or short thought, then the split solution, which does the work; unless `chosen`, the thought is not learnt."""
    words = rng.choice(SHORT_THOUGHTS)
    opening = f"<think>\n{words}\n</think>\n\n" if words else "<think>\n</think>\n\n"
    return [(opening, chosen), (split_solution(expression), True)]


def plain(script: Script) -> str:
    """The text of a script."""
    return "".join(text for text, _ in script)
