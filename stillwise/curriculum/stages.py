"""Stages of lessons: which output's traces a student sees at which level, in which order, and how much of each it learns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from stillwise.arrows import Lesson, Row, Scheduler, Target
from stillwise.errors import UserError, nearest
from stillwise.parts import Fields, Input
from stillwise.records import derive_seed

Order = Literal["as_given", "shuffled", "easy_to_hard", "hard_to_easy"]
UnknownLevel = Literal["drop", "take"]
UNION = "union"


def _as_range(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


Levels = Annotated[tuple[int, int], BeforeValidator(_as_range)]
"""Lowest and highest level, both included; one number stands for itself alone."""


class Take(Fields):
    """A share of one output's traces."""

    from_: Input = Field(alias="from")
    """The output whose traces are taken."""
    levels: Levels | None = None
    """Levels to take, both ends included; None takes all."""
    target: Target = "solution"
    """What the student learns of each trace: ``full`` includes the thought and its tags."""
    unknown_level: UnknownLevel = "drop"
    """What happens to a trace without a level where ``levels`` is set."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.levels and self.levels[0] > self.levels[1]:
            raise ValueError(f"levels {list(self.levels)} run backwards; write [{self.levels[1]}, {self.levels[0]}]")
        return self

    def accepts(self, row: Row) -> bool:
        """Whether this row belongs to the share."""
        return row.output == self.from_ and self.admits(row.level)

    def admits(self, level: int | None) -> bool:
        """Whether a trace of this level belongs to the share."""
        if self.levels is None:
            return True
        if level is None:
            return self.unknown_level == "take"
        return self.levels[0] <= level <= self.levels[1]


class Stage(Fields):
    """What a student trains on between two checkpoints."""

    name: str
    """Names the stage in tables and in the shuffle's seed."""
    take: tuple[Take, ...] = Field(min_length=1)
    """The shares that make up the stage."""
    order: Order = "shuffled"
    """The order of the lessons. Sorting by level keeps the shuffled order among equals and puts unknown levels last."""


class Stages(Scheduler):
    """A curriculum as an ordered list of stages (Teach Small Models to Reason by Curriculum Distillation, §4.2)."""

    kind: ClassVar[str] = "stages"
    stages: tuple[Stage, ...] = Field(min_length=1)
    """The stages in training order."""
    only: tuple[str, ...] = ()
    """Train these stages alone; empty trains all."""
    arrange: Literal["as_given", "reversed", "union"] = "as_given"
    """``reversed`` trains the last stage first; ``union`` shuffles all stages into one, called ``union``."""

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
                if not any(take.admits(level) for level in levels):
                    raise UserError(_nobody(stage, take, levels))

    @property
    def chosen(self) -> tuple[Stage, ...]:
        """The stages that are trained, in the order in which they are written."""
        return tuple(stage for stage in self.stages if not self.only or stage.name in self.only)

    def schedule(self, rows: Sequence[Row], seed: int) -> list[Lesson]:
        """Lessons stage by stage, in training order. The shuffle depends on seed, stage and trace only, not on row order.

        Raises UserError where a share finds no trace, naming stage, output, levels asked for and levels present.
        """
        stages = self.chosen
        if self.arrange == "union":
            pairs = [pair for stage in stages for pair in _taken(stage, rows)]
            return _lessons(UNION, "shuffled", pairs, seed)
        ordered = stages[::-1] if self.arrange == "reversed" else stages
        return [lesson for stage in ordered for lesson in _lessons(stage.name, stage.order, _taken(stage, rows), seed)]


class Single(Scheduler):
    """One stage from one output: the single-stage students (Teach Small Models to Reason by Curriculum Distillation, §4.1)."""

    kind: ClassVar[str] = "single"
    of: Input
    """The output whose traces are taken."""
    levels: Levels | None = None
    """Levels to take, both ends included; None takes all, unknown levels too."""
    target: Target = "solution"
    """What the student learns of each trace: ``full`` includes the thought and its tags."""
    order: Order = "shuffled"
    """The order of the lessons."""

    def schedule(self, rows: Sequence[Row], seed: int) -> list[Lesson]:
        """Lessons of the one stage, which is called ``single``; raises UserError where no trace is found."""
        take = Take.model_validate({"from": self.of, "levels": self.levels, "target": self.target})
        stage = Stage(name="single", take=(take,), order=self.order)
        return _lessons(stage.name, stage.order, _taken(stage, rows), seed)


Pair = tuple[Row, Take]


def _taken(stage: Stage, rows: Sequence[Row]) -> list[Pair]:
    pairs: list[Pair] = []
    for take in stage.take:
        found = [(row, take) for row in rows if take.accepts(row)]
        if not found:
            raise UserError(_not_selected(stage, take, rows))
        pairs.extend(found)
    return pairs


def _lessons(stage: str, order: Order, pairs: Sequence[Pair], seed: int) -> list[Lesson]:
    ordered = list(pairs)
    if order != "as_given":
        ordered.sort(key=lambda pair: derive_seed(seed, "curriculum", stage, pair[0].trace_id, pair[1].target))
    if order in ("easy_to_hard", "hard_to_easy"):
        sign = 1 if order == "easy_to_hard" else -1
        ordered.sort(key=lambda pair: (pair[0].level is None, sign * (pair[0].level or 0)))
    return [Lesson(stage=stage, trace_id=row.trace_id, target=take.target) for row, take in ordered]


def _not_selected(stage: Stage, take: Take, rows: Iterable[Row]) -> str:
    outputs = {row.output for row in rows}
    if take.from_ not in outputs:
        return f"{_place(stage, take)}: no selected trace comes from there; {nearest(take.from_, outputs)}"
    return _nobody(stage, take, {row.level for row in rows if row.output == take.from_})


def _nobody(stage: Stage, take: Take, levels: Collection[int | None]) -> str:
    known = ", ".join(str(level) for level in sorted(x for x in levels if x is not None)) or "none"
    unlevelled = " (and traces without a level)" if None in levels else ""
    low, high = take.levels or (0, 0)
    asked = f"level {low}" if low == high else f"levels {low} to {high}"
    return f"{_place(stage, take)}: no trace has {asked}; levels present: {known}{unlevelled}. Change 'levels' or the problems."


def _place(stage: Stage, take: Take) -> str:
    return f"stage {stage.name!r}, share from {take.from_!r}"
