"""Traces whose verbosity and difficulty are known from how they were made, and the marks that a judge should give them.

A trace is a list of units; each unit knows what it is: a step worked out, a check, a step done again, something said before,
or words that say nothing. Marks follow from these facts and from the sum itself, with noise; never from length. Words that
say nothing make a trace long and earn nothing; hard sums come terse and easy ones long, so that length is no guide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Literal

from stillwise.micro import solutions
from stillwise.micro.families import Sum
from stillwise.micro.solutions import Operation

Rubric = Literal["verbosity", "cognitive_difficulty", "difficulty", "verbosity_fit"]
RUBRICS: tuple[Rubric, ...] = ("verbosity", "cognitive_difficulty", "difficulty", "verbosity_fit")
Kind = Literal["line", "split", "columns", "check", "redone", "repeat", "filler"]
WORTH: dict[str, float] = {"line": 1, "split": 2, "columns": 3, "check": 2, "redone": 1.5, "repeat": 1, "filler": 0}
"""How much reasoning a unit writes out; one line for an operation is the least that counts as a step."""
SCALE = ((0.0, 0.5), (1.0, 2.5), (2.0, 4.0), (3.0, 5.0), (5.0, 7.0), (8.0, 9.0))
"""Worth per needed operation to Reasoning Verbosity, along the rubric's anchors; linear between the points."""
NOISE = 0.6
"""Standard deviation of a mark on 0 to 9 around what the facts say."""
EASY_BELOW, HARD_FROM, DIFFICULTY_NOISE = 1.0, 2.3, 0.25
WRONG_LINES = 0.08
"""Share of single lines with a wrong result, which changes no mark: right and wrong is not what is judged."""
BOXED_THOUGHTS = 0.15
"""Share of thoughts that end in the answer, as rewritten ones do; none while the judge is trained."""

FILLERS = (
    "Okay, let me think about this carefully.\n",
    "Hmm, numbers are fun.\n",
    "I should take my time with this one.\n",
    "Let me see what I have here.\n",
    "All right, I will go on with the next part now.\n",
    "This is a sum, and I know sums.\n",
    "So far so good, I think.\n",
    "Now, where was I?\n",
    "I want to be careful, because care is important.\n",
    "It is good to go step by step.\n",
    "Okay. \n",
    "Hmm. \n",
)
"""They say nothing, at some length; no verbosity is earned by them."""
UNSEEN_FILLERS = (
    "From left to right.\n",
    "This is a long sum.\n",
    "First I make a plan, and then I follow the plan.\n",
)
"""More of them, which no training text holds."""
AGAIN = ("As I said, ", "So again, ", "Once more: ", "To repeat, ", "That is, ")


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of a trace, and what it is."""

    text: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a sum and of a trace of it; counts."""

    operations: int
    """That the sum needs."""
    digits: int
    """Of the longest term."""
    carries: int
    """Columns that carry or borrow."""
    below_zero: int
    """Operations on or to a negative number."""
    brackets: int
    line: int = 0
    split: int = 0
    columns: int = 0
    check: int = 0
    redone: int = 0
    repeat: int = 0
    filler: int = 0

    @property
    def leaps(self) -> int:
        """Needed operations that are not written out at all."""
        return max(0, self.operations - self.line - self.split - self.columns)

    @property
    def worked(self) -> str:
        """How most of the written operations are worked."""
        counts = {"columns": self.columns, "split": self.split, "line": self.line}
        return max(counts, key=lambda name: counts[name]) if any(counts.values()) else "nothing"


@dataclass(frozen=True, slots=True)
class Judged:
    """A trace with its facts."""

    problem: Sum
    text: str
    facts: Facts


def facts_of(problem: Sum) -> Facts:
    """What the sum itself says."""
    steps = solutions.operations(problem.expression)
    return Facts(
        operations=len(steps),
        digits=max(len(str(abs(term))) for step in steps for term in (step.left, step.right)),
        carries=sum(map(_carries, steps)),
        below_zero=sum(step.left < 0 or step.value < 0 for step in steps),
        brackets=problem.expression.count("("),
    )


def _carries(step: Operation) -> int:
    work = solutions.magnitudes(step)
    units = [10**place for place in range(max(len(str(work.first)), len(str(work.second))))]
    if work.sign == "+":
        return sum(work.first % (10 * unit) + work.second % (10 * unit) >= 10 * unit for unit in units)
    return sum(work.first % (10 * unit) < work.second % (10 * unit) for unit in units)


def verbosity(facts: Facts) -> float:
    """Reasoning Verbosity before noise: what is written out for each operation that is needed, and a little for how many."""
    worth = sum(WORTH[kind] * getattr(facts, kind) for kind in WORTH) / facts.operations
    return _along(SCALE, worth) + 0.6 * (math.log2(facts.operations) - 1)


def _along(points: tuple[tuple[float, float], ...], place: float) -> float:
    for (left, low), (right, high) in pairwise(points):
        if place <= right:
            return low + (high - low) * (place - left) / (right - left)
    return points[-1][1]


def problem_difficulty(facts: Facts) -> float:
    """Cognitive Difficulty of the sum alone, on the micro world's own 0 to 9."""
    sizes = 0.85 * (facts.operations - 1) + 0.9 * (facts.digits - 1)
    return sizes + 0.15 * facts.carries + 0.25 * facts.below_zero + 0.3 * facts.brackets


def cognitive_difficulty(facts: Facts) -> float:
    """Cognitive Difficulty before noise: the sum's, and what the trace leaves to its reader or tangles."""
    left_out = 1.2 * facts.leaps / facts.operations + 0.3 * facts.line / facts.operations
    return problem_difficulty(facts) + left_out + 0.3 * min(3, facts.redone)


def burden(facts: Facts) -> float:
    """How hard a trace is for the micro student before noise: its widest leap, its chain of steps, its tangles."""
    widest = 0.5 * (facts.digits - 1) if facts.line else 0.0
    if facts.leaps:
        widest = min(3.0, 0.5 * (facts.leaps * facts.digits - 1))
    chain = 0.45 * (facts.operations - 1) + 0.2 * (facts.digits - 1)
    return widest + chain + 0.35 * min(3, facts.redone) + 0.1 * min(5.0, facts.repeat / facts.operations)


def wanted(facts: Facts) -> float:
    """The verbosity that suits the sum: lines for easy ones, checked columns for hard ones."""
    return min(8.0, 2 + 0.75 * problem_difficulty(facts))


def exact(rubric: Rubric, facts: Facts) -> float:
    """What the facts say before noise, rounding and limits; of ``difficulty`` the burden on the student."""
    if rubric == "verbosity_fit":
        return 9 - 1.6 * abs(verbosity(facts) - wanted(facts))
    if rubric == "difficulty":
        return burden(facts)
    return verbosity(facts) if rubric == "verbosity" else cognitive_difficulty(facts)


def mark(rubric: Rubric, facts: Facts, rng: Random) -> int:
    """The mark that a judge should give: what the facts say, with noise, rounded and in range."""
    return _marked(rubric, exact(rubric, facts) + rng.gauss(0, DIFFICULTY_NOISE if rubric == "difficulty" else NOISE))


def noiseless(rubric: Rubric, facts: Facts) -> int:
    """The same without noise."""
    return _marked(rubric, exact(rubric, facts))


def _marked(rubric: Rubric, value: float) -> int:
    return (value >= EASY_BELOW) + (value >= HARD_FROM) if rubric == "difficulty" else _whole(value)


def reason(rubric: Rubric, facts: Facts) -> str:
    """What a judge says before its mark: the facts that the mark rests on, each count at most 9."""
    shown = {name: min(9, getattr(facts, name)) for name in ("operations", "digits", "carries", "below_zero", "brackets")}
    written = f"worked {facts.worked}, leaps {min(9, facts.leaps)}, checks {min(9, facts.check)}"
    written += f", redone {min(9, facts.redone)}, repeats {min(9, facts.repeat)}"
    if rubric == "verbosity":
        return f"operations {shown['operations']}, {written}"
    sizes = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in shown.items())
    if rubric == "cognitive_difficulty":
        return f"{sizes}, leaps {min(9, facts.leaps)}, redone {min(9, facts.redone)}"
    if rubric == "difficulty":
        return f"operations {shown['operations']}, digits {shown['digits']}, {written}"
    has, wants = _whole(verbosity(facts)), _whole(wanted(facts))
    return f"{sizes}, {written}, has {has}, wants {wants}"


def _whole(value: float) -> int:
    return min(9, max(0, round(value)))


# --- traces


@dataclass(frozen=True, slots=True)
class Manner:
    """How a trace is written."""

    form: Literal["nothing", "line", "split", "columns"]
    thought: bool
    """Whether the work stands in a thought; else it is the answer itself."""
    checks: float = 0.0
    """Probability that an operation is checked; only columns are."""
    mistakes: float = 0.0
    """Probability of a mistake in a checked operation, which is then found and done again."""
    repeats: float = 0.0
    """Mean number of times that an operation's result is said again."""
    fillers: float = 0.0
    """Mean number of empty sentences after an operation."""
    dropped: float = 0.0
    """Probability that an operation is left out."""
    unseen: bool = False
    """Whether sentences and endings occur that no training text holds."""
    summary: bool = False
    """Whether the solution after a thought lists all results once more."""


def manner(rng: Random, unseen: bool = False) -> Manner:
    """A way of writing, drawn apart from the sum: terse and long ones occur for easy and for hard sums alike."""
    form: Literal["nothing", "line", "split", "columns"] = rng.choices(
        ("nothing", "line", "split", "columns"), (0.08, 0.24, 0.22, 0.46)
    )[0]
    thought = form == "columns" or rng.random() < 0.35
    checks = rng.choice((0.0, 0.0, 0.5, 1.0, 1.0)) if form == "columns" else 0.0
    return Manner(
        form=form,
        thought=thought,
        checks=checks,
        mistakes=rng.choice((0.0, 0.15, 0.5)),
        repeats=rng.choice((0.0, 0.0, 0.0, 0.5, 1.0, 2.5)),
        fillers=rng.choice((0.0, 0.0, 0.0, 0.7, 2.0, 4.0)),
        dropped=rng.choice((0.0, 0.0, 0.0, 0.3)),
        unseen=unseen,
        summary=thought and rng.random() < 0.12,
    )


def judged(problem: Sum, how: Manner, rng: Random) -> Judged:
    """A trace of the sum, written in this manner, with its facts."""
    steps = solutions.operations(problem.expression)
    units = [unit for step in steps for unit in _units(step, how, rng)]
    ending = solutions.direct_solution(problem.expression)
    if how.summary:
        ending = solutions.short_solution(problem.expression)
    counts = {kind: sum(unit.kind == kind for unit in units) for kind in WORTH}
    counts["repeat"] += len(steps) * how.summary
    facts = replace(facts_of(problem), **counts)
    body = "".join(unit.text for unit in units)
    return Judged(problem, _framed(body, ending, how, rng), facts)


def _framed(body: str, ending: str, how: Manner, rng: Random) -> str:
    if how.thought and how.unseen and rng.random() < BOXED_THOUGHTS:
        box = ending[ending.rindex("\\boxed") :].rstrip(".")
        return f"<think>\n{body}{ending}\n</think>\n\n{box}"
    if how.thought:
        return f"<think>\n{body}</think>\n\n{ending}"
    opening = rng.choice((*solutions.SHORT_THOUGHTS, None, None, None, None))
    if opening is None or how.form == "line":
        return body + ending
    return (f"<think>\n{opening}\n</think>\n\n" if opening else "<think>\n</think>\n\n") + body + ending


def _units(step: Operation, how: Manner, rng: Random) -> list[Unit]:
    """What is written about one operation."""
    units = [] if how.form == "nothing" or rng.random() < how.dropped else _worked(step, how, rng)
    for _ in range(_number(how.repeats, rng) if units else 0):
        units.append(Unit(rng.choice(AGAIN) + solutions.short_line(step), "repeat"))
    for _ in range(_number(how.fillers, rng)):
        units.insert(
            rng.choice((0, len(units))), Unit(rng.choice((*FILLERS, *UNSEEN_FILLERS) if how.unseen else FILLERS), "filler")
        )
    return units


def _worked(step: Operation, how: Manner, rng: Random) -> list[Unit]:
    if how.form == "line":
        slip = rng.choice((-10, -1, 1, 10)) if rng.random() < WRONG_LINES else 0
        return [Unit(f"{step.text} = {step.value + slip}\n", "line")]
    if how.form == "split":
        return [Unit(solutions.split_line(step) + "\n", "split")]
    checked = rng.random() < how.checks
    mistake = rng.choice(solutions.MISTAKES) if checked and rng.random() < how.mistakes else ""
    work, claim = solutions.column_line(step, rng, mistake)
    units = [Unit(solutions.plain(work), "columns")]
    if checked:
        text = solutions.plain(solutions.check(step, claim, rng))
        first, found, rest = text.partition(" No.\n")
        units.append(Unit(first + (" No.\n" if found else ""), "check"))
        units += [Unit(rest, "redone")] if found else []
    return units


def _number(mean: float, rng: Random) -> int:
    """A count with this mean: geometric, so that long tails occur."""
    count = 0
    while rng.random() < mean / (1 + mean):
        count += 1
    return count
