"""Upper bounds of what scoring, rewriting and training steps ask for, from what the steps before them can hold at most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from stillwise.arrows import Scorer
from stillwise.parts import Part, traces_of, walk_parts
from stillwise.recipe.schema import OUTPUT, Method, Step

GAPS = 3
"""Sorts of pairs that a problem can give where a pairer limits each sort."""
SIDES = 2
"""A pair is two rows."""


def traces(method: Method, output: str | None, num: int) -> int:
    """Traces that an output holds at most, for so many problems."""
    if output is None:
        return num
    step = method.step(output)
    if step.arrow == "sample":
        return num * number(step.part, "tries", 1)
    return traces(method, step.source, num)


def asked(method: Method, step: Step, num: int) -> tuple[int, int]:
    """(requests, generated tokens) of a scoring or rewriting step at most; of any other (0, 0)."""
    if step.arrow not in ("score", "rewrite") or not step.roles:
        return 0, 0
    held, rounds = traces(method, step.source, num), number(step.part, "rounds", 0)
    writes = held * (2 * rounds or number(step.part, "calls", 1)) if step.arrow == "rewrite" and hasattr(step.part, "by") else 0
    judged = list(_judged(step.part, held * (1 + rounds)))
    requests = writes + sum(count for count, _ in judged)
    return requests, writes * number(step.part, "max_tokens", 0) + sum(count * each for count, each in judged)


def _judged(part: Part, held: int) -> Iterator[tuple[int, int]]:
    """(judgements, tokens of each) of the judging scorers in a part, itself included."""
    for each in walk_parts(part):
        if isinstance(each, Scorer) and hasattr(each, "judgements"):
            yield held * number(each, "judgements", 1) * number(each, "asks", 1), number(each, "max_tokens", 0)


def rows(method: Method, step: Step, num: int) -> int:
    """Rows that a training step sees at most in one epoch: lessons with their repetitions, or both sides of pairs."""
    if step.source is None:
        return num
    source = method.step(step.source)
    if source.arrow == "pair":
        return num * SIDES * (number(source.part, "per_problem", 0) or GAPS * number(source.part, "per_gap", 1))
    if source.arrow != "curriculum" or source.source is None:
        return num
    listings = number(source.part, "listings", 0) or number(source.part, "passes", 1)
    return listings * _selected(method, method.step(source.source), num)


def _selected(method: Method, select: Step, num: int) -> int:
    """Traces of one output that a selection keeps at most."""
    if budget := number(select.part, "budget", 0):
        return budget
    if "per_problem" not in type(select.part).model_fields:
        return num
    named = [name for name in traces_of(select.part) or (select.source,) if name and _is_traces(method, name)]
    most = max((traces(method, name, num) for name in named), default=num)
    return min(most, num * number(select.part, "per_problem", most))


def _is_traces(method: Method, name: str) -> bool:
    return OUTPUT[method.step(name).arrow] == "traces"


def number(part: Part, field: str, otherwise: int) -> int:
    """A part's own field where it has one: parts differ in what they call for, these names are the house's."""
    value = getattr(part, field, None)
    return int(cast(float, value)) if isinstance(value, (int, float)) else otherwise
