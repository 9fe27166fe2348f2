"""What a student's own answers are worth: right, well-formed, and as long or as hard as is wanted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, model_validator

from stillwise.arrows import Reward, Scorer, Tools, Verifier
from stillwise.boxed import has_box
from stillwise.records import THINK_CLOSE, THINK_OPEN, Finish, Outcome, Problem, Trace

_THOUGHT = re.compile(rf"\s*{re.escape(THINK_OPEN)}.*?{re.escape(THINK_CLOSE)}(?P<rest>.*)\Z", re.DOTALL)


class Accurate(Reward):
    """1 for a right answer, 0 for a wrong, missing or unfinished one; None where the grader itself failed.

    The accuracy reward of DeepSeek-R1 (arXiv 2501.12948, §2.2.2), by verifiers instead of a model.
    """

    kind: ClassVar[str] = "accurate"
    until: Verifier = Field(default="by_answer_kind", validate_default=True)
    """Who decides."""

    def values(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[float | None]:
        """One value for each answer."""
        from stillwise.runtime.draw import verdicts

        found = verdicts(self.until, [problem for problem, _ in pairs], [trace for _, trace in pairs], tools)
        unknown = (Outcome.TIMED_OUT, Outcome.FAILED)
        return [None if v.outcome in unknown else float(v.outcome is Outcome.CORRECT) for v in found]


class Formatted(Reward):
    """1 for an answer that ended by itself in the wanted form, else 0 (DeepSeek-R1, arXiv 2501.12948, §2.2.2)."""

    kind: ClassVar[str] = "formatted"
    thought: bool = True
    """Whether the answer has to begin with one thought in its tags; without, no tag may stand in it."""
    box: bool = True
    r"""Whether the solution has to hold a ``\boxed{…}``."""

    def values(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[float | None]:
        """One value for each answer."""
        return [float(self.fits(trace)) for _, trace in pairs]

    def fits(self, trace: Trace) -> bool:
        """Whether one answer has the form."""
        if trace.finish in (Finish.LENGTH, Finish.FAILED):
            return False
        solution = trace.text
        if self.thought:
            found = _THOUGHT.match(trace.text)
            if found is None:
                return False
            solution = found["rest"]
        if THINK_OPEN in solution or THINK_CLOSE in solution:
            return False
        return bool(solution.strip()) and (has_box(solution) or not self.box)


class Within(Reward):
    """-|f - clip(f, low, high)| of a score f: nothing inside the interval, minus the distance to it outside.

    Thinking with DistilQwen, equations 1 and 2, with the trained RV and CD reward models as f; with ``length`` as f it is the
    control that knows lengths only.
    """

    kind: ClassVar[str] = "within"
    score: Scorer = Field(default="reward", validate_default=True)
    """What f is."""
    low: float
    """L, in the score's unit divided by ``scale``."""
    high: float
    """H, in the same unit."""
    scale: float = Field(default=1.0, gt=0)
    """What the score is divided by first: reward models say numbers in [0, 1], other scores have other units."""

    @model_validator(mode="after")
    def _ordered(self) -> Within:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) lies above high ({self.high:g})")
        return self

    def values(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[float | None]:
        """One value for each answer; None where there is no score."""
        scores = scored(self.score, pairs, tools)
        return [None if f is None else -self.distance(f / self.scale) for f in scores]

    def distance(self, f: float) -> float:
        """How far a score is from the interval."""
        return abs(f - min(max(f, self.low), self.high))


class Scored(Reward):
    """A score as it is: the more the better (the fewer, with a negative weight)."""

    kind: ClassVar[str] = "scored"
    score: Scorer
    """Whose number it is."""
    scale: float = Field(default=1.0, gt=0)
    """What the score is divided by."""

    def values(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[float | None]:
        """One value for each answer; None where there is no score."""
        return [None if f is None else f / self.scale for f in scored(self.score, pairs, tools)]


class Overlong(Reward):
    """0 up to a length, then falling in a straight line to -1 at the limit, and -1 for answers that were cut off.

    DAPO, arXiv 2503.14476, eq. 13 (soft overlong punishment), lengths in generated tokens.
    """

    kind: ClassVar[str] = "overlong"
    limit: int = Field(default=20480, ge=1)
    """The longest answer that is expected."""
    buffer: int = Field(default=4096, ge=1)
    """How many tokens before the limit the penalty begins."""

    def values(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[float | None]:
        """One value for each answer; None where nobody counted its tokens."""
        return [self.of(trace) for _, trace in pairs]

    def of(self, trace: Trace) -> float | None:
        """The value of one answer."""
        if trace.finish is Finish.LENGTH:
            return -1.0
        if trace.num_tokens is None:
            return None
        return -min(1.0, max(0.0, (trace.num_tokens - (self.limit - self.buffer)) / self.buffer))


def scored(scorer: Scorer, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[float | None]:
    """A scorer's number for each answer; answers to one problem that stand together are scored together."""
    groups: list[tuple[Problem, list[Trace]]] = []
    for problem, trace in pairs:
        if not groups or groups[-1][0] is not problem:
            groups.append((problem, []))
        groups[-1][1].append(trace)
    return [score.value for found in scorer.score_all(groups, tools) for score in found]
