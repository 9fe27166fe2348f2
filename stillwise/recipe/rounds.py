"""``rounds``: a block of steps repeated, each time with what the round before made (an exam, its feedback, the next student).

Inside the block a name means the output of the same round where its step comes earlier, else that of the round before; in the
first round what ``start`` names in its place. ``name/*`` means all rounds so far, where a list is asked for. After the block a
name means its last round. Step ``exam`` of round 2 is called ``exam/2`` everywhere: in plans, seeds, folders and reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from stillwise.errors import nearest
from stillwise.parts import Fields, Names, inputs_of, renamed, roles_of
from stillwise.recipe.schema import MODELS, Step

ROUNDS = "rounds"
"""The step word of a block that is repeated."""
ALL = "/*"
"""Behind a name: its output in every round so far."""


class Rounds(Fields):
    """How often a block of steps is repeated, and what its first round begins with."""

    times: int = Field(ge=1)
    """How many rounds."""
    start: dict[str, str] = {}
    """A step of the block to the earlier step (or role) that stands for it before the first round has made one."""
    steps: list[Any] = Field(min_length=1)
    """What is repeated, as in a recipe."""


@dataclass(frozen=True)
class Block:
    """The steps of a block and how they are repeated."""

    rounds: Rounds
    steps: Sequence[Step]


OnFault = Callable[[Step, str], None]
"""Hears of a reference that means nothing in a round: the step as it was written, and what is wrong."""


@dataclass
class _Known:
    """What the names of a recipe mean at one place in it."""

    meant: dict[str, str] = field(default_factory=dict)
    rounds: dict[str, tuple[str, ...]] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)
    """Names that stand for models; a role of the recipe may be called like any other step."""


def unrolled(items: Sequence[Step | Block], on_fault: OnFault) -> list[tuple[Step, Step]]:
    """Each step as it runs, beside the one that was written; a block's steps once for every round."""
    known, out = _Known(), []
    for item in items:
        if isinstance(item, Step):
            out.append((_meant(item, known, on_fault), item))
        else:
            out += _rounds(item, known, on_fault)
    return out


def _rounds(block: Block, known: _Known, on_fault: OnFault) -> Iterator[tuple[Step, Step]]:
    names, start = [step.name for step in block.steps], block.rounds.start
    for name in start:
        if name not in names:
            on_fault(block.steps[0], f"start: no step of the rounds is called {name!r}; {nearest(name, names)}")
    known.models |= {step.name for step in block.steps if step.arrow in MODELS}
    first = {name: known.meant.get(start[name], start[name]) if name in start else "" for name in names}
    known.meant.update(first)
    known.rounds.update({name: (held,) if held else () for name, held in first.items()})
    for number in range(1, block.rounds.times + 1):
        for step in block.steps:
            made = f"{step.name}/{number}"
            yield _meant(step, known, on_fault).model_copy(update={"name": made}), step
            known.meant[step.name] = made
            known.rounds[step.name] = (*known.rounds[step.name], made)


def _meant(step: Step, known: _Known, on_fault: OnFault) -> Step:
    """The step with every name that it refers to replaced by what the name means here."""
    named = {*inputs_of(step.part), *([step.source] if step.source else []), *(set(roles_of(step.part)) & known.models)}
    for name in sorted(named):
        if known.meant.get(name) == "":
            on_fault(
                step, f"{name!r} is not made before this step in the first round; say what stands for it: start: {{{name}: …}}"
            )
        if name.endswith(ALL) and not known.rounds.get(name.removesuffix(ALL)):
            on_fault(step, f"{name!r} names no earlier round; {nearest(name.removesuffix(ALL), known.rounds)}")
    part = renamed(step.part, _names(known, set(known.meant)), _names(known, known.models))
    return step.model_copy(update={"part": part, "source": known.meant.get(step.source or "", step.source)})


def _names(known: _Known, which: set[str]) -> Names:
    def meaning(name: str) -> tuple[str, ...]:
        plain = name.removesuffix(ALL)
        if name != plain:
            return known.rounds.get(plain) or (name,)
        return (known.meant[name] or name,) if name in which and name in known.meant else (name,)

    return meaning


def number_of(name: str) -> int | None:
    """The round of a step by its name; None for a step outside of rounds."""
    number = name.rpartition("/")[2]
    return int(number) if "/" in name and number.isdecimal() else None
