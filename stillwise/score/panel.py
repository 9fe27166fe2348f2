"""Fixed panels of traces with known marks: what a judge is calibrated on before its marks are compared with another's.

``sums-1`` holds sums of the embedded world, whose marks follow from how the traces were made. ``prose-1`` holds traces in prose
from arithmetic to graduate mathematics, whose marks were set by hand along the rubrics' anchors, amount and difficulty apart.
"""

from __future__ import annotations

import json
import math
from importlib.resources import files
from typing import Literal

from stillwise.errors import UserError, nearest
from stillwise.records import Problem, Trace, digest, thinking_spans

Rubric = Literal["verbosity", "verbosity_fit", "cognitive_difficulty", "difficulty"]
Known = tuple[Problem, Trace, int]
"""A trace with the mark that it should get."""


def panel_of(name: str, rubric: Rubric) -> list[Known]:
    """The traces of a packaged panel that have a mark by this rubric. Raises UserError for an unknown panel or none such."""
    folder = files("stillwise.score") / "panels"
    file = folder / f"{name}.json"
    if not file.is_file():
        known = sorted(each.name.removesuffix(".json") for each in folder.iterdir() if each.name.endswith(".json"))
        raise UserError(f"no panel {name!r}; {nearest(name, known)}")
    rows = json.loads(file.read_text(encoding="utf-8"))
    found = [_known(row["question"], row["trace"], row["marks"][rubric]) for row in rows if rubric in row["marks"]]
    if not found:
        raise UserError(f"panel {name!r} has no marks of {rubric!r}")
    return found


def rounded(mark: float) -> int:
    """A pooled mark as a whole one, halves upwards."""
    return math.floor(mark + 0.5)


def _known(question: str, text: str, mark: int) -> Known:
    problem = Problem.of(question, None)
    trace = Trace(
        id=digest("panel", question, text),
        problem_id=problem.id,
        role="panel",
        model="",
        paradigm="panel",
        prompt="",
        text=text,
        spans=thinking_spans(text),
    )
    return problem, trace, mark
