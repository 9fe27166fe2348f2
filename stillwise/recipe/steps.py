"""What each step word does: read its inputs, let its part work, write tables. One function for each arrow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from stillwise.arrows import (
    Benchmark,
    Curator,
    Example,
    Filter,
    Lesson,
    Pair,
    Pairer,
    Probe,
    Rewriter,
    Row,
    Sampled,
    Sampler,
    Scaffold,
    Scheduler,
    Scorer,
    Selector,
    Trainer,
    Verifier,
    user_message,
)
from stillwise.errors import TooManyFailures, UserError
from stillwise.parts import inputs_of, traces_of, walk_parts
from stillwise.recipe.roles import student_path
from stillwise.recipe.schema import Step
from stillwise.recipe.work import (
    FAILURES,
    FINDINGS,
    KEPT,
    LESSONS,
    PAIRS,
    ROWS,
    SCORES,
    STUDENT,
    TRACES,
    VERDICTS,
    Work,
    by_id,
    problems_digest,
    seed_for,
)
from stillwise.records import Failure, Outcome, Span, Trace, digest
from stillwise.runtime import tables
from stillwise.runtime.draw import verdicts as verdicts_of
from stillwise.runtime.spread import rewritings, scores
from stillwise.runtime.store import StepFolder
from stillwise.runtime.tables import Judged, Scored

Facts = dict[str, Any]
JUDGED_AT_ONCE, JUDGED_SIZE = 4096, 4_000_000
"""Traces that a verifier sees together: so many, or with the last one so many characters."""


def curate(work: Work, step: Step, folder: StepFolder) -> Facts:
    """What a curator drops of the run's problems; the steps after it see the others only."""
    found = cast(Curator, step.part).curate(work.problems, work.benchmarks, seed_for(work, step))
    gone = {failure.item for failure in found.dropped}
    left = sum(problem.id not in gone for problem in work.problems)
    if not left:
        raise UserError(f"step {step.name!r} ({step.part.kind}): nothing is left of {len(work.problems)} problems")
    tables.write(folder.path / FAILURES, found.dropped, Failure)
    return {"problems": left, "dropped": len(gone), "figures": dict(found.figures)}


def pose(work: Work, step: Step, folder: StepFolder) -> Facts:
    """The problems that the steps after it are about."""
    problems, failures = work.posed(step)
    if not problems:
        reasons = ", ".join(sorted({failure.reason for failure in failures})) or "the source is empty"
        raise UserError(f"step {step.name!r} ({step.part.kind}): no usable problem ({reasons})")
    tables.write(folder.path / FAILURES, failures, Failure)
    return {"problems": len(problems), "digest": problems_digest(problems)}


def sift(work: Work, step: Step, folder: StepFolder) -> Facts:
    """An output without the traces that a filter drops; the texts stay where they are."""
    source = cast(str, step.source)
    traces, verdicts = work.traces(source), work.verdicts(source)
    found = cast(Filter, step.part).filter(by_id(work.every_problem), traces, work.benchmarks)
    gone = {failure.item for failure in found.dropped}
    kept = [trace.id for trace in traces if trace.id not in gone]
    judged = [Judged(trace_id=name, verdict=verdicts[name]) for name in kept if name in verdicts]
    tables.write(folder.path / VERDICTS, judged, Judged)
    tables.write(folder.path / FAILURES, found.dropped, Failure)
    return {"traces_of": source, "sifted": True, "traces": len(kept), "figures": dict(found.figures)}


def sample(work: Work, step: Step, folder: StepFolder) -> Facts:
    """Traces, verdicts and failures of a sampler over the run's problems."""
    part = cast(Sampler, step.part)
    found = part.sample(work.problems, work.tools(step))
    return _write_sampled(work, step, folder.path, found, len(work.problems))


def rewrite(work: Work, step: Step, folder: StepFolder) -> Facts:
    """Edited traces of the input's correct traces (or of those that the part wants), verified again by its verifier."""
    part, problems, source = cast(Rewriter, step.part), by_id(work.every_problem), cast(str, step.source)
    traces = work.traces(source) if part.wants == "all" else _with_outcome(work, source, Outcome(part.wants))
    tools = work.tools(step)
    edited = rewritings(part, [(problems[trace.problem_id], trace) for trace in traces], tools, work.executor)
    kept = [item for item in edited if isinstance(item, Trace)]
    verifier = next((p for p in walk_parts(part) if isinstance(p, Verifier)), None)
    asked = [trace for trace in kept if verifier and part.verifies(trace)]
    owners = [problems[trace.problem_id] for trace in asked]
    found = verdicts_of(verifier, owners, asked, tools) if verifier else []
    graded = {trace.id: verdict for trace, verdict in zip(asked, found, strict=True)}
    failures = [item for item in edited if isinstance(item, Failure)]
    sampled = [Sampled(trace=trace, verdict=graded.get(trace.id)) for trace in kept]
    return _write_sampled(work, step, folder.path, [*sampled, *failures], len(traces))


def probe(work: Work, step: Step, folder: StepFolder) -> Facts:
    """What another model makes of the input's correct traces: its attempts, and one finding for each problem."""
    part, problems = cast(Probe, step.part), by_id(work.every_problem)
    pairs = [(problems[trace.problem_id], trace) for trace in _correct(work, cast(str, step.source))]
    if not pairs:
        raise UserError(f"step {step.name!r} ({part.kind}): {step.source!r} holds no correct trace to probe with")
    found = list(part.probe(pairs, work.tools(step)))
    attempts = [item for item in found if not isinstance(item, Scaffold)]
    findings = [item for item in found if isinstance(item, Scaffold)]
    tables.write(folder.path / FINDINGS, findings, Scaffold)
    return {**_write_sampled(work, step, folder.path, attempts, len(pairs)), "findings": len(findings)}


def _correct(work: Work, output: str) -> list[Trace]:
    return _with_outcome(work, output, Outcome.CORRECT)


def _with_outcome(work: Work, output: str, outcome: Outcome) -> list[Trace]:
    verdicts = work.verdicts(output)
    return [t for t in work.traces(output) if t.id in verdicts and verdicts[t.id].outcome is outcome]


def verify(work: Work, step: Step, folder: StepFolder) -> Facts:
    """New verdicts on an output's traces; the texts stay where they are."""
    source = cast(str, step.source)
    problems, tools, count = by_id(work.every_problem), work.tools(step), 0
    bar = tools.progress(tools.step, len(work.traces(source)))
    with tables.writing(folder.path / VERDICTS, Judged) as judge:
        for some in _bounded(work.traces(source)):
            owners = [problems[trace.problem_id] for trace in some]
            for trace, verdict in zip(some, verdicts_of(cast(Verifier, step.part), owners, some, tools), strict=True):
                judge(Judged(trace_id=trace.id, verdict=verdict))
            count += len(some)
            bar.advance(len(some))
    return {"traces_of": source, "traces": count}


def _bounded(traces: Iterable[Trace]) -> Iterator[list[Trace]]:
    some, size = list[Trace](), 0
    for trace in traces:
        some.append(trace)
        size += len(trace.text)
        if len(some) == JUDGED_AT_ONCE or size >= JUDGED_SIZE:
            yield some
            some, size = [], 0
    if some:
        yield some


def score(work: Work, step: Step, folder: StepFolder) -> Facts:
    """One score for each trace of the input, in a narrow side table."""
    part, problems = cast(Scorer, step.part), by_id(work.every_problem)
    groups: dict[str, list[Trace]] = {}
    for trace in work.traces(cast(str, step.source)):
        groups.setdefault(trace.problem_id, []).append(trace)
    tools = work.tools(step)
    found = scores(part, [(problems[problem], group) for problem, group in groups.items()], tools, work.executor)
    scored = [
        Scored(trace_id=trace.id, score=value)
        for traces, values in zip(groups.values(), found, strict=True)
        for trace, value in zip(traces, values, strict=True)
    ]
    tables.write(folder.path / SCORES, scored, Scored)
    figures = dict(part.figures(tools))
    return {"scores": len(scored), **({"figures": figures} if figures else {})}


def select(work: Work, step: Step, folder: StepFolder) -> Facts:
    """The rows that a selector keeps; it sees narrow columns only."""
    named = traces_of(step.part) or (cast(str, step.source),)
    rows = work.scored(step, [row for name in named for row in work.rows(name)])
    kept, dropped = cast(Selector, step.part).select(rows)
    if not kept:
        raise UserError(
            f"step {step.name!r} ({step.part.kind}): nothing is left of {len(rows)} traces; "
            "raise tries or max_tokens, or look at the verdicts in the traces folder"
        )
    tables.write(folder.path / ROWS, kept, Row)
    tables.write(folder.path / FAILURES, dropped, Failure)
    figures = dict(cast(Selector, step.part).figures(rows, kept))
    counts = {"rows": len(kept), "problems": len({row.problem_id for row in kept}), "dropped": len(dropped)}
    return {**counts, **({"figures": figures} if figures else {})}


def pair(work: Work, step: Step, folder: StepFolder) -> Facts:
    """The pairs that a pairer mines, by trace id; counts by gap."""
    found, dropped = cast(Pairer, step.part).pair([row for name in step.reads for row in work.contenders(name)])
    tables.write(folder.path / PAIRS, found, Pair)
    tables.write(folder.path / FAILURES, dropped, Failure)
    gaps = Counter(each.gap for each in found)
    return {"pairs": len(found), "problems": len({each.problem_id for each in found}), "gaps": dict(sorted(gaps.items()))}


def curriculum(work: Work, step: Step, folder: StepFolder) -> Facts:
    """Lessons by stage, in training order."""
    rows = work.scored(step, tables.read(work.outputs[cast(str, step.source)].path / ROWS, Row))
    lessons = cast(Scheduler, step.part).schedule(rows, seed_for(work, step))
    tables.write(folder.path / LESSONS, lessons, Lesson)
    return {"lessons": len(lessons), "stages": list(dict.fromkeys(lesson.stage for lesson in lessons))}


def train(work: Work, step: Step, folder: StepFolder) -> Facts:
    """One folder per stage, each trained from the one before; a kill costs what came after the stage's last checkpoint."""
    from stillwise.train.gang import SharedTraining

    part = cast(Trainer, step.part)
    role = step.roles[0]
    student, before = student_path(work.roles[role]), work.role_identity(role)
    stages, folders = [], []
    for name, examples, failures in _STAGES[part.learns_from](work, step, part):
        tools = work.tools(step, f"{step.name}.{name}")
        # A trainer's other roles (a teacher) decide the weights too.
        beside = [work.role_identity(name) for name in step.roles[1:]]
        texts_of = [_text_digest(example) for example in examples]
        fingerprint = digest(part.fingerprint, texts_of, before, tools.seed, *beside)
        stage = work.folder.step(f"{step.name}.{name}", fingerprint)
        if not stage.finished():
            stage.begin(keep=KEPT)
            site = work.at_site(step, tools, stage)
            training = SharedTraining(part, examples, student, stage.path / STUDENT, site, work.threads)
            work.executor.gang(training)
            figures = training.result()
            tables.write(stage.path / FAILURES, failures, Failure)
            stage.finish({"stage": name, **{k: v for k, v in figures.items() if k != "timing"}})
        stage.forget(KEPT)
        student, before = stage.path / STUDENT, stage.content
        stages.append(stage.facts)
        folders.append(str(stage.path.relative_to(work.folder.work)))
    return {"student": str(student.relative_to(work.folder.path)), "stages": stages, "weights": before, "folders": folders}


def _text_digest(example: Example) -> str:
    pair = (example.rejected, example.beta) if example.rejected else ()
    label = () if example.label is None else (example.label,)
    problem = () if example.problem is None else (asdict(example.problem),)
    learnt = ([(span.start, span.end) for span in example.learnt],) if example.learnt else ()
    return digest(example.user, example.assistant, example.weight, *pair, *label, *problem, *learnt)


def compose(work: Work, step: Step, folder: StepFolder) -> Facts:
    """A role that answers with other roles; all that is kept is what the evaluations that it depends on found."""
    return {"measured": {name: work.pass_at_1(name) for name in inputs_of(step.part)}}


def evaluate(work: Work, step: Step, folder: StepFolder) -> Facts:
    """Samples and verdicts on every benchmark of the binding."""
    part = cast(Benchmark, step.part)
    facts: Facts = {}
    for name, problems in work.benchmarks.items():
        spec = work.loaded.binding.benchmarks.get(name)
        chosen = part.model_copy(update=spec.changes) if spec else part
        tools = work.tools(step, f"{step.name}/{name}")
        found = list(chosen.measure(problems, tools))
        facts[name] = _write_sampled(work, step, folder.path / name, found, len(problems))
        scores = chosen.scores(problems, [item for item in found if isinstance(item, Sampled)], tools)
        tables.write(folder.path / name / SCORES, [Scored(trace_id=trace, score=score) for trace, score in scores], Scored)
    return {"benchmarks": facts, "model": step.roles[0]}


RUNNERS: dict[str, Callable[[Work, Step, StepFolder], Facts]] = {
    "curate": curate,
    "pose": pose,
    "compose": compose,
    "sample": sample,
    "filter": sift,
    "rewrite": rewrite,
    "verify": verify,
    "score": score,
    "select": select,
    "pair": pair,
    "curriculum": curriculum,
    "train": train,
    "evaluate": evaluate,
    "probe": probe,
}


def _write_sampled(work: Work, step: Step, path: Path, items: Iterable[Sampled | Failure], asked: int) -> Facts:
    """Traces, verdicts and failures as they come: none is held longer than its group of the table."""
    kind, fingerprint = step.part.kind, step.part.fingerprint
    failures, count = list[Failure](), 0
    with tables.writing(path / TRACES, Trace) as add, tables.writing(path / VERDICTS, Judged) as judge:
        for item in items:
            if isinstance(item, Failure):
                failures.append(item)
                continue
            count += 1
            add(item.trace.signed(kind, fingerprint))
            if item.verdict:
                judge(Judged(trace_id=item.trace.id, verdict=item.verdict))
        _check_rate(work, step, failures, asked)
    tables.write(path / FAILURES, failures, Failure)
    return {"traces": count, "failures": len(failures)}


def _check_rate(work: Work, step: Step, failures: Sequence[Failure], asked: int) -> None:
    items = {failure.item for failure in failures}
    limit = work.loaded.method.max_failure_rate
    if asked and len(items) / asked > limit:
        first = failures[0]
        raise TooManyFailures(
            f"step {step.name!r}: {len(items)} of {asked} items failed, more than max_failure_rate {limit}; "
            f"the first: {first.item}: {first.reason} {first.detail}"
        )


Stage = tuple[str, list[Example], list[Failure]]
"""What one stage of a training learns from, and what dropped out of it."""


def _taught(work: Work, step: Step, part: Trainer) -> Iterator[Stage]:
    """The stages of a curriculum, in their order."""
    lessons = tables.read(work.outputs[cast(str, step.source)].path / LESSONS, Lesson)
    texts = _texts(work, {lesson.trace_id for lesson in lessons})
    mistakes = _mistakes(work, inputs_of(part))
    for name, group in groupby(lessons, key=lambda lesson: lesson.stage):
        yield name, *_examples(work, part, list(group), texts, mistakes)


def _mistakes(work: Work, outputs: Sequence[str]) -> dict[str, list[str]]:
    """The wrong answers of these outputs by problem, for trainers that contrast with them."""
    found: dict[str, list[str]] = {}
    for output in outputs:
        for trace in _with_outcome(work, output, Outcome.INCORRECT):
            found.setdefault(trace.problem_id, []).append(trace.text.strip())
    return found


def _paired(work: Work, step: Step, part: Trainer) -> Iterator[Stage]:
    """One stage of all pairs, whole traces on both sides."""
    found = tables.read(work.outputs[cast(str, step.source)].path / PAIRS, Pair)
    texts, problems = _texts(work, {i for each in found for i in (each.chosen, each.rejected)}), by_id(work.every_problem)
    examples = [
        Example(
            id=digest(each.chosen, each.rejected),
            user=user_message(problems[each.problem_id].question, part.instruction),
            assistant=texts[each.chosen].text.strip(),
            rejected=texts[each.rejected].text.strip(),
            beta=each.beta,
        )
        for each in found
    ]
    empty = [e for e in examples if not e.assistant or not e.rejected]
    failures = [Failure(step="train", item=e.id, reason="no_solution", detail="pair") for e in empty]
    yield "pairs", [e for e in examples if e not in empty], failures


def _scored(work: Work, step: Step, part: Trainer) -> Iterator[Stage]:
    """One stage of all traces that the scoring steps gave a number; undecided ones drop out."""
    found = [(trace, score) for name in step.reads for trace, score in work.scores(name).items()]
    texts, problems = _texts(work, {trace for trace, _ in found}), by_id(work.every_problem)
    examples: list[Example] = []
    failures: list[Failure] = []
    for trace_id, score in found:
        if score.value is None or trace_id not in texts:
            reason = "undecided" if score.value is None else "no_trace"
            failures.append(Failure(step="train", item=trace_id, reason=reason, detail=score.detail or ""))
            continue
        trace = texts[trace_id]
        user = user_message(problems[trace.problem_id].question, part.instruction)
        examples.append(Example(id=trace_id, user=user, assistant=trace.text, label=score.value))
    yield "scores", examples, failures


def _posed(work: Work, step: Step, part: Trainer) -> Iterator[Stage]:
    """One stage of the run's problems, without answers."""
    asked = [(problem, user_message(problem.question, part.instruction)) for problem in work.problems]
    yield "problems", [Example(id=p.id, user=user, assistant="", problem=p) for p, user in asked], []


_STAGES: dict[str, Callable[[Work, Step, Trainer], Iterator[Stage]]] = {
    "lessons": _taught,
    "pairs": _paired,
    "scores": _scored,
    "problems": _posed,
}
"""By what a trainer learns from."""


def _texts(work: Work, wanted: set[str]) -> dict[str, Trace]:
    outputs = [s.name for s in work.loaded.method.steps if s.arrow in ("sample", "rewrite") and s.name in work.outputs]
    return {trace.id: trace for name in outputs for trace in work.traces(name) if trace.id in wanted}


def _examples(
    work: Work, part: Trainer, lessons: Sequence[Lesson], texts: dict[str, Trace], mistakes: Mapping[str, Sequence[str]]
) -> tuple[list[Example], list[Failure]]:
    problems, seen = by_id(work.every_problem), Counter[str]()
    groups: list[list[Example]] = []
    failures: list[Failure] = []
    for lesson in lessons:
        trace = texts[lesson.trace_id]
        target = trace.text if lesson.target == "full" else trace.span("solution")
        if not target or not target.strip():
            failures.append(Failure(step="train", item=trace.id, reason="no_solution", detail=lesson.target))
            continue
        learnt = _learnt(trace, target, lesson.spans)
        if lesson.spans and not learnt:
            failures.append(Failure(step="train", item=trace.id, reason="no_spans", detail=lesson.spans))
            continue
        user = user_message(problems[trace.problem_id].question, part.instruction)
        parts = [(span,) for span in learnt] if lesson.apart else [learnt]
        names = [digest(trace.id, lesson.spans, n) for n in range(len(parts))] if lesson.apart else [_name(trace, lesson)]
        held = zip(names, parts, strict=True)
        wrong = mistakes.get(trace.problem_id, ())
        worse = wrong[seen[trace.problem_id] % len(wrong)] if wrong else ""
        seen[trace.problem_id] += 1
        shared: dict[str, Any] = {"user": user, "assistant": target.strip(), "weight": lesson.weight, "rejected": worse}
        groups.append([Example(id=name, learnt=ranges, **shared) for name, ranges in held])
    return dealt(groups), failures


def _name(trace: Trace, lesson: Lesson) -> str:
    return digest(trace.id, lesson.spans) if lesson.spans else trace.id


def dealt(groups: Sequence[list[Example]]) -> list[Example]:
    """One example of each group, then the next of each, until all are dealt; neighbours begin at different places of theirs.

    Groups of one stay in their order.
    """
    longest = max(map(len, groups), default=0)
    return [
        group[(place + turn) % len(group)] for turn in range(longest) for place, group in enumerate(groups) if turn < len(group)
    ]


def _learnt(trace: Trace, target: str, kind: str) -> tuple[Span, ...]:
    """The trace's spans of a kind as ranges of the target, which is stripped and may be the trace's end alone."""
    if not kind:
        return ()
    begin = trace.text.rfind(target) + len(target) - len(target.lstrip())
    size = len(target.strip())
    ranges = [(max(0, s.start - begin), min(size, s.end - begin)) for s in trace.spans if s.kind == kind]
    return tuple(Span(kind=kind, start=start, end=end) for start, end in ranges if start < end)
