"""Multiple choice: the letter of an option, its number in brackets, or the text of the option."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

from stillwise.arrows import Verifier
from stillwise.records import Problem, Trace, Verdict
from stillwise.verify.answers import ANCHORED, Found, comparable, decided, solution_of, undecided
from stillwise.verify.text import plain_words, token_f1
from stillwise.verify.words import unwrapped, words

_GRADER = "choice@2"
_LETTER = re.compile(r"[(\[]?([A-Za-z])[)\]]?(?=$|[\s.,:;)\]]|[^\x00-\x7f])")
_CAPITAL = re.compile(r"(?<![A-Za-z'’])[(\[]?([A-Z])[)\]]?(?![A-Za-z'’])")
_SAID = re.compile(
    r"(?:answer|choice|option|choose|select|finali[sz]e|答案|选)\W{0,4}(?:is|are|be|:|：|为|是)?\W{0,6}(?:option|choice)?\W{0,4}([A-Z])(?![A-Za-z'’])",
    re.IGNORECASE,
)
_FIRST = re.compile(r"[(\[]?([A-Z])(?:[)\].:,]|$|[^\x00-\x7f]| (?:is|because|since|as)\b)")
_OPTIONS = re.compile(r"(?:^|\n)\s*[(\[]?([A-Z])[)\].:]\s*(.+?)(?=\n\s*[(\[]?[A-Z][)\].:]|\n\n|\Z)", re.DOTALL)


class Choice(Verifier):
    r"""Whether the chosen option is the reference's: ``B``, ``(b)``, ``B) because``, ``\text{B}``, or the option's text.

    The options are those that the problem lists (``scorer`` with a JSON list ``options``, else lines ``A. …`` of the question),
    so a reshuffled problem carries its own letters. The reference may be a letter or an option's text.
    """

    kind: ClassVar[str] = "choice"
    revision: ClassVar[int] = 2
    anchored_only: bool = True
    """Accept only an answer that the model marked; otherwise the last letter that the solution settles on."""
    option_text: bool = True
    """The text of an option stands for its letter."""

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        """CORRECT, INCORRECT, or UNDECIDED where no option can be made out."""
        found = self._found(problem, trace)
        if isinstance(found, Verdict):
            return found
        options = options_of(problem)
        wanted = self._letter(problem.answer or "", options)
        if wanted is None:
            return undecided(found, _GRADER, "the reference is not a letter")
        given = self._letter(found.text, options)
        return undecided(found, _GRADER, "no letter of a choice") if given is None else decided(given == wanted, found, _GRADER)

    def quick(self, problem: Problem, trace: Trace) -> Verdict | None:
        """Always a verdict: comparing letters costs nothing."""
        return self.verify(problem, trace)

    def _found(self, problem: Problem, trace: Trace) -> Verdict | Found:
        found = comparable(problem, trace, self.anchored_only, _GRADER, prose=True)
        if self.anchored_only or (isinstance(found, Found) and found.rule in ANCHORED and letter(found.text)):
            return found
        said = settled_letter(solution_of(trace) or "") if problem.answer else None
        return Found("whole", said) if said else found

    def _letter(self, answer: str, options: dict[str, str]) -> str | None:
        """The option that an answer names: by its whole text first (an option may itself be a letter), else by its letter."""
        if self.option_text and options:
            text = words(answer)
            same = [name for name, option in options.items() if words(option) == text]
            if len(same) == 1:
                return same[0]
        named = letter(answer)
        if named is not None and (not options or named in options):
            return named
        return self._nearest(answer, options) if self.option_text else None

    def _nearest(self, answer: str, options: dict[str, str]) -> str | None:
        """The one option whose words all stand in the answer."""
        said = f" {' '.join(plain_words(answer))} "
        inside = [
            name for name, option in options.items() if plain_words(option) and f" {' '.join(plain_words(option))} " in said
        ]
        close = [name for name in options if token_f1(options[name], answer) >= 0.9]
        return inside[0] if len(inside) == 1 else close[0] if len(close) == 1 else None


def letter(answer: str) -> str | None:
    """The letter that an answer begins with, in upper case; a word is no letter, nor is the article in "a dog"."""
    bare = unwrapped(answer).strip(" *$_\"'“”`\\{}")
    match = _LETTER.match(bare)
    if match is None or (match[1] in "aI" and re.match(r"[aI] [a-z]", bare)):
        return None
    return match[1].upper()


def settled_letter(solution: str) -> str | None:
    """The letter that a solution settles on: the last that is said to be the answer, else a first letter, else the last one."""
    text = unwrapped(solution).replace("*", "").replace("$", "").replace("`", "").strip()
    said = [match[1] for match in _SAID.finditer(text) if match[1].isupper()]
    if said:
        return said[-1]
    if first := _FIRST.match(text):
        return first[1]
    capitals = [match[1] for match in _CAPITAL.finditer(text) if match[1] not in "AI" or "(" in match[0]]
    return capitals[-1] if capitals else None


def options_of(problem: Problem) -> dict[str, str]:
    """Letter to text: from the problem's ``scorer`` (``{"options": […]}``), else from the lines of the question."""
    stated: Any = json.loads(problem.scorer) if problem.scorer and '"options"' in problem.scorer else {}
    options = stated.get("options") if isinstance(stated, dict) else None
    if isinstance(options, dict):
        return {str(name).upper(): str(text) for name, text in options.items()}
    if isinstance(options, list):
        return {chr(ord("A") + i): str(text) for i, text in enumerate(options)}
    return {name: " ".join(text.split()) for name, text in _OPTIONS.findall(problem.question)}
