"""The verifier that an answer's kind calls for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from stillwise.arrows import Tools, Verifier
from stillwise.records import Outcome, Problem, Trace, Verdict
from stillwise.verify.choice import Choice
from stillwise.verify.code import Code
from stillwise.verify.gym import Gym
from stillwise.verify.maths import Maths
from stillwise.verify.policy import Mode
from stillwise.verify.roles import Roles
from stillwise.verify.text import Text


class ByAnswerKind(Verifier):
    """Hands each problem to the verifier of its answer kind; each can be swapped."""

    kind: ClassVar[str] = "by_answer_kind"
    mode: Mode | None = None
    """Set: every member takes this mode (and whether answers must be marked) instead of its own."""
    number: Verifier = Maths()
    """For numbers."""
    expression: Verifier = Maths()
    """For formulas."""
    set: Verifier = Maths()
    """For sets, lists and intervals."""
    choice: Verifier = Choice()
    """For the letter of a multiple choice."""
    text: Verifier = Text()
    """For words."""
    roles: Verifier = Roles()
    """For knights and knaves."""
    gym: Verifier = Gym()
    """For problems of reasoning-gym."""
    code_tests: Verifier = Code()
    """For programs with tests."""

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        """The chosen verifier's verdict."""
        chosen = self._chosen(problem)
        return _NOBODY if chosen is None else chosen.verify(problem, trace)

    def quick(self, problem: Problem, trace: Trace) -> Verdict | None:
        """The chosen verifier's quick verdict."""
        chosen = self._chosen(problem)
        return _NOBODY if chosen is None else chosen.quick(problem, trace)

    def alike(self, problem: Problem, trace: Trace) -> str | None:
        """The chosen verifier's key, under its kind of answer."""
        chosen = self._chosen(problem)
        key = None if chosen is None else chosen.alike(problem, trace)
        return None if key is None else f"{problem.answer_kind.value}\0{key}"

    def warm(self) -> None:
        """Loads what the verifiers for mathematics need (those of a generator load with its first problem)."""
        self.expression.warm()

    def decide(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[Verdict]:
        """Each member decides its own pairs in its own way: in the pool, in a sandbox, by asking a model."""
        groups: dict[Verifier | None, list[int]] = {}
        for i, (problem, _) in enumerate(pairs):
            groups.setdefault(self._chosen(problem), []).append(i)
        known: dict[int, Verdict] = {}
        for member, places in groups.items():
            mine = [pairs[i] for i in places]
            known.update(zip(places, member.decide(mine, tools) if member else [_NOBODY] * len(mine), strict=True))
        return [known[i] for i in range(len(pairs))]

    def _chosen(self, problem: Problem) -> Verifier | None:
        member: Verifier | None = getattr(self, problem.answer_kind.value, None)
        return member if member is None or self.mode is None else _in_mode(member, self.mode)


def _in_mode(member: Verifier, mode: Mode) -> Verifier:
    """The member with this mode, where it has one; marked answers only in precision."""
    stated = {"mode": mode, "anchored_only": mode == "precision"}
    return member.model_copy(update={name: value for name, value in stated.items() if name in type(member).model_fields})


_NOBODY = Verdict(outcome=Outcome.UNDECIDED, grader="by_answer_kind@1", detail="no verifier for this kind of answer")
