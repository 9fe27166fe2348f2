"""Traces cut into chunks that a student learns one at a time, and chunks left out that it does not need.

Skip-Thinking: Chunk-wise Chain-of-Thought Distillation Enable Smaller Language Models to Reason Better and Faster, EMNLP 2025,
arXiv 2505.18642.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import INSTRUCTION, Ask, Likely, Rewriter, Segmenter, Tools, Verifier, user_message
from stillwise.errors import UserError
from stillwise.parts import Role
from stillwise.records import Failure, Problem, Span, Trace, digest, thinking_spans
from stillwise.rewrite.validator import Given, Validating, right_after

CHUNK = "chunk"
Means = tuple[list[float], list[int]]
"""Summed negative log-probability and number of tokens before each step's end; both begin with 0."""


class Chunked(Rewriter):
    """The same text with ``chunk`` spans: the thought in contiguous chunks, then its solution as the last one.

    Average chunking divides the steps as evenly as can be; the search then hands steps over between neighbours for as long as
    that lowers the student's mean NLL of the two, added up (§3; greedy, so it may end in a local optimum).
    """

    kind: ClassVar[str] = "chunked"
    chunks: int = Field(default=3, ge=1)
    """Chunks of the thought; a thought of fewer steps has one for each. Ours: the source's number could not be recovered."""
    segment: Segmenter = Field(default="logical_units", validate_default=True)
    """What cuts the thought into steps."""
    search: bool = True
    """Whether boundaries are searched by the student's likelihood; false leaves the average ones."""
    by: Role = "student"
    """The role whose likelihood is taken."""
    instruction: str = INSTRUCTION
    """Appended to the question, as in training."""
    max_passes: int = Field(default=10, ge=1)
    """Over all boundaries, at most."""
    until: Verifier = Field(default="by_answer_kind", validate_default=True)
    """What verifies the trace, whose text is unchanged."""

    @property
    def calls(self) -> int:
        """Nothing is generated (for plans)."""
        return 0

    def rewrite(self, problem: Problem, trace: Trace, tools: Tools) -> Trace | Failure:
        """The trace with its chunks; a trace without a closed thought is a failure."""
        thought = next((span for span in trace.spans if span.kind == "thinking"), None)
        steps = self.segment.segment(trace.text[thought.start : thought.end]) if thought else ()
        if thought is None or not steps or trace.span("solution") is None:
            return Failure(step=tools.step, item=trace.id, reason="no_thought")
        ends = [thought.start + step.end for step in steps]
        cuts = average(len(ends), self.chunks)
        means = self._means(problem, trace, ends, tools) if self.search else None
        if means:
            cuts = searched(cuts, means, self.max_passes)
        bounds = [0, *(ends[cut - 1] for cut in cuts[1:]), len(trace.text)]
        spans = (*trace.spans, *(Span(kind=CHUNK, start=a, end=b) for a, b in pairwise(bounds)))
        edit = "searched_chunks" if means else "average_chunks"
        made = replace(trace, id=digest(trace.id, self.kind, edit, bounds), spans=spans, parent=trace.id, edit=edit)
        return made.signed(self.kind, self.fingerprint)

    def _means(self, problem: Problem, trace: Trace, ends: Sequence[int], tools: Tools) -> Means | None:
        """None where the text is longer than the student's positions."""
        caller = tools.callers[self.by]
        if not isinstance(caller, Likely):
            raise UserError(f"role {self.by!r} gives no log-probabilities of given answers; bind it to a transformers: model")
        (held,) = caller.logprobs(Ask(user=user_message(problem.question, self.instruction)), [trace.text])
        if not held:
            return None
        counts = [0, *(min(len(held), caller.count_tokens(trace.text[:end])) for end in ends)]
        return [-sum(held[:count]) for count in counts], counts


def average(steps: int, chunks: int) -> list[int]:
    """Boundaries (0, …, steps) of near-equal chunks, none empty: as many as there are steps at most."""
    count = min(steps, chunks)
    return [steps * k // count for k in range(count + 1)]


def searched(cuts: Sequence[int], means: Means, max_passes: int) -> list[int]:
    """The boundaries moved by single steps while the two touched chunks' mean NLLs, added up, fall; ends and order stay."""
    found = list(cuts)
    for _ in range(max_passes):
        before = list(found)
        for place in range(1, len(found) - 1):
            left, right = found[place - 1], found[place + 1]
            near = [cut for cut in (found[place], found[place] - 1, found[place] + 1) if left < cut < right]
            found[place] = min(near, key=lambda cut: _mean(means, left, cut) + _mean(means, cut, right))
        if found == before:
            break
    return found


def score(cuts: Sequence[int], means: Means) -> float:
    """The sum of the chunks' mean NLLs."""
    return sum(_mean(means, a, b) for a, b in pairwise(cuts))


def _mean(means: Means, a: int, b: int) -> float:
    sums, counts = means
    return (sums[b] - sums[a]) / max(1, counts[b] - counts[a])


class SkipChunks(Rewriter, Validating):
    """The trace without the chunks that the student does not need: one after the other is left out for good where the answer
    that the student gives to the rest stays right, and comes back where it does not (§3, answer-gated deletion)."""

    kind: ClassVar[str] = "skip_chunks"
    keep_one: bool = True
    """Whether at least one chunk of the thought stays."""
    max_chunks: int = Field(default=8, ge=1)
    """So many chunks of a thought are tried at most; those behind them stay."""

    @property
    def calls(self) -> int:
        """Answers that one trace takes at most (for plans)."""
        return self.max_chunks

    def rewrite(self, problem: Problem, trace: Trace, tools: Tools) -> Trace | Failure:
        """The trace without the chunks that can go; one without chunks is a failure."""
        return self.rewrite_all([(problem, trace)], tools)[0]

    def rewrite_all(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[Trace | Failure]:
        """Each pair's shortened trace; the n-th chunk of all traces is tried together. The last chunk holds the answer."""
        held = [[span for span in trace.spans if span.kind == CHUNK][:-1] for _, trace in pairs]
        kept = [list(spans) for spans in held]
        for number in range(min(self.max_chunks, max(map(len, held), default=0))):
            trying = [i for i, spans in enumerate(held) if number < len(spans) and len(kept[i]) > self.keep_one]
            rest = {i: [span for span in kept[i] if span != held[i][number]] for i in trying}
            given: list[Given] = [
                (pairs[i][0], "".join(_inside(pairs[i][1], span) for span in rest[i]), f"{pairs[i][1].id}/{number}")
                for i in trying
            ]
            for i, right in zip(trying, right_after(self, given, f"without chunk {number + 1}", tools), strict=True):
                kept[i] = rest[i] if right else kept[i]
        return [self._made(trace, spans, tools) for (_, trace), spans in zip(pairs, kept, strict=True)]

    def _made(self, trace: Trace, kept: Sequence[Span], tools: Tools) -> Trace | Failure:
        chunks = [span for span in trace.spans if span.kind == CHUNK]
        if not chunks:
            return Failure(step=tools.step, item=trace.id, reason="no_chunks")
        pieces = [trace.text[: _begins(trace)], *(_inside(trace, span) for span in kept)]
        text = "".join(pieces) + trace.text[chunks[-1].start :]
        ends = list(accumulate(map(len, pieces)))[1:]
        spans = (Span(kind=CHUNK, start=a, end=b) for a, b in pairwise([0, *ends, len(text)]))
        edit = f"{self.kind}:{len(kept)}/{len(chunks) - 1}"
        made = replace(
            trace,
            id=digest(trace.id, self.kind, edit, text),
            text=text,
            spans=(*thinking_spans(text), *spans),
            num_tokens=tools.callers[self.by].count_tokens(text),
            num_thinking_tokens=None,
            parent=trace.id,
            edit=edit,
        )
        return made.signed(self.kind, self.fingerprint)


def _begins(trace: Trace) -> int:
    """Where the thought's words begin, after its tag and white space."""
    thought = next(span for span in trace.spans if span.kind == "thinking")
    return thought.start + len(trace.text[thought.start :]) - len(trace.text[thought.start :].lstrip())


def _inside(trace: Trace, chunk: Span) -> str:
    """A chunk of the thought without the tag that opens it."""
    return trace.text[max(_begins(trace), chunk.start) : chunk.end]
