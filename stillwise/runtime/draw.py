"""One wave of answers: ask a role each problem once, and know each answer's verdict as soon as its batch is done."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from stillwise.arrows import (
    Ask,
    Caller,
    Completion,
    OnBatch,
    Ordered,
    Paradigm,
    Progress,
    Request,
    Sampled,
    Together,
    Tools,
    Verifier,
)
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

KEPT_AHEAD, KEPT_BYTES = 8192, 4_000_000
"""Traces that wait for their turn, and their text; those beyond are made again when it comes."""
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
    drawings = Drawings(problems, paradigm, by, range(sample_index, sample_index + 1), tools)
    yield from drawn(drawings, paradigm, by, sampling, tools, on_traces, on_failed)


@dataclass(frozen=True)
class Drawings(Sequence[Drawing]):
    """Some samples of every problem, sample by sample; each is made when it is asked for, so that a million need no room."""

    problems: Sequence[Problem]
    paradigm: Paradigm
    by: str
    indices: Sequence[int]
    tools: Tools

    def __len__(self) -> int:
        return len(self.problems) * len(self.indices)

    @property
    def order(self) -> Sequence[int]:
        """All places with a problem's samples side by side: so they are asked for, though not handed on."""
        if len(self.indices) == 1:
            return range(len(self))
        size = len(self.problems)
        return array("q", (sample * size + place for place in range(size) for sample in range(len(self.indices))))

    def problem(self, place: int) -> Problem:
        """Whom this drawing asks."""
        return self.problems[place % len(self.problems)]

    @overload
    def __getitem__(self, place: int) -> Drawing: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Drawing]: ...
    def __getitem__(self, place: int | slice) -> Drawing | Sequence[Drawing]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        problem, index = self.problem(place), self.indices[place // len(self.problems)]
        seed = derive_seed(self.tools.seed, self.tools.step, self.by, self.paradigm.kind, problem.id, index)
        return Drawing(problem=problem, ask=self.paradigm.ask(problem), seed=seed, sample_index=index)


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

    Where no usable answer came, the trace's finish is FAILED, and ``on_failed`` hears the reason. Traces that come long before
    their turn are heard, let go, and made again from the journalled answer.
    """
    caller, name = tools.callers[by], paradigm.kind
    model, signature = caller.revision, Signature(kind=name, fingerprint=paradigm.fingerprint)
    # What is asked for and not yet answered: the same drawing makes the request and the trace.
    open_: dict[int, Drawing] = {}

    def request(place: int) -> Request:
        drawing = open_[place] = drawings[place]
        return Request(ask=drawing.ask, sampling=sampling, seed=drawing.seed)

    def trace(place: int, answer: Completion) -> Trace:
        drawing = open_.pop(place, None) or drawings[place]
        text = answer_start(answer.opened, drawing.ask.prefill) + answer.text
        identity = digest(drawing.problem.id, by, model, name, drawing.sample_index, text, drawing.seed)
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
            seed=drawing.seed,
            sample_index=drawing.sample_index,
            history=(signature,),
        )

    made: dict[int, Trace] = {}
    size = 0

    def heard(places: Sequence[int], answers: Sequence[Completion]) -> None:
        nonlocal size
        traces = [trace(i, answer) for i, answer in zip(places, answers, strict=True)]
        if len(made) < KEPT_AHEAD and size < KEPT_BYTES:
            made.update(zip(places, traces, strict=True))
            size += sum(len(one.text) for one in traces)
        on_traces(places, traces)

    order = drawings.order if isinstance(drawings, Drawings) else range(len(drawings))
    for place, answer in enumerate(_in_order(caller, order, request, heard)):
        if answer.failure:
            on_failed(place, answer)
        known = made.pop(place, None)
        size -= len(known.text) if known else 0
        yield known or trace(place, answer)


def _in_order(
    caller: Caller, order: Sequence[int], request: Callable[[int], Request], on_batch: OnBatch
) -> Iterator[Completion]:
    """The answers in order: as they come from a caller that needs not hold them all, else when all are there."""
    if isinstance(caller, Ordered):
        return caller.each(len(order), request, on_batch, order)
    return iter(caller.complete([request(place) for place in range(len(order))], on_batch))


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
) -> Iterator[Sampled | Failure]:
    """One wave with verdicts, in the order of the problems; the bar shows the wave's running share of correct answers.

    A problem without a usable answer comes as a Failure with its reason.
    """
    drawings = Drawings(problems, paradigm, by, range(sample_index, sample_index + 1), tools)
    yield from _verified(drawings, sampling, verifier, bar, Counter())


def draw_tries(
    problems: Sequence[Problem],
    paradigm: Paradigm,
    by: str,
    sampling: Sampling,
    tries: int,
    verifier: Verifier,
    tools: Tools,
    bar: Progress,
) -> Iterator[Sampled | Failure]:
    """Wave after wave as ``draw_verified`` draws them; several at once where the role's model gives them for less.

    The bar shows the running share of correct answers of all waves: what stands there at the end stands in the table.
    """
    so_far = Counter[str]()
    caller = tools.callers[by]
    at_once = caller.together if isinstance(caller, Together) else 1
    for start in range(0, tries, at_once):
        indices = range(start, min(tries, start + at_once))
        yield from _verified(Drawings(problems, paradigm, by, indices, tools), sampling, verifier, bar, so_far)


def _verified(
    drawings: Drawings, sampling: Sampling, verifier: Verifier, bar: Progress, so_far: Counter[str]
) -> Iterator[Sampled | Failure]:
    """Samples in order; ``so_far`` counts answers, correct ones and tokens for the bar."""
    known: dict[int, Verdict] = {}
    failed: dict[int, Failure] = {}
    tools, by = drawings.tools, drawings.by

    def note(place: int, answer: Completion) -> None:
        detail = f"try {drawings.indices[place // len(drawings.problems)]}: {answer.detail}"
        item = drawings.problem(place).id
        failed[place] = Failure(step=tools.step, item=item, reason=answer.failure, detail=detail)

    def grade(places: Sequence[int], traces: Sequence[Trace]) -> None:
        found = verdicts(verifier, [drawings.problem(i) for i in places], traces, tools)
        known.update(zip(places, found, strict=True))
        so_far["answers"] += len(found)
        so_far["correct"] += sum(verdict.outcome is Outcome.CORRECT for verdict in found)
        so_far["tokens"] += sum(trace.num_tokens or 0 for trace in traces)
        correct, each = so_far["correct"] / so_far["answers"], so_far["tokens"] / so_far["answers"]
        bar.advance(len(places), correct=correct, tokens_each=each)

    traces = drawn(drawings, drawings.paradigm, by, sampling, tools, grade, note)
    for place, trace in enumerate(traces):
        verdict = known.pop(place)
        yield failed.pop(place) if place in failed else Sampled(trace=trace, verdict=verdict)
