"""What of a run's finished steps the report counts and shows beside its figures: graded traces by step, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stillwise.arrows import Ban, Paradigm
from stillwise.evaluate.batches import Batch, ScoreTable, cost_section, lengths_section, scores_section
from stillwise.evaluate.browse import FILE, browse_section, embedded
from stillwise.evaluate.classes import ANSWER_CLASS
from stillwise.evaluate.sections import Output
from stillwise.parts import walk_parts
from stillwise.recipe.schema import Step
from stillwise.recipe.work import SCORES, TRACES, VERDICTS, Work
from stillwise.records import Trace, Verdict
from stillwise.runtime import tables
from stillwise.runtime.files import write_text
from stillwise.runtime.tables import Judged, Scored

WRITING = ("sample", "rewrite", "probe")
"""Steps whose traces are their own; verify and filter pass on what others wrote."""


def add_shown(work: Work, found: dict[str, Any]) -> None:
    """Adds cost, lengths and scores to the metrics, and writes the sample of traces for the report's browser."""
    batches, scores = all_batches(work), all_scores(work)
    counted = {
        "cost": cost_section(batches, found["training"]),
        "lengths": lengths_section(batches),
        "scores": scores_section(scores),
    }
    found |= {name: section for name, section in counted.items() if section}
    found["order"] |= {name: list(counted[name]) for name in ("cost", "lengths") if counted[name]}
    write_sample(work.folder.path, batches, scores)


def write_sample(out: Path, batches: Sequence[Batch], scores: Sequence[ScoreTable] = ()) -> None:
    """The sample of traces that the report in this folder shows."""
    write_text(out / FILE, embedded(browse_section(batches, scores)) + "\n")


def all_batches(work: Work) -> list[Batch]:
    """Every step that wrote or measured, in the recipe's order."""
    steps = [step for step in work.loaded.method.steps if step.name in work.outputs]
    return [batch for step in steps for batch in _batches(work, step)]


def _batches(work: Work, step: Step) -> list[Batch]:
    folder = work.outputs[step.name].path
    if step.arrow in WRITING and (folder / TRACES).is_file():
        output = Output(traces=work.traces(step.name), verdicts=work.verdicts(step.name))
        return [Batch(step=step.name, kind=step.arrow, problems=work.about[step.name], output=output, ban=_ban(work, step))]
    if step.arrow != "evaluate":
        return []
    made = [(name, held) for name, held in work.benchmarks.items() if (folder / name / TRACES).is_file()]
    return [
        Batch(
            step=step.name,
            kind=step.arrow,
            benchmark=name,
            problems=held,
            output=Output(traces=tables.read(folder / name / TRACES, Trace), verdicts=_verdicts(folder / name / VERDICTS)),
        )
        for name, held in made
    ]


def _verdicts(path: Path) -> dict[str, Verdict]:
    return {row.trace_id: row.verdict for row in tables.read(path, Judged)}


def _ban(work: Work, step: Step) -> Ban | None:
    """What the step's paradigm forbids; a paradigm asks alike whatever the problem."""
    paradigms = [part for part in walk_parts(step.part) if isinstance(part, Paradigm)]
    bans = [ban for part in paradigms for problem in work.problems[:1] if (ban := part.ask(problem).ban)]
    return bans[0] if bans else None


def all_scores(work: Work) -> list[ScoreTable]:
    """What scoring steps and scored benchmarks put out."""
    steps = [step for step in work.loaded.method.steps if step.name in work.outputs]
    scored = [
        _scored(step.name, step.source or "", work.outputs[step.name].path / SCORES) for step in steps if step.arrow == "score"
    ]
    measured = [
        _scored(f"{step.name}: {name}", f"{step.name}: {name}", work.outputs[step.name].path / name / SCORES)
        for step in steps
        if step.arrow == "evaluate"
        for name in work.benchmarks
    ]
    return [table for table in [*scored, *measured] if table.scores]


def _scored(step: str, of: str, path: Path) -> ScoreTable:
    rows: Sequence[Scored] = tables.read(path, Scored) if path.is_file() else []
    # Which answers are equal is a class of an answer, no quality of it.
    return ScoreTable(step=step, of=of, scores=[(row.trace_id, row.score) for row in rows if row.score.name != ANSWER_CLASS])
