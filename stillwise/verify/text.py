"""Answers compared as words: yes and no, short texts, several accepted references, overlap of tokens."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from typing import ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Verifier
from stillwise.records import Problem, Trace, Verdict
from stillwise.verify.answers import comparable, decided, solution_of
from stillwise.verify.words import words

_GRADER = "text@2"
_SAYS = {
    **dict.fromkeys(("yes", "true", "correct", "right", "y"), "yes"),
    **dict.fromkeys(("no", "false", "incorrect", "wrong", "n"), "no"),
    **dict.fromkeys(("unknown", "uncertain", "undetermined", "cannot be determined"), "unknown"),
}
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans(string.punctuation, " " * len(string.punctuation))
_MAX_WHOLE_CHARS = 300


class Text(Verifier):
    """Whether the answer and a reference are the same words (SQuAD's normal form: no case, articles or punctuation).

    A reference that is a JSON list of strings names several accepted answers. Yes and true, no and false are one word each.
    """

    kind: ClassVar[str] = "text"
    revision: ClassVar[int] = 2
    anchored_only: bool = True
    """Accept only an answer that the model marked; otherwise a short solution is an answer too."""
    overlap: float = Field(default=1.0, gt=0, le=1)
    """The token F1 with a reference from which an answer counts; 1 wants the same words. The F1 stands in the detail."""
    logic: Literal["agree", "literal"] = "agree"
    """agree: yes is true and no is false; literal: they are different words."""

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        """CORRECT, INCORRECT with the token F1, or UNDECIDED with the reason."""
        found = comparable(problem, trace, self.anchored_only, _GRADER, prose=True)
        if isinstance(found, Verdict):
            return found
        accepted = references(problem.answer or "")
        given = [found.text]
        solution = (solution_of(trace) or "").strip()
        if not self.anchored_only and len(solution) <= _MAX_WHOLE_CHARS:
            given.append(solution)
        score = max(self._score(reference, answer) for reference in accepted for answer in given)
        return decided(score >= self.overlap, found, _GRADER, None if score == 1 else f"F1 {score:.3f}")

    def quick(self, problem: Problem, trace: Trace) -> Verdict | None:
        """Always a verdict: comparing words costs nothing."""
        return self.verify(problem, trace)

    def _score(self, reference: str, answer: str) -> float:
        wanted, given = words(reference), words(answer)
        if self.logic == "agree" and wanted in _SAYS:
            first = given.split(",")[0].split(".")[0].strip()
            says = _SAYS.get(given) or _SAYS.get(first) or _SAYS.get(first.split(" ")[0] if first else "")
            return float(says == _SAYS[wanted])
        return token_f1(reference, answer)


def references(answer: str) -> list[str]:
    """The accepted answers: the strings of a JSON list, else the one that is written."""
    if answer.lstrip().startswith("["):
        try:
            found = json.loads(answer)
        except ValueError:
            return [answer]
        if isinstance(found, list) and found and all(isinstance(item, str) for item in found):
            return found
    return [answer]


def plain_words(text: str) -> list[str]:
    """Words in lower case without articles and punctuation (SQuAD, arXiv 1606.05250, its evaluation script)."""
    bare = _ARTICLES.sub(" ", words(text).translate(_PUNCTUATION))
    return bare.split()


def token_f1(reference: str, answer: str) -> float:
    """The harmonic mean of precision and recall over words, counted with repeats; two empty texts agree."""
    wanted, given = plain_words(reference), plain_words(answer)
    if not wanted or not given:
        return float(wanted == given)
    shared = sum((Counter(wanted) & Counter(given)).values())
    if wanted == given:
        return 1.0
    return min(2 * shared / (len(wanted) + len(given)), 1.0 - 1e-9)
