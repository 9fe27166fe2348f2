"""Figures of imported traces: the same metrics.json and report as a run's, so that they can be looked at and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from stillwise.arrows import Sampled, Tools, Verifier
from stillwise.evaluate import metrics as figures
from stillwise.evaluate.batches import Batch, ScoreTable, lengths_section
from stillwise.evaluate.classes import ANSWER_CLASS, answer_classes, scores_by_trace
from stillwise.evaluate.sections import Output, comparison_section, evaluation_section, measured, problems_section
from stillwise.evaluate.shape import EvaluationSection
from stillwise.recipe.outputs import METRICS_FILE, write_report
from stillwise.recipe.shown import write_sample
from stillwise.records import Problem, Trace, Verdict
from stillwise.runtime import tables
from stillwise.runtime.files import write_text
from stillwise.runtime.graders import GraderPool
from stillwise.runtime.progress import Display
from stillwise.runtime.tables import Judged, Scored

BENCHMARK = "imported"


def write_figures(out: Path, verifier: Verifier, names: Sequence[str]) -> dict[str, Any]:
    """Writes metrics.json and report.html beside the tables of an import; each paradigm is one measured model.

    Only problems with a reference answer count. The source's own scores choose the best of n.
    """
    problems = [one for one in tables.read(out / "problems.parquet", Problem) if one.answer is not None]
    traces = tables.read(out / "traces.parquet", Trace)
    verdicts = {row.trace_id: row.verdict for row in tables.read(out / "verdicts.parquet", Judged)}
    scored = tables.read(out / "scores.parquet", Scored)
    scores = [(row.trace_id, row.score.name, row.score.value) for row in scored]
    classes = _classes(problems, traces, verdicts, verifier)
    held = scores_by_trace([*scores, *((trace, ANSWER_CLASS, float(number)) for trace, number in classes.items())])
    paradigms = dict.fromkeys(trace.paradigm for trace in traces if trace.id in verdicts)
    sections = {name: _section(name, problems, traces, verdicts, held) for name in paradigms}
    batches = _batches(problems, traces, verdicts)
    found = {
        "recipe": {"title": "import", "about": f"traces of {', '.join(names)}, verified"},
        "problems": {"problems": problems_section(problems)},
        "evaluation": sections,
        "comparison": _comparisons(sections),
        "lengths": lengths_section(batches),
        "order": {"evaluation": list(sections), "benchmarks": [BENCHMARK]},
    }
    write_sample(out, batches, [ScoreTable(step="import", of="import", scores=[(row.trace_id, row.score) for row in scored])])
    write_text(out / METRICS_FILE, figures.dumps(cast(Any, found)))
    write_report(found, out)
    return found


def _classes(
    problems: Sequence[Problem], traces: Sequence[Trace], verdicts: Mapping[str, Verdict], verifier: Verifier
) -> dict[str, int]:
    sampled = [Sampled(trace=trace, verdict=verdicts[trace.id]) for trace in traces if trace.id in verdicts]
    with GraderPool() as pool, Display(mode="quiet") as display:
        tools = Tools(step="import", seed=0, callers={}, graders=pool, progress=display.open)
        return answer_classes(problems, sampled, verifier, tools)


def _section(
    paradigm: str,
    problems: Sequence[Problem],
    traces: Sequence[Trace],
    verdicts: Mapping[str, Verdict],
    scores: Mapping[str, Mapping[str, float]],
) -> EvaluationSection:
    chosen = [trace for trace in traces if trace.paradigm == paradigm and trace.id in verdicts]
    rows = measured(BENCHMARK, problems, Output(traces=chosen, verdicts=verdicts, scores=scores))
    models = ", ".join(sorted({trace.model for trace in chosen}))
    return evaluation_section(paradigm, models, {BENCHMARK: rows})


def _batches(problems: Sequence[Problem], traces: Sequence[Trace], verdicts: Mapping[str, Verdict]) -> list[Batch]:
    """Graded traces by paradigm, as the report shows them."""
    groups: dict[str, list[Trace]] = {}
    for trace in traces:
        if trace.id in verdicts:
            groups.setdefault(trace.paradigm, []).append(trace)
    return [
        Batch(step=name, kind="import", problems=problems, output=Output(traces=held, verdicts=verdicts))
        for name, held in groups.items()
    ]


def _comparisons(sections: Mapping[str, EvaluationSection]) -> list[Any]:
    names = list(sections)
    return [row for i, a in enumerate(names) for b in names[i + 1 :] for row in comparison_section(a, b, sections)]
