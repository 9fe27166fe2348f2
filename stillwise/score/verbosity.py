"""Reasoning verbosity without a judge: how much was written, and how much of it after the thought had arrived."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Scorer, Segmenter, Tools
from stillwise.records import Problem, Score, Trace
from stillwise.score.rethink import Scope, num_words, scoped


class VerbosityByLength(Scorer):
    """0 to 9 by the number of words, a level for each doubling: a ruler to hold judges against, not a judge.

    Reasoning Verbosity (Thinking with DistilQwen, §3.2.3) goes from minimal (0–1) to exhaustive (8–9); its rubric judges what
    is spelt out, which bare length only follows.
    """

    kind: ClassVar[str] = "verbosity_by_length"
    shortest: int = Field(default=25, ge=1)
    """At most so many words are 0; twice as many 1, and so on."""
    scope: Scope = "all"
    """``thought`` measures the thinking only."""

    def score(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> list[Score]:
        """One value for each trace; None where the scope holds no words."""
        return [self.of(trace) for trace in traces]

    def of(self, trace: Trace) -> Score:
        """The value of one trace."""
        words = num_words(scoped(trace, self.scope))
        if not words:
            return Score(name=self.kind, value=None, detail="no words")
        return Score(name=self.kind, value=min(9.0, max(0.0, math.log2(words / self.shortest))), detail=f"{words} words")


class AfterFirst(Scorer):
    """The share of a thought, in words, that comes after its first attempt: checks, other ways, going round in circles.

    One minus this is the outcome efficiency of arXiv 2412.21187 (§3.1), with the first attempt for the first correct one.
    """

    kind: ClassVar[str] = "after_first"
    attempts: Segmenter = Field(default="attempts", validate_default=True)
    """What an attempt is."""

    def score(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> list[Score]:
        """One share for each trace, with the number of attempts; None without a thought."""
        return [self.of(trace) for trace in traces]

    def of(self, trace: Trace) -> Score:
        """The share of one trace."""
        thought = trace.span("thinking") or ""
        spans, total = self.attempts.segment(thought), num_words(thought)
        if not spans or not total:
            return Score(name=self.kind, value=None, detail="no thought")
        first = num_words(thought[: spans[0].end])
        return Score(name=self.kind, value=1 - first / total, detail=f"{len(spans)} attempts")
