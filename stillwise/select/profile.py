"""What a student can do, by the cognitive difficulty of problems: its pass rate and how likely it finds others' traces."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stillwise.arrows import Row
from stillwise.records import Outcome

TOP = 9
"""Marks are 0 to 9."""


def binned(mark: float) -> int:
    """The bin of a mark: the nearest whole one, halves upwards, in range."""
    return min(TOP, max(0, math.floor(mark + 0.5)))


def named(value: object) -> object:
    """One name as a tuple of one, so that a recipe may write either."""
    return (value,) if isinstance(value, str) else value


def first_of(row: Row, steps: Sequence[str]) -> float | None:
    """What the first of these scoring steps that decided anything of the trace said of it."""
    return next((row.scores[step] for step in steps if step in row.scores), None)


def by_problem(rows: Iterable[Row], steps: Sequence[str]) -> dict[str, float]:
    """Each problem's mean score over its traces; a problem without any scored trace is not there."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        if (mark := first_of(row, steps)) is not None:
            found[row.problem_id].append(mark)
    return {problem: statistics.fmean(marks) for problem, marks in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """A student at one cognitive difficulty."""

    cd: int
    problems: int
    k: int
    """Correct attempts."""
    n: int
    """Decided attempts: an attempt that was cut off is a failed one, one that nobody could judge is none."""
    likelihood: float | None
    """Mean over traces of the log-probability per token, in nats; None where it was not measured."""

    @property
    def pass_rate(self) -> float | None:
        """k over n, None without attempts."""
        return self.k / self.n if self.n else None


def profiled(
    cds: Mapping[str, float], attempts: Iterable[Row], candidates: Iterable[Row], likelihood: Sequence[str]
) -> list[Bin]:
    """One bin for each difficulty at which there are problems, easiest first; ``cds`` are the problems' difficulties."""
    places = {problem: binned(cd) for problem, cd in cds.items()}
    tries: defaultdict[int, list[bool]] = defaultdict(list)
    for row in attempts:
        if row.problem_id in places and row.outcome in (Outcome.CORRECT, Outcome.INCORRECT, Outcome.TRUNCATED):
            tries[places[row.problem_id]].append(row.outcome == Outcome.CORRECT)
    likely: defaultdict[int, list[float]] = defaultdict(list)
    for row in candidates:
        if row.problem_id in places and (found := first_of(row, likelihood)) is not None:
            likely[places[row.problem_id]].append(found)
    return [
        Bin(
            cd=cd,
            problems=sum(place == cd for place in places.values()),
            k=sum(tries[cd]),
            n=len(tries[cd]),
            likelihood=statistics.fmean(likely[cd]) if likely[cd] else None,
        )
        for cd in sorted(set(places.values()))
    ]


THIRDS = ("easy", "middle", "hard")


def thirds(marks: Iterable[float]) -> dict[float, str]:
    """Each distinct mark's third: easy, middle or hard, by its rank; of one mark alone the middle."""
    distinct = sorted(set(marks))
    if len(distinct) == 1:
        return {distinct[0]: "middle"}
    return {mark: THIRDS[min(2, 3 * place // len(distinct))] for place, mark in enumerate(distinct)}


def lengths(before: Iterable[Row], after: Iterable[Row], difficulty: Mapping[str, float]) -> dict[str, dict[str, object]]:
    """Mean tokens of traces of easy, middle and hard problems before and after a choice, with how many there are.

    The counterpart of Thinking with DistilQwen, Table 3, in the training data. Traces of unknown length are left out.
    """
    named = thirds(difficulty.values()) if difficulty else {}
    found: dict[str, dict[str, object]] = {third: {} for third in THIRDS}
    for when, rows in (("before", before), ("after", after)):
        held: defaultdict[str, list[int]] = defaultdict(list)
        for row in rows:
            if row.problem_id in difficulty and row.num_tokens is not None:
                held[named[difficulty[row.problem_id]]].append(row.num_tokens)
        for third in THIRDS:
            mean = statistics.fmean(held[third]) if held[third] else None
            found[third][when] = {"traces": len(held[third]), "mean_tokens": mean}
    return found
