"""Knights and knaves: who is what, read from an answer however it is phrased."""

from __future__ import annotations

import re
from typing import ClassVar

from stillwise.arrows import Verifier
from stillwise.records import Problem, Trace, Verdict
from stillwise.verify.answers import Found, comparable, decided, solution_of, undecided
from stillwise.verify.words import unwrapped

_GRADER = "roles@1"
_STATED = re.compile(
    r"\b([A-Z][\w'-]*)\b[\s*]*(?:is|are|was|=|:|-|→|–)[\s*]*"
    r"(?:indeed |therefore |thus |also )?(not )?(?:an? |the )?(?:\*\*)?(\w+)"
)
_MAX_CHARS = 20_000


class Roles(Verifier):
    """Whether every person has the reference's role ("Zoey is a knight, and Owen is a knave"); the share stands in the detail.

    The last statement about a person counts. A person of the reference whom the answer leaves out or invents is wrong.
    """

    kind: ClassVar[str] = "roles"
    anchored_only: bool = True
    """Accept only an answer that the model marked; otherwise the statements at the end of the solution."""
    names: tuple[tuple[str, str], ...] = (("knight", "knave"),)
    """Pairs of opposite roles: "not a knight" is a knave. Puzzles may use other words (pioneer and laggard)."""

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        """CORRECT, INCORRECT with the share of people who are right, or UNDECIDED where no roles are stated."""
        found = comparable(problem, trace, self.anchored_only, _GRADER, prose=True)
        if isinstance(found, Verdict):
            return found
        opposites = self._opposites()
        wanted = roles_in(problem.answer or "", opposites)
        if not wanted:
            return undecided(found, _GRADER, "the reference states no roles")
        given = roles_in(found.text, opposites)
        if len(given) < len(wanted) and not (self.anchored_only and found.rule == "answer_tag"):
            found, given = self._around(found, trace, wanted, opposites)
        if not given:
            return undecided(found, _GRADER, "the answer states no roles")
        right = sum(given.get(person) == role for person, role in wanted.items())
        return decided(given == wanted, found, _GRADER, None if given == wanted else f"{right} of {len(wanted)} right")

    def quick(self, problem: Problem, trace: Trace) -> Verdict | None:
        """Always a verdict: reading statements costs nothing."""
        return self.verify(problem, trace)

    def _opposites(self) -> dict[str, str]:
        return {a: b for pair in self.names for a, b in (pair, pair[::-1])}

    def _around(
        self, found: Found, trace: Trace, wanted: dict[str, str], opposites: dict[str, str]
    ) -> tuple[Found, dict[str, str]]:
        """An answer over several lines: the statements from where the answer begins, about the people of the reference."""
        solution = (solution_of(trace) or "")[-_MAX_CHARS:]
        start = max(0, solution.rfind(found.text.split("\n")[0][:40]))
        tail = solution[start:] if self.anchored_only else solution
        given = {person: role for person, role in roles_in(tail, opposites).items() if person in wanted}
        return Found(found.rule, tail.strip()), given


def roles_in(text: str, opposites: dict[str, str]) -> dict[str, str]:
    """Person to role, the last statement about each; negations are the opposite role."""
    found = {}
    for match in _STATED.finditer(unwrapped(text)):
        role = match[3].casefold().rstrip("s")
        if role in opposites:
            found[match[1]] = opposites[role] if match[2] else role
    return found
