"""What a run's processor left of its problems, read from the finished steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stillwise.arrows import Lesson, Row
from stillwise.evaluate.survival import Stage, moves, survival
from stillwise.parts import scores_of, walk_parts
from stillwise.recipe.schema import OUTPUT, Step
from stillwise.recipe.work import LESSONS, ROWS, Work
from stillwise.records import Outcome
from stillwise.runtime import tables

PROCESSING = ("score", "rewrite", "filter", "verify")


def survived(work: Work) -> dict[str, Any]:
    """The sections ``survival`` and ``labels``; nothing where a recipe only samples and selects."""
    done = [step for step in work.loaded.method.steps if step.name in work.outputs]
    if not any(step.arrow in PROCESSING for step in done):
        return {}
    owners = _owners(work, done) if any(step.arrow in ("score", "curriculum") for step in done) else {}
    stages = (stage for step in done for stage in _stages(work, step, owners))
    labels = {step.name: found for step in done if step.arrow == "rewrite" and (found := _moves(work, step, done))}
    return {"survival": survival(len(work.problems), stages), **({"labels": labels} if labels else {})}


def _owners(work: Work, done: list[Step]) -> dict[str, str]:
    """The problem of each trace."""
    made = [step.name for step in done if OUTPUT[step.arrow] == "traces"]
    return {trace: problem for name in made for trace, problem in work.narrow(name, "problem_id")}


def _stages(work: Work, step: Step, owners: dict[str, str]) -> Iterator[Stage]:
    does, folder = f"{step.arrow} {step.part.kind}", work.outputs[step.name]
    if OUTPUT[step.arrow] == "traces":
        traces = [problem for _, problem in work.narrow(step.name, "problem_id")]
        yield Stage(step=step.name, does=does, traces=traces, kept=_kept(work, step))
    elif step.arrow == "score":
        scores = work.scores(step.name)
        decided = [name for name, score in scores.items() if score.value is not None]
        yield Stage(step=step.name, does=does, traces=[owners[n] for n in scores], kept=[owners[n] for n in decided])
    elif step.arrow == "select":
        given = [row.problem_id for name in step.reads if name in work.outputs for row in _rows(work, name)]
        kept = tables.read(folder.path / ROWS, Row)
        yield Stage(step=step.name, does=does, traces=given, kept=[row.problem_id for row in kept])
    elif step.arrow == "curriculum":
        lessons = tables.read(folder.path / LESSONS, Lesson)
        for stage in dict.fromkeys(lesson.stage for lesson in lessons):
            mine = list(dict.fromkeys(lesson.trace_id for lesson in lessons if lesson.stage == stage))
            learnt = [owners[name] for name in mine]
            yield Stage(step=step.name, does=f"stage {stage}", traces=learnt, kept=learnt)


def _rows(work: Work, name: str) -> list[Row]:
    return work.rows(name) if OUTPUT[work.loaded.method.step(name).arrow] == "traces" else []


def _kept(work: Work, step: Step) -> list[str]:
    """The problems of correct traces; of a rewriting also of those that nobody verified."""
    taken = (None, Outcome.CORRECT) if step.arrow == "rewrite" else (Outcome.CORRECT,)
    outcomes = work.outcomes(step.name)
    return [problem for trace, problem in work.narrow(step.name, "problem_id") if outcomes.get(trace) in taken]


def _origin(work: Work, name: str) -> str:
    """The step that made an output's traces; a filter makes none."""
    while source := work.outputs[name].facts.get("traces_of"):
        name = source
    return name


def _moves(work: Work, step: Step, done: list[Step]) -> dict[str, dict[str, int]]:
    """Labels before a rewriting (given by a scoring step) and after it (a scoring step over its output, of the same name)."""
    given = [name for part in walk_parts(step.part) for name in scores_of(part) if part.kind == "given"]
    if not given:
        return {}
    before = work.scores(given[0])
    sort = {score.name for score in before.values()}
    again = [work.scores(e.name) for e in done if e.arrow == "score" and e.source and _origin(work, e.source) == step.name]
    after = next((found for found in again if {score.name for score in found.values()} == sort), None)
    if after is None:
        return {}
    pairs = [(before.get(trace.parent or "") or before.get(trace.id), after.get(trace.id)) for trace in work.traces(step.name)]
    return moves([(a.value if a else None, b.value if b else None) for a, b in pairs])
