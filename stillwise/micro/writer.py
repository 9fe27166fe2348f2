r"""The embedded writer: a program that rewrites traces of sums when the packaged prompts ask for it. It is no model.

The embedded reasoner cannot follow prose, so somebody else has to stand in the rewriter's role. This one works on the
structure of a trace, line by line (work, check, second attempt; see ``solutions``), and says what it did in the way that a
teacher would: a new thought that ends in its own boxed answer. It knows no reference answer, and takes the last claim of the
trace for the answer: what it writes has to be verified like anybody's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from stillwise.micro.solutions import OPENERS, REDO, Operation, answer_line, column_line, operations, split_line

VERSION = 1
"""Raised when it writes otherwise: a part of its identity."""

MEDIUM_UP_TO = 3
"""A sum of more operations is hard."""

_WORK = re.compile(r"(-?\d+) ([+-]) (-?\d+)(?= =|:| ->)(.*)\Z")
_SUM = re.compile(r"(-?\(?\d[\d ()+-]*[+-][\d ()+-]*\d\)?)\s*=?\s*\Z")
_NUMBER = re.compile(r"-?\d+")
_LAST = re.compile(r"(-?\d+)\.?\Z")
_OPENERS = tuple(sorted({*OPENERS, "Wait, ", "Hmm, ", "But "}, key=len, reverse=True))


@dataclass(frozen=True, slots=True)
class Piece:
    """One operation as the trace works it out."""

    operation: Operation
    claim: int
    line: str
    checked: bool = False

    @property
    def columns(self) -> bool:
        """Whether it is worked out column by column."""
        return ": " in self.line


class _Unreadable(Exception):
    """A line that the program does not understand."""


def write(user: str) -> str:
    """The answer to a rewriting prompt; what cannot be done is said in words, without a boxed answer."""
    edit = next((edit for phrase, edit in _EDITS if phrase in user), None)
    if edit is None:
        return "I rewrite sums when I am asked to extend, simplify, criticise or rethink them."
    try:
        return edit(_between(user, "chain_of_thought"), user)
    except _Unreadable as line:
        return f"I do not understand this line: {line}"


def extended(trace: str, user: str = "") -> str:
    """A line without columns gets them, columns without a check get one; what is checked already stays so."""
    rng = Random(trace)
    return _answered([part for piece in _pieces(trace) for part in _more(piece, rng)], trace)


def simplified(trace: str, user: str = "") -> str:
    """Checks and first attempts that were corrected go; a trace without any gets one digit-by-digit line an operation."""
    pieces = list(_pieces(trace))
    if any(piece.checked for piece in pieces):
        return _answered([piece.line for piece in pieces], trace)
    return _answered([split_line(_sound(piece).operation) for piece in pieces], trace)


def criticised(trace: str, user: str = "") -> str:
    """What the structure says: checks that could go, or work that stands unchecked."""
    checks = sum(piece.checked for piece in _pieces(trace))
    if checks:
        return f"Too hard: {checks} checks interrupt the work."
    return "Too easy: no operation is checked."


def rethought(trace: str, user: str) -> str:
    """Rewritten as the critique asks."""
    return simplified(trace) if "too hard" in _between(user, "critique").casefold() else extended(trace)


def fitted(trace: str, user: str = "") -> str:
    """Judged by the number of operations, rewritten by that template: one line; idea and lines; plan, columns, a check."""
    pieces = list(_pieces(trace))
    split = [split_line(_sound(piece).operation) for piece in pieces]
    if len(pieces) == 1:
        return "Difficulty: easy\n" + _answered(split, trace)
    if len(pieces) <= MEDIUM_UP_TO:
        return "Difficulty: medium\n" + _answered(["From left to right.", *split], trace)
    plan = ["This is a long sum.", f"Plan: {len(pieces)} operations, from left to right."]
    lines = [*plan, *(piece.line for piece in pieces), f"Verify: {split[-1]}. Yes."]
    return "Difficulty: hard\n" + _answered(lines, trace)


def questioned(trace: str, user: str) -> str:
    """The question that each step answers: what its operation gives. In signs that the embedded models know."""
    steps = [line.partition(". ")[2] for line in _between(user, "steps").splitlines()]
    return "\n".join(f"{_piece(step, checked=False).operation.text} = ?" for step in steps)


def corrected(trace: str, user: str) -> str:
    """The problem worked out column by column; of the wrong answer nothing can be kept."""
    found = _SUM.search(_between(user, "problem"))
    if found is None:
        raise _Unreadable("the problem is no sum")
    done = operations(found[1])
    lines = ["".join(text for text, _ in column_line(operation)[0]).strip() for operation in done]
    return "\n".join([*lines, answer_line(done[-1].value)])


_EDITS: tuple[tuple[str, Callable[[str, str], str]], ...] = (
    ("Write only the critique", criticised),
    ("following the critique", rethought),
    ("too few words for a student", extended),
    ("too hard for a student", simplified),
    ("by the template of that difficulty", fitted),
    ("write the one question that this step answers", questioned),
    ("correct the student's own attempt", corrected),
)
"""A phrase of each packaged prompt, and what to do."""


def _more(piece: Piece, rng: Random) -> Iterator[str]:
    operation = _sound(piece).operation
    if not piece.columns:
        yield "".join(text for text, _ in column_line(operation)[0]).strip()
        return
    yield piece.line
    yield f"{rng.choice(OPENERS)}{split_line(operation)}. Yes."


def _sound(piece: Piece) -> Piece:
    """The piece, if its claim is what the operation gives: work that is wrong is not explained, nor replaced by right work."""
    if piece.claim != piece.operation.value:
        raise _Unreadable(piece.line)
    return piece


def _pieces(trace: str) -> Iterator[Piece]:
    """The operations of a trace, each with its last attempt."""
    held: Piece | None = None
    for line in _lines(trace):
        if line.startswith(REDO) and held:
            held = _piece(line[line.index("Again, ") + len("Again, ") :], checked=True)
        elif (opener := next((start for start in _OPENERS if line.startswith(start)), None)) and held:
            held = Piece(held.operation, held.claim, held.line, checked=_WORK.match(line.removeprefix(opener)) is not None)
        else:
            if held:
                yield held
            held = _piece(line, checked=False)
    if held is None:
        raise _Unreadable("there is none")
    yield held


def _piece(line: str, checked: bool) -> Piece:
    found, last = _WORK.match(line), _LAST.search(line)
    if not found or not last:
        raise _Unreadable(line)
    left, sign, right, _ = found.groups()
    return Piece(Operation(int(left), sign, int(right)), int(last.group(1)), line, checked)


def _lines(trace: str) -> list[str]:
    """The lines that work: a thought's where it has any, else those after it; never the answer's."""
    inside, _, after = trace.rpartition("</think>")
    for text in (inside.replace("<think>", ""), after):
        lines = [line.strip() for line in text.splitlines() if _NUMBER.search(line) and "\\boxed" not in line]
        if lines:
            return lines
    raise _Unreadable("there is none")


def _answered(lines: list[str], trace: str) -> str:
    last = list(_pieces(trace))[-1]
    return "\n".join([*lines, answer_line(last.claim)])


def _between(user: str, tag: str) -> str:
    return user.partition(f"<{tag}>")[2].rpartition(f"</{tag}>")[0].strip()
