"""A mixture of outputs over one set of problems: each problem once, shares exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import Field, model_validator

from stillwise.arrows import Row, Selector
from stillwise.parts import Fields, Input
from stillwise.records import Failure, derive_seed
from stillwise.select.correct import CommonSubset


class Share(Fields):
    """How much of a mixture comes from one output."""

    from_: Input = Field(alias="from")
    """The output whose traces are taken."""
    share: float = Field(ge=0, le=1)
    """The part of the problems that learns from it."""


class Mixture(Selector):
    """One trace for each problem that every output solved, so many from each output as its share says, to the nearest trace.

    Small Models Struggle to Learn from Strong Reasoners, arXiv 2502.12143: a fifth long (or a large teacher's), the rest short
    (or a small teacher's). Which problem gets which follows from ``seed`` and the problem alone; a share of 1 is the pure set.
    """

    kind: ClassVar[str] = "mixture"
    of: tuple[Share, ...] = Field(min_length=1)
    """The outputs and their shares, which add up to 1."""
    seed: int = 0
    """Another one deals the problems otherwise."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = sum(each.share for each in self.of)
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares add up to {total:g}, not to 1")
        return self

    def select(self, rows: Sequence[Row]) -> tuple[list[Row], list[Failure]]:
        """Rows by problem in order of first appearance; a failure for each problem that an output did not solve."""
        outputs = tuple(each.from_ for each in self.of)
        solved, failures = CommonSubset(of=outputs).select(rows)
        best = {(row.output, row.problem_id): row for row in solved}
        problems = list(dict.fromkeys(row.problem_id for row in solved))
        dealt = sorted(problems, key=lambda problem: derive_seed(self.seed, self.kind, problem))
        source: dict[str, str] = {}
        for each, end in zip(self.of, self._ends(len(problems)), strict=True):
            source.update(dict.fromkeys(dealt[len(source) : end], each.from_))
        return [best[source[problem], problem] for problem in problems], failures

    def _ends(self, count: int) -> list[int]:
        """Where each output's part of ``count`` problems ends: the shares so far, rounded, so none is off by a whole one."""
        totals = [sum(each.share for each in self.of[: n + 1]) for n in range(len(self.of))]
        return [int(count * total + 0.5) for total in totals]
