"""Choosing the traces that suit one student: by what it can do, how hard they are, and how much they write."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from heapq import heappop, heappush
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from stillwise.arrows import Row, Selector
from stillwise.parts import Input, Scores
from stillwise.records import Failure, Outcome, digest
from stillwise.select.profile import TOP, Bin, binned, by_problem, first_of, lengths, named, profiled

Standing = Literal["mastered", "learning", "beyond"]
Cell = tuple[str, int, int]
"""Domain, CD of the problem, RV of the trace."""
Waiting = tuple[int, int, Row]
"""How often its problem was served when the row was put here, its place in the hash order, the row."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a profile says about one difficulty: how the student stands, and the verbosities that suit it there."""

    bin: Bin
    standing: Standing
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Considered:
    """What a choice rests on."""

    candidates: Sequence[Row]
    marks: Mapping[str, int]
    """Each problem's difficulty bin."""
    plans: Mapping[int, Plan]
    fitting: Sequence[Row]
    """The candidates that suit the student."""


class TargetAware(Selector):
    """A budget of traces for one student: in reach of what it can do, with much written where it fails (DistilQwen, §3.2.3).

    The paper samples "an optimal subset" for a target student and prints no rule or number; this one is ours.

    1. Profile. A problem's cognitive difficulty (CD) is the mean mark of its candidates, binned to a whole number. A bin's pass
       rate is that of the student's own attempts at its problems; its likelihood that of the candidates to the student.
    2. CD range. A bin is *mastered* above a pass rate of ``mastered``. It is *in reach* from a pass rate of ``reach`` on, or
       where the student finds the traces about as likely (``likely_within``) as those of the problems that it passes: what it
       can follow it can learn, though it does not find it itself. The range goes from the easiest bin to the hardest one in
       reach; bins above are *beyond*. Without attempts, every bin is being learnt.
    3. RV range. Where the pass rate is 1, the verbosity in the middle of the range is the candidates' 10th percentile; where it
       is 0, their 90th; linear between, and ``verbosity_width`` to either side. So easy problems get short traces and hard ones
       long ones, which is what the paper's Table 3 shows of its students.
    4. Sampling. The cells domain × CD × RV are served in turn, one trace each, until the budget is spent: each cell gets its
       equal part or all that it has. Mastered bins take ``mastered_share`` of the budget at most. Within a cell, problems with
       fewer chosen traces come first, then the order of a hash of the trace: nothing depends on the order of the rows.
    """

    kind: ClassVar[str] = "target_aware"
    of: tuple[Input, ...] = Field(min_length=1)
    """The outputs that traces are chosen from: one for each teacher, say."""
    attempts: Input | None = None
    """The student's own verified tries at the same problems (all of them: retries until success would flatter it)."""
    verbosity: tuple[Scores, ...] = Field(min_length=1)
    """The scoring steps that gave the candidates their Reasoning Verbosity (RV)."""
    difficulty: tuple[Scores, ...] = Field(min_length=1)
    """The scoring steps that gave them their Cognitive Difficulty (CD)."""
    likelihood: tuple[Scores, ...] = ()
    """The scoring steps that say how likely the student finds them, in nats per token."""
    budget: int = Field(ge=1)
    """Traces wanted."""
    per_problem: int = Field(default=2, ge=1)
    """Traces of a problem at most."""
    only_correct: bool = True
    """Whether only traces that were verified as correct are candidates."""
    mastered: float = Field(default=0.9, ge=0, le=1)
    """Above this pass rate there is little left to learn."""
    mastered_share: float = Field(default=0.2, ge=0, le=1)
    """Most that mastered problems may take of the budget; they teach that an easy problem wants a short thought."""
    reach: float = Field(default=0.05, ge=0, le=1)
    """From this pass rate on a problem is in reach."""
    likely_within: float = Field(default=0.1, ge=0)
    """A bin is in reach, too, if its likelihood is so near to that of the bins that are passed, in nats per token."""
    verbosity_width: float = Field(default=1.5, ge=0)
    """How far from the middle of its range a trace's RV may lie."""

    _one = field_validator("of", "verbosity", "difficulty", "likelihood", mode="before")(named)

    @model_validator(mode="after")
    def _own_attempts(self) -> TargetAware:
        if self.attempts in self.of:
            raise ValueError("attempts are the student's own tries; they are not chosen from, so 'of' must not name them")
        return self

    def select(self, rows: Sequence[Row]) -> tuple[list[Row], list[Failure]]:
        """The chosen rows in the order given; a failure for each problem without any, with the reason."""
        found = self._considered(rows)
        chosen = {row.trace_id for row in self._sampled(found)}
        kept = [row for row in found.fitting if row.trace_id in chosen]
        reached = {row.problem_id for row in kept}
        reasons = self._reasons(rows, found)
        return kept, [Failure(step=self.kind, item=p, reason=why) for p, why in reasons.items() if p not in reached]

    def figures(self, rows: Sequence[Row], kept: Sequence[Row]) -> Mapping[str, Any]:
        """The profile with the ranges that follow from it, what the cells hold and gave, and lengths by difficulty."""
        found = self._considered(rows)
        given = Counter(self._cell(row, found) for row in kept)
        held = Counter(self._cell(row, found) for row in found.fitting)
        in_range = [plan.bin.cd for plan in found.plans.values() if plan.standing != "beyond"]
        return {
            "sort": self.kind,
            "asked": self.budget,
            "chosen": len(kept),
            "candidates": len(found.candidates),
            "fitting": len(found.fitting),
            "cd_range": [min(in_range), max(in_range)] if in_range else None,
            "profile": [_shown(plan) for plan in found.plans.values()],
            "cells": [
                {"domain": domain, "cd": cd, "rv": rv, "fitting": held[domain, cd, rv], "chosen": given[domain, cd, rv]}
                for domain, cd, rv in sorted(held)
            ],
            "outputs": dict(sorted(Counter(row.output for row in kept).items())),
            "lengths": lengths(found.candidates, kept, found.marks),
        }

    def _considered(self, rows: Sequence[Row]) -> Considered:
        candidates = [r for r in rows if r.output in self.of and (r.outcome == Outcome.CORRECT or not self.only_correct)]
        marks = by_problem(candidates, self.difficulty)
        tries = [row for row in rows if row.output == self.attempts]
        plans = self._planned(profiled(marks, tries, candidates, self.likelihood), candidates)
        found = Considered(candidates, {problem: binned(cd) for problem, cd in marks.items()}, plans, [])
        return replace(found, fitting=[row for row in candidates if self._unfit(row, found) is None])

    def _planned(self, bins: Sequence[Bin], candidates: Sequence[Row]) -> dict[int, Plan]:
        marks = sorted(rv for row in candidates if (rv := first_of(row, self.verbosity)) is not None)
        if not marks:
            return {}
        least, most = marks[(len(marks) - 1) // 10], marks[(len(marks) - 1) * 9 // 10]
        hardest = max((one.cd for one in bins if self._in_reach(one, bins)), default=-1)
        plans = {}
        for one in bins:
            rate = one.pass_rate
            middle = most - (most - least) * (0.5 if rate is None else rate)
            standing: Standing = "learning"
            if one.cd > hardest:
                standing = "beyond"
            elif rate is not None and rate > self.mastered:
                standing = "mastered"
            plans[one.cd] = Plan(one, standing, middle - self.verbosity_width, middle + self.verbosity_width)
        return plans

    def _in_reach(self, one: Bin, bins: Sequence[Bin]) -> bool:
        if one.pass_rate is None or one.pass_rate >= self.reach:
            return True
        passed = [b.likelihood for b in bins if b.likelihood is not None and b.pass_rate and b.pass_rate >= self.reach]
        return one.likelihood is not None and bool(passed) and one.likelihood >= min(passed) - self.likely_within

    def _unfit(self, row: Row, found: Considered) -> str | None:
        """Why a candidate does not suit the student, or None."""
        rv = first_of(row, self.verbosity)
        plan = found.plans.get(found.marks.get(row.problem_id, -1))
        if rv is None or plan is None:
            return "unscored"
        if plan.standing == "beyond":
            return "beyond_reach"
        return None if plan.low <= rv <= plan.high else "verbosity_out_of_range"

    def _cell(self, row: Row, found: Considered) -> Cell:
        return row.domain or "unknown", found.marks[row.problem_id], binned(first_of(row, self.verbosity) or 0.0)

    def _sampled(self, found: Considered) -> Iterator[Row]:
        """Cells in turn until the budget is spent or nothing is left."""
        left = {"mastered": int(self.budget * self.mastered_share)}
        cells: defaultdict[Cell, list[Waiting]] = defaultdict(list)
        for place, row in enumerate(sorted(found.fitting, key=lambda row: digest(row.trace_id))):
            cells[self._cell(row, found)].append((0, place, row))
        taken: Counter[str] = Counter()
        queues = [(cells[cell], found.plans[cell[1]].standing) for cell in sorted(cells)]
        total = 0
        while queues:
            for queue, standing in queues:
                if total == self.budget:
                    return
                if left.get(standing, 1) <= 0:
                    queue.clear()
                if (best := self._next(queue, taken)) is not None:
                    taken[best.problem_id] += 1
                    left["mastered"] -= standing == "mastered"
                    total += 1
                    yield best
            queues = [each for each in queues if each[0]]

    def _next(self, queue: list[Waiting], taken: Counter[str]) -> Row | None:
        """Takes the row of the problem with the fewest chosen traces; what waited while its problem was served waits again."""
        while queue:
            known, place, row = heappop(queue)
            times = taken[row.problem_id]
            if times == known:
                return row
            if times < self.per_problem:
                heappush(queue, (times, place, row))
        return None

    def _reasons(self, rows: Sequence[Row], found: Considered) -> dict[str, str]:
        """For each problem of the candidates' outputs the reason that would drop it, the farthest that any trace came."""
        order = ("no_correct", "unscored", "beyond_reach", "verbosity_out_of_range", "over_budget")
        reasons: dict[str, str] = {}
        for row in rows:
            if row.output not in self.of:
                continue
            right = row.outcome == Outcome.CORRECT or not self.only_correct
            why = (self._unfit(row, found) or "over_budget") if right else "no_correct"
            reasons[row.problem_id] = max(reasons.get(row.problem_id, "no_correct"), why, key=order.index)
        return reasons


def _shown(plan: Plan) -> dict[str, Any]:
    return {
        **asdict(plan.bin),
        "pass_rate": plan.bin.pass_rate,
        "standing": plan.standing,
        "rv_range": [max(0.0, plan.low), min(float(TOP), plan.high)],
    }
