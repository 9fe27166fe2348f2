"""Competence-based pacing: what is drawn from grows with the student's assumed competence."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Lesson, Row, Scheduler
from stillwise.curriculum.order import difficulty
from stillwise.curriculum.take import Take, Taken, lessons, taken
from stillwise.errors import UserError
from stillwise.parts import Scores
from stillwise.records import derive_seed

STAGE = "paced"


class Competence(Scheduler):
    """Lessons drawn from the easiest share of the traces, a share that grows with time (Platanios et al., arXiv 1903.09848).

    Competence at time t is min(1, (t (1 - start^root) + start^root)^(1/root)), t running from 0 to 1 over ``pace`` of the
    lessons (their equation 8); a trace may be drawn once its place among all difficulties is at most that.
    """

    kind: ClassVar[str] = "competence"
    take: tuple[Take, ...] = Field(min_length=1)
    """The shares that are drawn from."""
    by: Scores | None = None
    """The scoring step whose scores are the difficulty; None goes by level. What has none counts as hardest."""
    start: float = Field(default=0.01, gt=0, le=1)
    """The share of the traces, easiest first, that the first lessons are drawn from."""
    root: float = Field(default=2.0, gt=0)
    """1 grows linearly, 2 with the square root: new traces come more slowly the more there are."""
    pace: float = Field(default=0.5, gt=0, le=1)
    """The share of the lessons after which all traces are drawn from. The paper sets it from a baseline's speed."""
    passes: int = Field(default=1, ge=1)
    """Lessons for each trace, on average: they are drawn with repetition."""

    def schedule(self, rows: Sequence[Row], seed: int) -> list[Lesson]:
        """The lessons of one stage, called ``paced``; raises UserError where a share finds no trace."""
        found = sorted(taken(STAGE, self.take, rows), key=self._key)
        if not found:
            raise UserError(f"no share finds any of {len(rows)} selected traces; change 'where', 'levels' or the selection")
        places = self._places(found)
        total = len(found) * self.passes
        drawn = []
        for number in range(total):
            open_to = max(1, bisect_right(places, self.competence(number / total)), bisect_right(places, places[0]))
            drawn.append(found[derive_seed(seed, "competence", number) % open_to])
        return lessons(STAGE, drawn)

    def competence(self, time: float) -> float:
        """Competence after this share of the lessons."""
        floor = pow(self.start, self.root)
        reached: float = pow(min(1.0, time / self.pace) * (1 - floor) + floor, 1 / self.root)
        return min(1.0, reached)

    def _key(self, one: Taken) -> tuple[bool, float, str, str]:
        value = difficulty(one[0], self.by)
        return value is None, value or 0.0, one[0].trace_id, one[1].target

    def _places(self, found: Sequence[Taken]) -> list[float]:
        """For each trace the share of all that are at most as difficult."""
        keys = [self._key(one)[:2] for one in found]
        return [bisect_right(keys, key) / len(keys) for key in keys]
