"""One wave of answers: ask a role each problem once, and know each answer's verdict as soon as its batch is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from stillwise.arrows import Ask, Completion, Metered, Paradigm, Progress, Request, Sampled, Tools, Verifier
from stillwise.models.opening import answer_start
from stillwise.records import (
    Failure,
    Finish,
    Outcome,
    Problem,
    Sampling,
    Signature,
    Trace,
    Verdict,
    derive_seed,
    digest,
    thinking_spans,
)

OnFailed = Callable[[int, Completion], None]
"""Called with the position of a drawing that has no usable answer, and the completion that says why."""
OnTraces = Callable[[Sequence[int], Sequence[Trace]], None]
"""Called with positions and traces of one finished batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """One answer to draw."""

    problem: Problem
    ask: Ask
    seed: int
    sample_index: int = 0


def draw(
    problems: Sequence[Problem],
    paradigm: Paradigm,
    by: str,
    sampling: Sampling,
    sample_index: int,
    tools: Tools,
    on_traces: OnTraces = lambda places, traces: None,
    on_failed: OnFailed = lambda place, answer: None,
) -> Iterator[Trace]:
    """Answer number ``sample_index`` of the role ``by`` to every problem, in the order of the problems.

    Seeds derive from (run seed, step, role, paradigm, problem id, sample index). ``on_traces`` hears of each batch when it is
    known, in an order that the model's plan decides.
    """
    name = paradigm.kind
    seeds = [derive_seed(tools.seed, tools.step, by, name, p.id, sample_index) for p in problems]
    drawings = [
        Drawing(problem=p, ask=paradigm.ask(p), seed=s, sample_index=sample_index) for p, s in zip(problems, seeds, strict=True)
    ]
    yield from drawn(drawings, paradigm, by, sampling, tools, on_traces, on_failed)


def drawn(
    drawings: Sequence[Drawing],
    paradigm: Paradigm,
    by: str,
    sampling: Sampling,
    tools: Tools,
    on_traces: OnTraces = lambda places, traces: None,
    on_failed: OnFailed = lambda place, answer: None,
) -> Iterator[Trace]:
    """One answer of the role ``by`` for each drawing, in their order; ``paradigm`` is how they were asked.

    Where no usable answer came, the trace's finish is FAILED, and ``on_failed`` hears the reason.
    """
    caller, name = tools.callers[by], paradigm.kind
    requests = [Request(ask=each.ask, sampling=sampling, seed=each.seed) for each in drawings]
    model, signature = caller.revision, Signature(kind=name, fingerprint=paradigm.fingerprint)

    def trace(place: int, answer: Completion) -> Trace:
        request, drawing = requests[place], drawings[place]
        text = answer_start(answer.opened, request.ask.prefill) + answer.text
        identity = digest(drawing.problem.id, by, model, name, drawing.sample_index, text, request.seed)
        return Trace(
            id=identity,
            problem_id=drawing.problem.id,
            role=by,
            model=model,
            paradigm=name,
            prompt=answer.prompt,
            text=text,
            spans=thinking_spans(text),
            num_prompt_tokens=answer.num_prompt_tokens,
            num_tokens=answer.num_tokens,
            num_thinking_tokens=answer.num_thinking_tokens,
            finish=Finish.FAILED if answer.failure else answer.finish,
            sampling=sampling,
            seed=request.seed,
            sample_index=drawing.sample_index,
            history=(signature,),
        )

    made: dict[int, Trace] = {}

    def heard(places: Sequence[int], answers: Sequence[Completion]) -> None:
        made.update((i, trace(i, answer)) for i, answer in zip(places, answers, strict=True))
        on_traces(places, [made[i] for i in places])

    answers = caller.complete(requests, heard)
    for place, answer in enumerate(answers):
        if answer.failure:
            on_failed(place, answer)
    yield from (made[i] for i in range(len(answers)))


def verdicts(verifier: Verifier, problems: Sequence[Problem], traces: Sequence[Trace], tools: Tools) -> list[Verdict]:
    """One verdict for each trace: TRUNCATED or FAILED without grading where there is no whole answer, else the verifier's."""
    whole = [i for i, trace in enumerate(traces) if trace.finish not in (Finish.LENGTH, Finish.FAILED)]
    graded = verifier.decide([(problems[i], traces[i]) for i in whole], tools) if whole else []
    known = dict(zip(whole, graded, strict=True))
    cut = Verdict(outcome=Outcome.TRUNCATED, grader="token_limit")
    lost = Verdict(outcome=Outcome.FAILED, grader="server")
    return [known.get(i, lost if trace.finish is Finish.FAILED else cut) for i, trace in enumerate(traces)]


def draw_verified(
    problems: Sequence[Problem],
    paradigm: Paradigm,
    by: str,
    sampling: Sampling,
    sample_index: int,
    verifier: Verifier,
    tools: Tools,
    bar: Progress,
) -> list[Sampled | Failure]:
    """One wave with verdicts, in the order of the problems; the bar shows the wave's running share of correct answers.

    A problem without a usable answer comes as a Failure with its reason.
    """
    known: dict[int, Verdict] = {}
    failed: dict[int, Failure] = {}
    caller = tools.callers[by]

    def note(place: int, answer: Completion) -> None:
        detail = f"try {sample_index}: {answer.detail}"
        failed[place] = Failure(step=tools.step, item=problems[place].id, reason=answer.failure, detail=detail)

    def grade(places: Sequence[int], traces: Sequence[Trace]) -> None:
        known.update(zip(places, verdicts(verifier, [problems[i] for i in places], traces, tools), strict=True))
        right = sum(verdict.outcome is Outcome.CORRECT for verdict in known.values())
        cost = caller.figures(len(problems) - len(known)) if isinstance(caller, Metered) else {}
        tokens = sum(t.num_tokens or 0 for t in traces) / len(traces)
        bar.advance(len(places), correct=right / len(known), tokens=tokens, **cost)

    traces = draw(problems, paradigm, by, sampling, sample_index, tools, grade, note)
    sampled = [Sampled(trace=trace, verdict=known[i]) for i, trace in enumerate(traces)]
    return [failed.get(i, one) for i, one in enumerate(sampled)]
