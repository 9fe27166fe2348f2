"""Several verifiers, one verdict: what more than half of them say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Tools, Verifier
from stillwise.records import Outcome, Problem, Trace, Verdict

_GRADER = "majority@1"


class Majority(Verifier):
    """CORRECT or INCORRECT where more than half of the members say so, else UNDECIDED; members may be judges or majorities.

    Three-valued: a member that cannot tell is no vote for either side, and still counts as one of all.
    """

    kind: ClassVar[str] = "majority"
    members: tuple[Verifier, ...] = Field(min_length=1)
    """The verifiers that vote, in the order in which the detail names their outcomes."""

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        """The members' votes, where each can be had in one process."""
        return counted([member.verify(problem, trace) for member in self.members])

    def quick(self, problem: Problem, trace: Trace) -> Verdict | None:
        """The verdict where every member has a quick one."""
        found = [member.quick(problem, trace) for member in self.members]
        known = [verdict for verdict in found if verdict is not None]
        return counted(known) if len(known) == len(found) else None

    def warm(self) -> None:
        """Loads what the members need."""
        for member in self.members:
            member.warm()

    def decide(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[Verdict]:
        """Each member decides all pairs in its own way, then the votes are counted."""
        votes = [member.decide(pairs, tools) for member in self.members]
        return [counted(row) for row in zip(*votes, strict=True)] if pairs else []


def counted(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict of many: the outcome of more than half, with the answer of the first member that says so."""
    outcome, most = Counter(verdict.outcome for verdict in verdicts).most_common(1)[0]
    winner = outcome if 2 * most > len(verdicts) else Outcome.UNDECIDED
    speaker = next((verdict for verdict in verdicts if verdict.outcome is winner), verdicts[0])
    said = ", ".join(f"{verdict.grader}: {verdict.outcome.value}" for verdict in verdicts)
    return Verdict(outcome=winner, rule=speaker.rule, extracted=speaker.extracted, grader=_GRADER, detail=said)
