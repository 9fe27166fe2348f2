"""Scores that an earlier step already found: nothing is asked twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from stillwise.arrows import Scorer, Tools
from stillwise.parts import Scores
from stillwise.records import Problem, Score, Trace


class Given(Scorer):
    """What an earlier scoring step said of each trace; undecided where it said nothing of it."""

    kind: ClassVar[str] = "given"
    of: Scores
    """The scoring step."""

    def score(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> list[Score]:
        """One score for each trace, as it was found."""
        found = tools.scores[self.of]
        return [found.get(trace.id, Score(name=self.of, value=None, detail="not scored there")) for trace in traces]
