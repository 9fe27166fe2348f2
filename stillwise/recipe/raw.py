"""The steps of a file before their parts are known: step word, name, fields, and where each was written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stillwise.errors import nearest
from stillwise.recipe.faults import Document, Place, name_fault
from stillwise.recipe.rounds import ROUNDS
from stillwise.recipe.schema import ARROWS

WORDS = (*ARROWS, ROUNDS)


@dataclass
class RawStep:
    """One step as the file says it; ``rounds`` and the steps that it repeats stand one after another."""

    index: int
    """Its number among the recipe's steps, or in its block."""
    arrow: str
    name: str
    body: dict[str, Any]
    holder: list[Any]
    """The list that it stands in."""
    above: Place = ()
    """The place of the block that it stands in."""

    @property
    def place(self) -> Place:
        """Where it was written."""
        return (*self.above, "steps", self.index, self.arrow)


def named_steps(document: Document) -> list[RawStep]:
    """Every step with its own name, in the order of the file; faults of form are noted."""
    found: list[RawStep] = []
    for step in _raw_steps(document, document.data.get("steps"), ()):
        taken = [s.name for s in found]
        if step.name in taken and "as" not in step.body:
            step.name = f"{step.name}_{len(found)}"
        if step.name in taken:
            document.fault((*step.place, "as"), f"two steps are called {step.name!r}")
        found.append(step)
    return found


def _raw_steps(document: Document, steps: Any, above: Place) -> Iterator[RawStep]:
    if not isinstance(steps, list):
        document.fault((*above, "steps"), "needs a list of steps")
        return
    for i, raw in enumerate(steps):
        steps[i] = raw = {raw: {}} if isinstance(raw, str) else raw
        step = _raw_step(document, i, steps, above)
        if step is None:
            continue
        yield step
        if step.arrow == ROUNDS:
            yield from _raw_steps(document, step.body.get("steps"), step.place)


def _raw_step(document: Document, index: int, steps: list[Any], above: Place) -> RawStep | None:
    at, raw = (*above, "steps", index), steps[index]
    if not isinstance(raw, dict) or len(raw) != 1:
        document.fault(at, f"needs exactly one step word; known: {', '.join(WORDS)}")
        return None
    arrow, body = next(iter(raw.items()))
    if arrow not in WORDS:
        document.fault((*at, arrow), f"no step is called {arrow!r}; {nearest(str(arrow), WORDS)}")
        return None
    if above and arrow == ROUNDS:
        document.fault((*at, arrow), "rounds stand inside rounds; repeat the steps of one block only")
        return None
    body = {"kind": body} if isinstance(body, str) else {} if body is None else body
    if not isinstance(body, dict):
        document.fault((*at, arrow), "needs a mapping of fields")
        return None
    raw[arrow] = body
    name = body.get("as", arrow)
    # ``exam/2`` is the second round of ``exam`` in a recipe that was written out.
    plain, _, number = str(name).partition("/")
    if wrong := name_fault(plain if number.isdecimal() and not above else name):
        document.fault((*at, arrow, "as"), wrong)
    return RawStep(index, arrow, str(name), body, steps, above)
