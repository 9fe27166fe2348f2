"""How many problems keep at least one trace after each stage of a processor, and what became of the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stillwise.evaluate.shape import Moves, Survival, SurvivalRow

LABELS = {0.0: "easy", 1.0: "medium", 2.0: "hard"}
UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What one step was given or made, and what of it goes on."""

    step: str
    does: str
    """Step word and part, or the stage of a curriculum."""
    traces: Iterable[str]
    """The problem of each trace."""
    kept: Iterable[str]
    """The problem of each trace that goes on: correct, decided, chosen."""


def survival(problems: int, stages: Iterable[Stage]) -> Survival:
    """One row for each stage, in their order; shares are of the problems that the run began with."""
    return {"problems": problems, "stages": [_row(stage, problems) for stage in stages]}


def _row(stage: Stage, problems: int) -> SurvivalRow:
    traces, kept = list(stage.traces), list(stage.kept)
    return {
        "step": stage.step,
        "does": stage.does,
        "traces": len(traces),
        "problems": len(set(traces)),
        "kept_traces": len(kept),
        "kept_problems": len(set(kept)),
        "share": len(set(kept)) / problems if problems else 0.0,
    }


def label(value: float | None) -> str:
    """Easy, medium or hard."""
    return UNDECIDED if value is None else LABELS.get(value, f"{value:g}")


def moves(pairs: Sequence[tuple[float | None, float | None]]) -> Moves:
    """How many traces of each label before a rewriting have which label after it; a trace that was lost has none after."""
    found: dict[str, Counter[str]] = {}
    for before, after in pairs:
        found.setdefault(label(before), Counter())[label(after)] += 1
    order = [*LABELS.values(), UNDECIDED]
    return {name: _ordered(found[name], order) for name in order if name in found}


def _ordered(counts: Mapping[str, int], order: Sequence[str]) -> dict[str, int]:
    return {name: counts[name] for name in order if name in counts}
