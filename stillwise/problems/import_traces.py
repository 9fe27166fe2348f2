"""Published traces to records: problems, traces, the source's own scores, and (on request) verdicts of ours."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillwise.errors import UserError
from stillwise.problems.columns import ANSWERS, LEVELS, QUESTIONS, SUBJECTS, answer_of, clean, kind_of, level_of
from stillwise.problems.file import Row, existing, rows_of
from stillwise.problems.trace_shapes import CONTENT, Sample, samples_of
from stillwise.records import (
    THINK_CLOSE,
    THINK_OPEN,
    Failure,
    Finish,
    Outcome,
    Problem,
    Score,
    Trace,
    Verdict,
    digest,
    thinking_spans,
)
from stillwise.runtime import tables
from stillwise.runtime.files import write_json
from stillwise.runtime.tables import Judged, Scored

STEP = "import"
SOURCE_SCORE = "source_score"
"""Whether the source holds a trace right: 1 or 0, or what it says between."""
Pairs = Sequence[tuple[Problem, Trace]]
_NOTHING = ("", "-")
"""OpenCodeReasoning writes a dash for questions that it may not print."""
_CUT_OFF = frozenset({"length", "max_tokens", "max_length"})


@dataclass
class Imported:
    """What the files held, in their order."""

    problems: dict[str, Problem] = field(default_factory=dict)
    traces: list[Trace] = field(default_factory=list)
    scores: list[Scored] = field(default_factory=list)
    """The source's own scores: whether it holds a trace right, named ``source_score``, and its marks under their own names."""
    failures: list[Failure] = field(default_factory=list)


def import_files(
    paths: Sequence[Path],
    out: Path,
    *,
    paradigm: str | None = None,
    verify: Callable[[Pairs], list[Verdict]] | None = None,
    measure: Callable[[Sequence[Trace]], Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Writes the tables problems, traces, scores, verdicts, failures (Parquet) and ``summary.json``; returns the summary.

    ``verify`` judges the pairs whose problem has an answer (a pool's ``verify`` with a verifier); ``measure`` summarises the
    traces by paradigm. Raises UserError where a file is missing or none of them holds a trace, before anything is written.
    """
    imported = read_traces(paths, paradigm)
    if not imported.traces:
        counts = Counter(failure.reason for failure in imported.failures)
        raise UserError(f"no trace in {', '.join(map(str, paths))} ({_counted(counts) or 'empty'}); known shapes: {_SHAPES}")
    judged = _judged(imported, verify) if verify else []
    summary = summarise(imported, judged, paths, dict(measure(imported.traces)) if measure else {})
    tables.write(out / "problems.parquet", imported.problems.values(), Problem)
    tables.write(out / "traces.parquet", imported.traces, Trace)
    tables.write(out / "scores.parquet", imported.scores, Scored)
    tables.write(out / "verdicts.parquet", judged, Judged)
    tables.write(out / "failures.parquet", imported.failures, Failure)
    write_json(out / "summary.json", summary)
    return summary


_SHAPES = "fields for question, thinking and content; <think> tags in the text; messages; samples; a list in each field"


def read_traces(paths: Sequence[Path], paradigm: str | None = None) -> Imported:
    """The traces of some files; the paradigm is ``think`` or ``no_think`` by presence of a thought, unless given."""
    imported = Imported()
    seen: set[str] = set()
    for path in map(existing, map(Path, paths)):
        for number, row in enumerate(rows_of(path), start=1):
            if isinstance(row, Failure):
                imported.failures.append(row)
            else:
                _add(imported, seen, row, f"{path.name}:{number}", path, paradigm)
    return imported


def _add(imported: Imported, seen: set[str], row: Row, item: str, path: Path, paradigm: str | None) -> None:
    samples = samples_of(row)
    if not samples:
        imported.failures.append(Failure(step=STEP, item=item, reason="no_trace", detail=f"fields: {', '.join(row)}"))
    for index, sample in enumerate(samples):
        problem = problem_of(row, sample, path.stem)
        trace = (
            _trace(sample, problem, sample.model or str(row.get("model") or path.stem), index, paradigm) if problem else None
        )
        reason = "no_question" if problem is None else "no_text" if trace is None else "duplicate" if trace.id in seen else ""
        if problem is None or trace is None or reason:
            imported.failures.append(Failure(step=STEP, item=f"{item}#{index}", reason=reason))
            continue
        seen.add(trace.id)
        imported.problems.setdefault(problem.id, problem)
        imported.traces.append(trace)
        for name, level, judge in sample.scores:
            imported.scores.append(
                Scored(trace_id=trace.id, score=Score(name=name, value=level, detail=f"{path.name}: {judge}"))
            )
        if (value := _number(sample.score)) is not None:
            imported.scores.append(Scored(trace_id=trace.id, score=Score(name=SOURCE_SCORE, value=value, detail=path.name)))


def problem_of(row: Row, sample: Sample, source: str) -> Problem | None:
    """The problem that a row's samples answer; its answer is None where the row has none."""
    names = {name.casefold(): name for name in reversed(list(row))}
    cells = {group: [row[names[n]] for n in group if n in names] for group in (QUESTIONS, LEVELS, SUBJECTS)}
    stated = (str(cell) for cell in cells[QUESTIONS] if isinstance(cell, str) and cell.strip() not in _NOTHING)
    question = sample.question or _alpaca(row) or next(stated, "")
    if not question.strip():
        return None
    # s1K's solution is the reference; elsewhere that column holds what a model wrote.
    beside = any(name.endswith("attempt") for name in names)
    answers = (row[names[n]] for n in ANSWERS if n in names and (n not in CONTENT or (n == "solution" and beside)))
    answer = next((clean(found) for cell in answers if (found := answer_of(cell, "auto", False))), None)
    return Problem.of(
        clean(question).strip(),
        answer,
        answer_kind=kind_of(answer or ""),
        level=next(map(level_of, cells[LEVELS]), None),
        subject=next((str(cell) for cell in cells[SUBJECTS] if isinstance(cell, str)), None),
        source=source,
    )


def _alpaca(row: Row) -> str | None:
    """Alpaca's question: the instruction, and the input below it where there is one."""
    parts = [str(row.get(name) or "").strip() for name in ("instruction", "input")]
    return "\n\n".join(parts) if all(part not in _NOTHING for part in parts) else None


def _trace(sample: Sample, problem: Problem, model: str, index: int, paradigm: str | None) -> Trace | None:
    text = _text(sample)
    if not text.strip():
        return None
    mode = paradigm or ("think" if (sample.thinking or "").strip() else "no_think")
    return Trace(
        id=digest(problem.id, model, mode, index, text),
        problem_id=problem.id,
        role="imported",
        model=model,
        paradigm=mode,
        prompt="",
        text=text,
        spans=thinking_spans(text),
        num_tokens=sample.num_tokens,
        finish=Finish.LENGTH if sample.finish in _CUT_OFF else Finish.IMPORTED,
        sample_index=index,
    )


def _text(sample: Sample) -> str:
    if sample.thinking is None:
        return clean(sample.content or "")
    thought = f"{THINK_OPEN}\n{sample.thinking.strip()}\n"
    return clean(thought if sample.content is None else f"{thought}{THINK_CLOSE}\n\n{sample.content.strip()}")


def _number(score: Any) -> float | None:
    """A score that is one finite number (or a bool); lists and words are not taken over."""
    return float(score) if isinstance(score, (int, float)) and math.isfinite(score) else None


def _judged(imported: Imported, verify: Callable[[Pairs], list[Verdict]]) -> list[Judged]:
    pairs = [(imported.problems[trace.problem_id], trace) for trace in imported.traces]
    known = [(problem, trace) for problem, trace in pairs if problem.answer is not None]
    verdicts = verify(known)
    return [Judged(trace_id=trace.id, verdict=verdict) for (_, trace), verdict in zip(known, verdicts, strict=True)]


def summarise(
    imported: Imported, judged: Sequence[Judged], paths: Sequence[Path], measures: Mapping[str, Any]
) -> dict[str, Any]:
    """Counts, and by paradigm: the measures, the mean source score, the verdicts, agreement of both where both decide."""
    return {
        "files": [Path(path).name for path in paths],
        "problems": len(imported.problems),
        "problems_with_answer": sum(problem.answer is not None for problem in imported.problems.values()),
        "traces": len(imported.traces),
        "failures": dict(sorted(Counter(failure.reason for failure in imported.failures).items())),
        "by_paradigm": {
            mode: {**measures.get(mode, {}), **dict(_paradigm(imported, judged, mode))}
            for mode in sorted({trace.paradigm for trace in imported.traces})
        },
    }


def _paradigm(imported: Imported, judged: Sequence[Judged], mode: str) -> Iterator[tuple[str, Any]]:
    ids = {trace.id for trace in imported.traces if trace.paradigm == mode}
    yield "traces", len(ids)
    # Marks for verbosity and difficulty stand in the same table, and say nothing about what is right.
    own = [held for held in imported.scores if held.trace_id in ids and held.score.name == SOURCE_SCORE]
    scores = {held.trace_id: held.score.value for held in own if held.score.value is not None}
    yield "mean_source_score", sum(scores.values()) / len(scores) if scores else None
    verdicts = {held.trace_id: held.verdict for held in judged if held.trace_id in ids}
    yield "verdicts", dict(sorted(Counter(verdict.outcome.value for verdict in verdicts.values()).items()))
    yield "rules", dict(sorted(Counter(verdict.rule or "none" for verdict in verdicts.values()).items()))
    both = [
        (verdict.outcome is Outcome.CORRECT) == (scores[trace_id] == 1.0)
        for trace_id, verdict in verdicts.items()
        if scores.get(trace_id) in (0.0, 1.0) and verdict.outcome in (Outcome.CORRECT, Outcome.INCORRECT)
    ]
    yield "agrees_with_source", {"n": len(both), "same": sum(both)} if both else None


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
