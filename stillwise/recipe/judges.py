"""What a run's judges are worth: how many marks each owes, how it does on a panel of known marks, how far two of them agree."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any, cast

from stillwise.recipe.schema import Step
from stillwise.recipe.work import Work
from stillwise.records import Score

if TYPE_CHECKING:
    from stillwise.score.judged import Judged

_MARKS = re.compile(r"judgements: ([\d ]+)\Z")
"""How a judged score tells its judgements."""


def judges_section(work: Work) -> dict[str, Any]:
    """``steps`` in the recipe's order, ``agreement`` of each two that judged by one rubric; empty where nothing was judged."""
    steps = {
        step.name: (step, work.scores(step.name))
        for step in work.loaded.method.steps
        if step.part.kind == "judged" and step.name in work.outputs
    }
    if not steps:
        return {}
    pairs = [_agreement(*one, *two) for one, two in combinations(steps.values(), 2)]
    return {
        "steps": [_judge(step, scores, work.outputs[name].facts) for name, (step, scores) in steps.items()],
        "agreement": [found for found in pairs if found is not None],
    }


def _judge(step: Step, scores: Mapping[str, Score], facts: Mapping[str, Any]) -> dict[str, Any]:
    part = cast("Judged", step.part)
    return {
        "step": step.name,
        "rubric": part.rubric,
        "by": part.by,
        "judgements": part.judgements,
        "traces": len(scores),
        "undecided": sum(score.value is None for score in scores.values()),
        "spread": _spread(scores),
        "panel": facts.get("figures"),
    }


def _spread(scores: Mapping[str, Score]) -> float | None:
    """The mean over traces of the standard deviation of their judgements; None where each was judged once."""
    marks = [[int(mark) for mark in found[1].split()] for s in scores.values() if (found := _MARKS.search(s.detail or ""))]
    spreads = [statistics.pstdev(held) for held in marks if len(held) > 1]
    return statistics.fmean(spreads) if spreads else None


def _agreement(one: Step, first: Mapping[str, Score], two: Step, second: Mapping[str, Score]) -> dict[str, Any] | None:
    """Quadratic kappa over the traces that both marked; None for other rubrics, or no common trace."""
    from stillwise.score.agreement import quadratic_kappa
    from stillwise.score.panel import rounded

    rubric = cast("Judged", one.part).rubric
    if rubric != cast("Judged", two.part).rubric:
        return None
    pairs = [(a.value, b.value) for trace, a in first.items() if (b := second.get(trace)) is not None]
    marks = [(rounded(a), rounded(b)) for a, b in pairs if a is not None and b is not None]
    if not marks:
        return None
    kappa = quadratic_kappa([a for a, _ in marks], [b for _, b in marks])
    return {"rubric": rubric, "first": one.name, "second": two.name, "traces": len(marks), "kappa": kappa}
