"""Records to the sections of ``metrics.json``: pure functions, one per section, so that what runs a recipe stays thin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from stillwise.evaluate import metrics
from stillwise.evaluate.classes import ANSWER_CLASS
from stillwise.evaluate.metrics import AVERAGE, Measured, level_key, level_order
from stillwise.evaluate.shape import (
    Comparison,
    Counts,
    EvaluationSection,
    ExampleProblem,
    ExampleTrace,
    FirstTry,
    ProblemsSection,
    SamplingSection,
    SelectionSection,
    StageSection,
)
from stillwise.records import Failure, Outcome, Problem, Trace, Verdict

CURVE_POINTS = 200
EXAMPLE_CHARACTERS = 6_000
UNDECIDED = Verdict(outcome=Outcome.UNDECIDED)
"""Stands for the verdict of a trace that nobody verified."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """What one step put out: its traces, and the verdicts by trace id (one that is missing counts as undecided)."""

    traces: Sequence[Trace]
    verdicts: Mapping[str, Verdict]
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Numbers by trace id and name; ``answer_class`` tells which answers the grader calls equal."""

    def verdict(self, trace: Trace) -> Verdict:
        """The trace's verdict."""
        return self.verdicts.get(trace.id, UNDECIDED)


def measured(benchmark: str, problems: Iterable[Problem], output: Output) -> list[Measured]:
    """One narrow row per trace of these problems."""
    levels = {problem.id: problem.level for problem in problems}
    return [
        _measured(benchmark, levels[trace.problem_id], trace, output.verdict(trace), output.scores.get(trace.id, {}))
        for trace in output.traces
        if trace.problem_id in levels
    ]


NO_SCORES: Mapping[str, float] = {}


def _measured(benchmark: str, level: int | None, trace: Trace, verdict: Verdict, scores: Mapping[str, float]) -> Measured:
    return Measured(
        benchmark=benchmark,
        problem_id=trace.problem_id,
        level=level,
        sample_index=trace.sample_index,
        outcome=verdict.outcome,
        rule=verdict.rule,
        num_tokens=trace.num_tokens,
        num_thinking_tokens=trace.num_thinking_tokens,
        finish=trace.finish,
        extracted=verdict.extracted,
        answer_class=int(scores[ANSWER_CLASS]) if ANSWER_CLASS in scores else None,
        grader=verdict.grader,
        scores={name: value for name, value in scores.items() if name != ANSWER_CLASS} if scores else NO_SCORES,
    )


def _levels(problems: Iterable[Problem]) -> Counts:
    counts = Counter(level_key(problem.level) for problem in problems)
    return {key: counts[key] for key in sorted(counts, key=level_order)}


def problems_section(problems: Sequence[Problem]) -> ProblemsSection:
    """How many problems, by level and by source."""
    sources = Counter(problem.source or "unnamed" for problem in problems)
    return ProblemsSection(n=len(problems), by_level=_levels(problems), sources=dict(sorted(sources.items())))


def _first_try(asked: int, rows: Sequence[Measured]) -> FirstTry:
    first = [row for row in rows if row.sample_index == 0]
    return FirstTry(
        n=asked,
        solved=len({row.problem_id for row in rows if row.correct}),
        attempts=len(rows),
        pass_at_1_first_try=metrics.estimate(metrics.shares(first, lambda row: row.correct), share=True),
        mean_tokens=metrics.token_means(first),
        truncated_rate=metrics.rate(first, Outcome.TRUNCATED),
        outcomes=metrics.outcome_counts(row.outcome for row in rows),
    )


def sampling_section(problems: Sequence[Problem], output: Output) -> SamplingSection:
    """One sampling or rewriting step: solved problems, first-try accuracy and tokens, by level and overall."""
    rows = measured("", problems, output)
    asked = _levels(problems)
    levels = metrics.by_level(rows)
    sample = output.traces[0] if output.traces else None
    return SamplingSection(
        **_first_try(len(problems), rows),
        role=sample.role if sample else "",
        paradigm=sample.paradigm if sample else "",
        model=sample.model if sample else "",
        derived=bool(output.traces) and all(trace.parent for trace in output.traces),
        by_level={key: _first_try(count, levels.get(key, [])) for key, count in asked.items()},
    )


def selection_section(problems: Sequence[Problem], kept: Iterable[str], dropped: Iterable[Failure]) -> SelectionSection:
    """What a selection kept (ids of problems, repeats allowed) of the problems it was given, and why it dropped the others."""
    ids = set(kept)
    levels = _levels(problem for problem in problems if problem.id in ids)
    total = sum(levels.values())
    return SelectionSection(
        problems=len(problems),
        kept=total,
        by_level=levels,
        share_by_level={key: count / total for key, count in levels.items()},
        dropped=_reasons(dropped),
    )


def _reasons(failures: Iterable[Failure]) -> Counts:
    return dict(sorted(Counter(failure.reason for failure in failures).items()))


def thinned(curve: Sequence[Sequence[float]], points: int = CURVE_POINTS) -> list[list[float]]:
    """At most this many points of a curve, evenly spread; the first and the last always stay."""
    if len(curve) <= points:
        return [list(point) for point in curve]
    places = [round(i * (len(curve) - 1) / (points - 1)) for i in range(points)]
    return [list(curve[i]) for i in places]


def stage_section(figures: Mapping[str, Any]) -> StageSection:
    """One stage's figures as a trainer returned them; ``curve`` is a list of losses or of (step, loss) pairs.

    Keys that the shape does not name are left out (seconds among them: no duration enters ``metrics.json``).
    """
    raw = list(figures.get("curve", []))
    pairs = [point if isinstance(point, Sequence) else (i + 1, point) for i, point in enumerate(raw)]
    found: dict[str, Any] = {key: figures[key] for key in StageSection.__annotations__ if key in figures}
    if pairs:
        found.setdefault("first_loss", pairs[0][1])
        found.setdefault("last_loss", pairs[-1][1])
    return cast("StageSection", {"stage": "", **found, "curve": thinned(pairs)})


def evaluation_section(model: str, revision: str, benchmarks: Mapping[str, Sequence[Measured]]) -> EvaluationSection:
    """One evaluated model: every benchmark's figures, and the unweighted average of pass@1."""
    return EvaluationSection(
        model=model,
        revision=revision,
        benchmarks={name: metrics.measurement(rows) for name, rows in benchmarks.items()},
        order=list(benchmarks),
        average=metrics.average({name: metrics.shares(rows, lambda row: row.correct) for name, rows in benchmarks.items()}),
        per_problem={
            name: {key: metrics.tally(group) for key, group in metrics.by_level(rows).items()}
            for name, rows in benchmarks.items()
        },
        tokens_per_problem={
            name: {key: metrics.tokens_tally(group) for key, group in metrics.by_level(rows).items()}
            for name, rows in benchmarks.items()
        },
        scores_per_problem={name: _scores(rows) for name, rows in benchmarks.items()},
    )


def _scores(rows: Sequence[Measured]) -> dict[str, dict[str, dict[str, list[float]]]]:
    names = sorted({name for row in rows for name in row.scores})
    return {name: {key: metrics.score_tally(group, name) for key, group in metrics.by_level(rows).items()} for name in names}


def flat(levels: Mapping[str, Mapping[str, Sequence[int]]]) -> dict[str, Sequence[int]]:
    """One benchmark's ``per_problem`` without its levels."""
    return {key: pair for group in levels.values() for key, pair in group.items()}


def comparison_section(before: str, after: str, evaluations: Mapping[str, EvaluationSection]) -> list[Comparison]:
    """Paired differences ``after`` minus ``before``: for each common benchmark overall and by level, then their average."""
    old, new = evaluations[before]["per_problem"], evaluations[after]["per_problem"]
    names = (before, after)
    rows = [row for name in old if name in new for row in _compared(names, name, old[name], new[name])]
    common = [name for name in old if name in new]
    if len(common) > 1:
        values = {name: metrics.paired_values(flat(old[name]), flat(new[name])) for name in common}
        unpaired = sum(row["unpaired"] for row in rows if row["level"] is None)
        whole = metrics.comparison(names, AVERAGE, {}, {})
        rows.append({**whole, "difference": metrics.average(values, share=False), "unpaired": unpaired})
    return rows


PerLevel = Mapping[str, Mapping[str, Sequence[int]]]


def _compared(names: tuple[str, str], benchmark: str, old: PerLevel, new: PerLevel) -> list[Comparison]:
    whole = metrics.comparison(names, benchmark, flat(old), flat(new))
    levels = sorted(set(old) & set(new), key=level_order)
    return [whole, *(metrics.comparison(names, benchmark, old[key], new[key], key) for key in levels)]


def example_section(
    problems: Sequence[Problem], outputs: Mapping[str, Output], level: int | None = None
) -> list[ExampleProblem]:
    """The first problem of the hardest level (or of ``level``) that most outputs answered, with one trace of each.

    A correct trace is preferred, then the earliest sample; ties between problems go to the earlier one.
    """
    hardest = max((problem.level for problem in problems if problem.level is not None), default=None)
    candidates = [problem for problem in problems if problem.level == (hardest if level is None else level)]
    best = {name: _best_places(output, {problem.id for problem in candidates}) for name, output in outputs.items()}
    if not candidates or not any(best.values()):
        return []
    chosen = max(candidates, key=lambda problem: sum(best[name].get(problem.id, NOWHERE)[0] for name in best))
    places = {name: held[chosen.id][2] for name, held in best.items() if chosen.id in held}
    shown = [_example(name, outputs[name].traces[place], outputs[name]) for name, place in places.items()]
    return [ExampleProblem(question=chosen.question, answer=chosen.answer, level=level_key(chosen.level), traces=shown)]


NOWHERE = (0, 0, 0)


def _best_places(output: Output, wanted: Container[str]) -> dict[str, tuple[int, int, int]]:
    """By problem, of its best trace: 2 for a correct one else 1, its sample index, its place. Texts are not held."""
    best: dict[str, tuple[int, int, int]] = {}
    for place, trace in enumerate(output.traces):
        if trace.problem_id not in wanted:
            continue
        found = (2 if output.verdict(trace).outcome is Outcome.CORRECT else 1, trace.sample_index, place)
        held = best.get(trace.problem_id)
        if held is None or (-found[0], found[1]) < (-held[0], held[1]):
            best[trace.problem_id] = found
    return best


def shortened(text: str | None, limit: int = EXAMPLE_CHARACTERS) -> str | None:
    """The text, its middle replaced by a note where it is longer than ``limit`` characters."""
    if text is None or len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters left out …]\n{text[-half:]}"


def _example(name: str, trace: Trace, output: Output) -> ExampleTrace:
    verdict = output.verdict(trace)
    return ExampleTrace(
        output=name,
        paradigm=trace.paradigm,
        thinking=shortened(trace.span("thinking")),
        solution=shortened(trace.span("solution")),
        outcome=verdict.outcome.value,
        extracted=verdict.extracted,
        num_tokens=trace.num_tokens,
    )
