"""What a trained reward model says of a trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from stillwise.arrows import Scorer, Tools
from stillwise.errors import UserError
from stillwise.parts import Role
from stillwise.records import Problem, Score, Trace

AT_ONCE = 256
"""Traces between two reports of progress."""


class RewardScore(Scorer):
    """A reward model's number for problem and trace, in [0, 1]: a judge's mark over its highest, predicted.

    Thinking with DistilQwen, §3.3 (the RV and CD reward models).
    """

    kind: ClassVar[str] = "reward"
    model: Role = "reward"
    """The role of the reward model: a step of kind ``reward_model`` earlier in the recipe, or a folder that one wrote."""

    def score(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> list[Score]:
        """One score for each trace; None where it is longer than the model's positions."""
        return self.score_all([(problem, traces)], tools)[0]

    def score_all(self, groups: Sequence[tuple[Problem, Sequence[Trace]]], tools: Tools) -> list[list[Score]]:
        """One score for each trace of each problem, many to a forward pass."""
        from stillwise.models.reward import reward_model

        folder = tools.folders.get(self.model)
        if folder is None:
            raise UserError(f"role {self.model!r} is no local folder; bind it to a reward model that was trained here")
        held = reward_model(folder)
        asked = [(problem.question, trace.text) for problem, traces in groups for trace in traces]
        bar = tools.progress(tools.step, len(asked))
        found: list[float | None] = []
        for begin in range(0, len(asked), AT_ONCE):
            found += held.values(asked[begin : begin + AT_ONCE])
            bar.advance(len(found) - begin)
        values = iter(found)
        return [[self._score(next(values)) for _ in traces] for _, traces in groups]

    def _score(self, value: float | None) -> Score:
        detail = "longer than the reward model's positions" if value is None else None
        return Score(name=self.model, value=value, detail=detail)
