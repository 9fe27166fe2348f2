"""Stages of lessons: which output's traces a student sees, in which order, how often, and how the stages follow each other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import cycle, islice
from math import ceil
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from stillwise.arrows import Lesson, Row, Scheduler, Target
from stillwise.curriculum.order import Order, Range, arranged, crossfaded, interleaved
from stillwise.curriculum.take import Levels, Take, Taken, lessons, no_level, taken
from stillwise.errors import UserError, nearest
from stillwise.parts import Fields, Input, Scores
from stillwise.records import derive_seed

Arrangement = Literal["as_given", "reversed", "union", "interleave", "linear_decay"]
UNION, MIXED = "union", "mixed"


class Stage(Fields):
    """What a student trains on between two checkpoints."""

    name: str
    """Names the stage in tables and in the shuffle's seed."""
    take: tuple[Take, ...] = Field(min_length=1)
    """The shares that make up the stage."""
    order: Order = "shuffled"
    """The order of the lessons. Sorting keeps the shuffled order among equals and puts what has no difficulty last."""
    by: Scores | None = None
    """The scoring step whose scores are the difficulty that orders go by; None goes by level."""
    medium: Range | None = None
    """Lowest and highest difficulty that count as medium, for ``medium_first``."""
    passes: int = Field(default=1, ge=1)
    """How often the lessons are listed, each time in a shuffle of its own; the trainer's epochs repeat the whole list."""
    replay: float = Field(default=0.0, ge=0)
    """Lessons of earlier stages that come again in this one, for each of its own; spread evenly, none twice while there are
    others."""

    @model_validator(mode="after")
    def _medium(self) -> Self:
        if (self.order == "medium_first") != (self.medium is not None):
            raise ValueError(f"stage {self.name!r}: 'order: medium_first' and 'medium: [lowest, highest]' go together")
        if self.medium and self.medium[0] > self.medium[1]:
            raise ValueError(f"stage {self.name!r}: medium {list(self.medium)} runs backwards")
        return self

    def listed(self, rows: Sequence[Row], seed: int) -> list[Taken]:
        """The stage's own lessons in their order, all passes."""
        found = taken(self.name, self.take, rows)
        each = [
            arranged(self.name, found, self.order, seed, by=self.by, medium=self.medium or (0, 0), number=number)
            for number in range(self.passes)
        ]
        return [one for held in each for one in held]


class Stages(Scheduler):
    """A curriculum as an ordered list of stages (Teach Small Models to Reason by Curriculum Distillation, §4.2).

    Medium first and harder ones gradually (Thinking with DistilQwen, §3.3): a stage each, one after the other, with a
    replay, or mixed into one by ``arrange: linear_decay``.
    """

    kind: ClassVar[str] = "stages"
    stages: tuple[Stage, ...] = Field(min_length=1)
    """The stages in training order."""
    only: tuple[str, ...] = ()
    """Train these stages alone; empty trains all."""
    arrange: Arrangement = "as_given"
    """``reversed`` trains the last stage first; the others make one stage: ``union`` shuffles, ``interleave`` lets all stages
    run side by side, ``linear_decay`` lets each fade into the next."""
    overlap: float = Field(default=1.0, ge=0, le=1)
    """How wide the fades of ``linear_decay`` are, as a share of what the stages' sizes allow; 0 is one after the other."""

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages share a name: {', '.join(names)}")
        unknown = [name for name in self.only if name not in names]
        if unknown:
            raise ValueError(f"'only' names no stage called {unknown[0]!r}; {nearest(unknown[0], names)}")
        return self

    def preflight(self, levels: Collection[int | None]) -> None:
        """Raises UserError where a share asks for levels that no problem has: known before any teacher is asked."""
        for stage in self.chosen:
            for take in stage.take:
                if take.if_none == "refuse" and not any(take.admits(level) for level in levels):
                    raise UserError(no_level(stage.name, take, levels))

    @property
    def chosen(self) -> tuple[Stage, ...]:
        """The stages that are trained, in the order in which they are written."""
        return tuple(stage for stage in self.stages if not self.only or stage.name in self.only)

    @property
    def listings(self) -> int:
        """How often at most a trace is listed: the passes of all chosen stages, replays counted."""
        return sum(ceil(stage.passes * (1 + stage.replay)) for stage in self.chosen)

    def schedule(self, rows: Sequence[Row], seed: int) -> list[Lesson]:
        """Lessons stage by stage, in training order. The shuffle depends on seed, stage and trace only, not on row order.

        Raises UserError where a share finds no trace, naming stage, output, what was asked for and what is there.
        """
        found = self._scheduled(rows, seed)
        if not found:
            raise UserError(f"no stage finds any of {len(rows)} selected traces; change 'where', 'levels' or the selection")
        return found

    def _scheduled(self, rows: Sequence[Row], seed: int) -> list[Lesson]:
        if self.arrange == "union":
            found = [one for stage in self.chosen for one in taken(stage.name, stage.take, rows) * stage.passes]
            return lessons(UNION, arranged(UNION, found, "shuffled", seed))
        listed = {stage.name: stage.listed(rows, seed) for stage in self.chosen}
        if self.arrange == "interleave":
            return lessons(MIXED, interleaved(list(listed.values())))
        if self.arrange == "linear_decay":
            return lessons(MIXED, crossfaded(list(listed.values()), self.overlap))
        ordered = self.chosen[::-1] if self.arrange == "reversed" else self.chosen
        return [lesson for i, stage in enumerate(ordered) for lesson in _with_replay(ordered[: i + 1], listed, seed)]


class Single(Scheduler):
    """One stage from one output: the single-stage students (Teach Small Models to Reason by Curriculum Distillation, §4.1)."""

    kind: ClassVar[str] = "single"
    of: Input | None = None
    """The output whose traces are taken; None takes all that were selected."""
    levels: Levels | None = None
    """Levels to take, both ends included; None takes all, unknown levels too."""
    target: Target = "solution"
    """What the student learns of each trace: ``full`` includes the thought and its tags."""
    spans: str = ""
    """Of the target only spans of this kind are learnt, the others are read; empty: all of it."""
    apart: bool = False
    """Each of these spans is an example of its own, after everything before it: one chunk of a trace at a time."""
    order: Order = "shuffled"
    """The order of the lessons."""

    def schedule(self, rows: Sequence[Row], seed: int) -> list[Lesson]:
        """Lessons of the one stage, which is called ``single``; raises UserError where no trace is found."""
        outputs = [self.of] if self.of else list(dict.fromkeys(row.output for row in rows))
        how = {"levels": self.levels, "target": self.target, "spans": self.spans, "apart": self.apart}
        take = tuple(Take.model_validate({"from": output, **how}) for output in outputs)
        return lessons("single", Stage(name="single", take=take, order=self.order).listed(rows, seed))


def _with_replay(stages: Sequence[Stage], listed: dict[str, list[Taken]], seed: int) -> list[Lesson]:
    """The last of these stages, with what it replays of those before it."""
    stage, mine = stages[-1], listed[stages[-1].name]
    count = round(stage.replay * len(mine))
    earlier = list(
        dict.fromkeys(
            (r.trace_id, take.target, take.spans, take.apart) for each in stages[:-1] for r, take in listed[each.name]
        )
    )
    if not count or not earlier:
        return lessons(stage.name, mine)
    earlier.sort(key=lambda key: derive_seed(seed, "replay", stage.name, *key))
    chosen = islice(cycle(earlier), count)
    again = [Lesson(stage=stage.name, trace_id=t, target=target, spans=s, apart=a) for t, target, s, a in chosen]
    return interleaved([lessons(stage.name, mine), again])
