"""One of several models, chosen by what a student made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import Field, model_validator

from stillwise.arrows import Caller, Composer
from stillwise.parts import Input, Role


class ByStudent(Composer):
    """The candidate teacher whose student did best (DED: not the teacher that scores highest itself).

    A tie goes to the candidate that is named first.
    """

    kind: ClassVar[str] = "by_student"
    among: tuple[Role, ...] = Field(min_length=2)
    """The candidates."""
    measured: tuple[Input, ...] = Field(min_length=2)
    """For each candidate the evaluation of the student that learnt from it."""

    @model_validator(mode="after")
    def _matched(self) -> Self:
        if len(self.among) != len(self.measured):
            raise ValueError(f"{len(self.among)} candidates and {len(self.measured)} evaluations; each candidate needs one")
        return self

    def best(self, measured: Mapping[str, float]) -> str:
        """The role of the candidate that is chosen."""
        scores = [measured[name] for name in self.measured]
        return self.among[scores.index(max(scores))]

    def compose(self, callers: Mapping[str, Caller], measured: Mapping[str, float]) -> Caller:
        """The chosen candidate itself."""
        return callers[self.best(measured)]
