"""Mathematical answers: exact comparison first, then Math-Verify's symbolic one."""

from __future__ import annotations

import importlib.metadata
import re
from decimal import Decimal
from functools import cache
from typing import Any, ClassVar

from stillwise.arrows import Verifier
from stillwise.records import Problem, Trace, Verdict
from stillwise.verify.answers import Found, comparable, decided, undecided

EXACT = "exact@1"
_NOISE = re.compile(r"\\left(?![a-z])|\\right(?![a-z])|\\[!,;: ]|\$|\\\$|\s+|(?<=\d),(?=\d{3}(?:\D|$))")
_PLAIN = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?")


class Maths(Verifier):
    """Whether the marked answer equals the reference: as a string, as a decimal number, else symbolically (Math-Verify).

    ``verify`` may take for ever on a hostile answer (a tower of powers): call it through a grader pool, which kills.
    """

    kind: ClassVar[str] = "maths"
    anchored_only: bool = True
    r"""Accept only an answer that the model marked (``\boxed{}``, an "answer is" line); rejection sampling wants no guesses."""
    float_rounding: int = 6
    """Decimal places to which inexact numbers are compared (Math-Verify's default)."""
    strict: bool = True
    """Sets, intervals and relations must agree in kind and variables (Math-Verify's default)."""

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        """CORRECT, INCORRECT, or UNDECIDED with the reason (no answer, an unreadable reference)."""
        found = comparable(problem, trace, self.anchored_only, EXACT)
        if isinstance(found, Verdict):
            return found
        same = exactly_equal(problem.answer or "", found.text)
        return self._symbolic(problem.answer or "", found) if same is None else decided(same, found, EXACT)

    def quick(self, problem: Problem, trace: Trace) -> Verdict | None:
        """The verdict where an exact comparison decides: equal strings, or two plain decimal numbers."""
        found = comparable(problem, trace, self.anchored_only, EXACT)
        if isinstance(found, Verdict):
            return found
        same = exactly_equal(problem.answer or "", found.text)
        return None if same is None else decided(same, found, EXACT)

    def warm(self) -> None:
        """Loads sympy, Math-Verify and its grammar."""
        _parsed("x + 1")

    def _symbolic(self, reference: str, found: Found) -> Verdict:
        from math_verify import verify

        grader = f"math-verify@{_version()}"
        gold, answer = _parsed(reference), _parsed(found.text)
        if not gold:
            return undecided(found, grader, "the reference answer cannot be read as mathematics")
        right = bool(answer) and verify(
            gold, answer, float_rounding=self.float_rounding, strict=self.strict, timeout_seconds=None
        )
        return decided(right, found, grader, None if answer else "the answer cannot be read as mathematics")


def exactly_equal(reference: str, answer: str) -> bool | None:
    """Equal as normalised strings: True. Both plain decimals: whether equal as numbers. Else None: unknown."""
    left, right = normalised(reference), normalised(answer)
    if left == right:
        return True
    if _PLAIN.fullmatch(left) and _PLAIN.fullmatch(right):
        return Decimal(left) == Decimal(right)
    return None


def normalised(answer: str) -> str:
    r"""The answer without what is only typography: spaces, ``\left``, dollar signs, thousands commas, a final full stop."""
    bare = _NOISE.sub("", answer.replace("−", "-")).rstrip(".")
    return bare.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")


@cache
def _version() -> str:
    return importlib.metadata.version("math-verify")


def _parsed(answer: str) -> list[Any]:
    """Math-Verify's reading of one answer, as LaTeX only: its reader of plain expressions evaluates text."""
    import logging

    from math_verify import LatexExtractionConfig, parse

    for name in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.ERROR)
    text = f"\\boxed{{{answer}}}"
    found: list[Any] = parse(
        text, extraction_config=[LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None
    )
    return found
