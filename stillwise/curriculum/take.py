"""Shares of outputs: which traces a stage of a curriculum takes, by level and by scores, and how much of each is learnt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from stillwise.arrows import Lesson, Row, Target
from stillwise.errors import UserError, nearest
from stillwise.parts import Fields, Input, Scores

Unknown = Literal["drop", "take"]


def _as_range(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


def _as_conditions(value: Any) -> Any:
    """``{difficulty: 2, cd: [4, null]}`` as a list of conditions."""
    if not isinstance(value, Mapping):
        return value
    return [_condition(str(score), asked) for score, asked in value.items()]


def _condition(score: str, asked: Any) -> dict[str, Any]:
    if isinstance(asked, (list, tuple)) and len(asked) == 2:
        return {"score": score, "at_least": asked[0], "at_most": asked[1]}
    return {"score": score, "at_least": asked, "at_most": asked}


Levels = Annotated[tuple[int, int], BeforeValidator(_as_range)]
"""Lowest and highest level, both included; one number stands for itself alone."""


class Where(Fields):
    """A condition on a score of each trace; without a bound it asks only that the score was decided."""

    score: Scores
    """The scoring step."""
    at_least: float | None = None
    """The lowest value, included; None sets none."""
    at_most: float | None = None
    """The highest value, included; None sets none."""
    undecided: Unknown = "drop"
    """What happens to a trace of which the step decided nothing."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"[{self.at_least:g}, {self.at_most:g}] runs backwards; write the lowest value first")
        return self

    def admits(self, row: Row) -> bool:
        """Whether this trace's score lies in the range."""
        value = row.scores.get(self.score)
        if value is None:
            return self.undecided == "take"
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        low = "" if self.at_least is None else f"{self.at_least:g} <= "
        high = "" if self.at_most is None else f" <= {self.at_most:g}"
        return f"{low}{self.score}{high}"


class Take(Fields):
    """A share of one output's traces."""

    from_: Input = Field(alias="from")
    """The output whose traces are taken."""
    levels: Levels | None = None
    """Levels to take, both ends included; None takes all."""
    where: Annotated[tuple[Where, ...], BeforeValidator(_as_conditions)] = ()
    """Conditions on scores, all of which must hold: scoring step to a value, or to [lowest, highest]."""
    target: Target = "solution"
    """What the student learns of each trace: ``full`` includes the thought and its tags."""
    spans: str = ""
    """Of the target only spans of this kind are learnt, the others are read (``chunk``, ``question``, …); empty: all of it."""
    apart: bool = False
    """Each of these spans is an example of its own, after everything before it: one chunk of a trace at a time."""
    unknown_level: Unknown = "drop"
    """What happens to a trace without a level where ``levels`` is set."""
    if_none: Literal["refuse", "skip"] = "refuse"
    """What happens where no trace belongs to the share: an error that says what there is, or the share is left out."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.apart and not self.spans:
            raise ValueError("apart: true needs the kind of spans that are learnt one at a time; name it under spans")
        if self.levels and self.levels[0] > self.levels[1]:
            raise ValueError(f"levels {list(self.levels)} run backwards; write [{self.levels[1]}, {self.levels[0]}]")
        return self

    def accepts(self, row: Row) -> bool:
        """Whether this row belongs to the share."""
        return row.output == self.from_ and self.admits(row.level) and all(each.admits(row) for each in self.where)

    def admits(self, level: int | None) -> bool:
        """Whether a trace of this level may belong to the share."""
        if self.levels is None:
            return True
        if level is None:
            return self.unknown_level == "take"
        return self.levels[0] <= level <= self.levels[1]


Taken = tuple[Row, Take]
"""A trace, and the share that it came by."""


def taken(stage: str, shares: Sequence[Take], rows: Sequence[Row]) -> list[Taken]:
    """The traces of all shares, in the order of shares, then rows.

    Raises UserError where a share finds no trace and may not be left out, naming stage, output, what was asked for and what
    is there.
    """
    found: list[Taken] = []
    for take in shares:
        mine = [(row, take) for row in rows if take.accepts(row)]
        if not mine and take.if_none == "refuse":
            raise UserError(_nothing(stage, take, rows))
        found.extend(mine)
    return found


def lessons(stage: str, found: Iterable[Taken]) -> list[Lesson]:
    """The traces as lessons of a stage."""
    return [
        Lesson(stage=stage, trace_id=row.trace_id, target=take.target, spans=take.spans, apart=take.apart)
        for row, take in found
    ]


def no_level(stage: str, take: Take, levels: Iterable[int | None]) -> str:
    """Says that no trace has the levels that a share asks for, and which there are."""
    present = set(levels)
    known = ", ".join(str(level) for level in sorted(x for x in present if x is not None)) or "none"
    unlevelled = " (and traces without a level)" if None in present else ""
    low, high = take.levels or (0, 0)
    asked = f"level {low}" if low == high else f"levels {low} to {high}"
    return f"{_place(stage, take)}: no trace has {asked}; levels present: {known}{unlevelled}. Change 'levels' or the problems."


def _nothing(stage: str, take: Take, rows: Sequence[Row]) -> str:
    outputs = {row.output for row in rows}
    if take.from_ not in outputs:
        return f"{_place(stage, take)}: no selected trace comes from there; {nearest(take.from_, outputs)}"
    mine = [row for row in rows if row.output == take.from_]
    leveled = [row for row in mine if take.admits(row.level)]
    if not leveled:
        return no_level(stage, take, {row.level for row in mine})
    said = "; ".join(f"{each} holds for {sum(map(each.admits, leveled))}, {_spread(each, leveled)}" for each in take.where)
    return f"{_place(stage, take)}: no trace of {len(leveled)} meets 'where': {said}. Change 'where' or the scorer."


def _spread(condition: Where, rows: Sequence[Row]) -> str:
    values = [row.scores[condition.score] for row in rows if condition.score in row.scores]
    return f"values run from {min(values):g} to {max(values):g}" if values else "none was decided"


def _place(stage: str, take: Take) -> str:
    return f"stage {stage!r}, share from {take.from_!r}"
