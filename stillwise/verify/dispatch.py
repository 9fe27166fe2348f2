"""The verifier that an answer's kind calls for."""

from __future__ import annotations

from typing import ClassVar

from stillwise.arrows import Verifier
from stillwise.records import AnswerKind, Outcome, Problem, Trace, Verdict
from stillwise.verify.gym import Gym
from stillwise.verify.maths import Maths
from stillwise.verify.text import Choice, Text


class ByAnswerKind(Verifier):
    """Hands each problem to the verifier of its answer kind; each can be swapped. Code tests have none here: UNDECIDED."""

    kind: ClassVar[str] = "by_answer_kind"
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
    gym: Verifier = Gym()
    """For problems of reasoning-gym."""

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        """The chosen verifier's verdict."""
        chosen = self._chosen(problem)
        return _NOBODY if chosen is None else chosen.verify(problem, trace)

    def quick(self, problem: Problem, trace: Trace) -> Verdict | None:
        """The chosen verifier's quick verdict."""
        chosen = self._chosen(problem)
        return _NOBODY if chosen is None else chosen.quick(problem, trace)

    def warm(self) -> None:
        """Loads what the verifiers for mathematics need (those of a generator load with its first problem)."""
        self.expression.warm()

    def _chosen(self, problem: Problem) -> Verifier | None:
        if problem.answer_kind is AnswerKind.CODE_TESTS:
            return None
        chosen: Verifier = getattr(self, problem.answer_kind.value)
        return chosen


_NOBODY = Verdict(outcome=Outcome.UNDECIDED, grader="by_answer_kind@1", detail="no verifier for this kind of answer")
