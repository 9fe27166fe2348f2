"""How probable a trace is to a model: what a student finds likely it learns easily; a teacher beside it shows what is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from stillwise.arrows import INSTRUCTION, Ask, Likely, Scorer, Tools, user_message
from stillwise.errors import UserError
from stillwise.parts import Role
from stillwise.records import Problem, Score, Trace


class Likelihood(Scorer):
    """Mean log-probability of a trace to a model, in nats per token; with ``against``, the log ratio per character.

    The ratio is (log p_by - log p_against) / characters, so that models of different tokenizers compare: 0 where both find
    the trace equally probable, negative where ``by`` finds it less so.
    """

    kind: ClassVar[str] = "likelihood"
    by: Role = "student"
    """The role whose log-probabilities are taken."""
    against: Role | None = None
    """The role that they are compared with: the teacher, say."""
    instruction: str = INSTRUCTION
    """Appended to the question, as in training."""

    def score(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> list[Score]:
        """One number for each trace; None where it is empty or does not fit into a model's positions."""
        ask = Ask(user=user_message(problem.question, self.instruction))
        texts = [trace.text for trace in traces]
        mine = self._logprobs(self.by, ask, texts, tools)
        if self.against is None:
            return [self._mean(held) for held in mine]
        other = self._logprobs(self.against, ask, texts, tools)
        return [self._ratio(*each) for each in zip(texts, mine, other, strict=True)]

    def _logprobs(self, role: str, ask: Ask, texts: Sequence[str], tools: Tools) -> list[tuple[float, ...]]:
        caller = tools.callers[role]
        if not isinstance(caller, Likely):
            raise UserError(f"role {role!r} gives no log-probabilities of given answers; bind it to a transformers: model")
        return caller.logprobs(ask, texts)

    def _mean(self, held: Sequence[float]) -> Score:
        if not held:
            return Score(name=self.kind, value=None, detail="empty, or longer than the model's positions")
        return Score(name=self.kind, value=sum(held) / len(held), detail=f"{len(held)} tokens")

    def _ratio(self, text: str, mine: Sequence[float], other: Sequence[float]) -> Score:
        if not mine or not other:
            return Score(name=self.kind, value=None, detail="empty, or longer than a model's positions")
        value = (sum(mine) - sum(other)) / len(text)
        return Score(name=self.kind, value=value, detail=f"{sum(mine):.1f} and {sum(other):.1f} nats, {len(text)} characters")
