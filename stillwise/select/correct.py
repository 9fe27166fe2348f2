"""Keeping what a verifier accepted: the first correct trace of each problem, and the problems that every mode solved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Row, Selector
from stillwise.parts import Input
from stillwise.records import Failure, Outcome

Key = tuple[str, str]
"""Output and problem."""


def first_correct_of(rows: Iterable[Row]) -> dict[Key, Row]:
    """The correct row with the lowest sample index for each output and problem; a tie goes to the earlier row."""
    best: dict[Key, Row] = {}
    for row in rows:
        key = (row.output, row.problem_id)
        if row.outcome == Outcome.CORRECT and (key not in best or row.sample_index < best[key].sample_index):
            best[key] = row
    return best


def level_counts(rows: Iterable[Row]) -> dict[int | None, int]:
    """How many problems (not rows) stand at each level, easiest first; None counts the problems without a level, last."""
    levels = {row.problem_id: row.level for row in rows}
    counts = Counter(levels.values())
    return {level: counts[level] for level in sorted(counts, key=lambda x: (x is None, x or 0))}


class FirstCorrect(Selector):
    """The first correct trace of each problem, for each output by itself."""

    kind: ClassVar[str] = "first_correct"

    def select(self, rows: Sequence[Row]) -> tuple[list[Row], list[Failure]]:
        """Rows by output, then problem, each in order of first appearance; a failure for each pair without a correct trace."""
        keys = dict.fromkeys((row.output, row.problem_id) for row in rows)
        outputs = list(dict.fromkeys(output for output, _ in keys))
        best = first_correct_of(rows)
        kept = [best[key] for output in outputs for key in keys if key[0] == output and key in best]
        return kept, [_failure(self.kind, problem, [output]) for output, problem in keys if (output, problem) not in best]


class CommonSubset(Selector):
    """The problems that every named output solved, so that students of different outputs learn from the same ones."""

    kind: ClassVar[str] = "common_subset"
    of: tuple[Input, ...] = Field(min_length=1)
    """The outputs that must each hold a correct trace of a problem."""
    keep: Literal["first_correct"] = "first_correct"
    """Which of an output's correct traces goes on: the one with the lowest sample index."""

    def select(self, rows: Sequence[Row]) -> tuple[list[Row], list[Failure]]:
        """One row for each named output and common problem: outputs as named, problems in order of first appearance.

        A problem that drops out gives one failure whose reason names the outputs without a correct trace, as in
        ``no_correct:think`` or ``no_correct:think+no_think``. Rows of other outputs are ignored.
        """
        best = first_correct_of(rows)
        problems = list(dict.fromkeys(row.problem_id for row in rows if row.output in self.of))
        lacking = {problem: [out for out in self.of if (out, problem) not in best] for problem in problems}
        kept = [best[out, problem] for out in dict.fromkeys(self.of) for problem in problems if not lacking[problem]]
        return kept, [_failure(self.kind, problem, outs) for problem, outs in lacking.items() if outs]


def _failure(step: str, problem: str, lacking: Sequence[str]) -> Failure:
    names = "+".join(dict.fromkeys(lacking))
    return Failure(step=step, item=problem, reason=f"no_correct:{names}", detail="no trace was verified as correct")
