"""Answers compared as words, and letters of a multiple choice."""

from __future__ import annotations

import re
import unicodedata
from typing import ClassVar

from stillwise.arrows import Verifier
from stillwise.records import Problem, Trace, Verdict
from stillwise.verify.answers import comparable, decided, undecided

_TEXT_GRADER = "text@1"
_CHOICE_GRADER = "choice@1"
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|operatorname)\s*\{([^{}]*)\}")
_LETTER = re.compile(r"\(?([A-Za-z])\)?(?![A-Za-z0-9])")


class Text(Verifier):
    """Whether the marked answer and the reference are the same words, whatever their case, spacing and final stop."""

    kind: ClassVar[str] = "text"
    anchored_only: bool = True
    """Accept only an answer that the model marked."""

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        """CORRECT, INCORRECT, or UNDECIDED with the reason."""
        found = comparable(problem, trace, self.anchored_only, _TEXT_GRADER)
        if isinstance(found, Verdict):
            return found
        return decided(words(found.text) == words(problem.answer or ""), found, _TEXT_GRADER)

    def quick(self, problem: Problem, trace: Trace) -> Verdict | None:
        """Always a verdict: comparing words costs nothing."""
        return self.verify(problem, trace)


class Choice(Verifier):
    r"""Whether the marked letter is the reference's: ``B``, ``(b)``, ``B) because``, ``\text{B}``."""

    kind: ClassVar[str] = "choice"
    anchored_only: bool = True
    """Accept only an answer that the model marked."""

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        """CORRECT, INCORRECT, or UNDECIDED where no letter stands first in the answer."""
        found = comparable(problem, trace, self.anchored_only, _CHOICE_GRADER)
        if isinstance(found, Verdict):
            return found
        given, wanted = letter(found.text), letter(problem.answer or "")
        if given is None or wanted is None:
            return undecided(found, _CHOICE_GRADER, "no letter of a choice" if wanted else "the reference is not a letter")
        return decided(given == wanted, found, _CHOICE_GRADER)

    def quick(self, problem: Problem, trace: Trace) -> Verdict | None:
        """Always a verdict: comparing letters costs nothing."""
        return self.verify(problem, trace)


def words(answer: str) -> str:
    """The words of an answer: Unicode-normalised, in lower case, one space between, no marks at the ends."""
    bare = _WRAPPED.sub(r"\1", unicodedata.normalize("NFKC", answer)).casefold()
    return " ".join(bare.split()).strip(" .,;:!\"'`*$")


def letter(answer: str) -> str | None:
    """The letter that an answer begins with, in upper case."""
    match = _LETTER.match(_WRAPPED.sub(r"\1", answer).strip(" *$"))
    return match[1].upper() if match else None
