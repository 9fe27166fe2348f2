"""Traces rewritten by a teacher until they suit the student: easy ones extended, hard ones simplified, medium ones kept.

Thinking with DistilQwen, §3.2.2: one pass, so that millions of traces can be done side by side; and the iterative form that
it simplifies (critique, rethink and verify; Cai et al., 2025).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal, Protocol

from pydantic import Field

from stillwise.arrows import Ask, Completion, Request, Rewriter, Scorer, Tools, Verifier
from stillwise.boxed import last_boxed
from stillwise.decoding import Decoding
from stillwise.parts import Role
from stillwise.records import (
    THINK_CLOSE,
    THINK_OPEN,
    Failure,
    Finish,
    Outcome,
    Problem,
    Sampling,
    Trace,
    derive_seed,
    digest,
    thinking_spans,
)
from stillwise.runtime.prompts import STUDENT, excerpt, packaged

EASY, MEDIUM, HARD = 0.0, 1.0, 2.0
"""Values of the ``difficulty`` score."""
_EDITS: Mapping[float, tuple[str, str]] = {EASY: ("extend", "extended"), HARD: ("simplify", "simplified")}
"""Difficulty to (prompt, edit). A trace without an edit was medium: so the label before the rewriting is kept."""
EDITS = frozenset(edit for _, edit in _EDITS.values())
_JUDGED = {"kind": "judged", "rubric": "difficulty", "by": "reasoner"}

Pair = tuple[Problem, Trace]


class Writing(Protocol):
    """A rewriter that lets a role write."""

    @property
    def kind(self) -> str:
        """Its kind."""

    @property
    def fingerprint(self) -> str:
        """What decides its outputs."""

    @property
    def by(self) -> str:
        """The role that writes."""

    @property
    def sampling(self) -> Sampling:
        """How tokens are drawn; a longer text than its limit is truncated."""


class Fitting(Decoding):
    """What both rewriters are told: who judges, who writes, who verifies, and for which student."""

    by: Role = "reasoner"
    """The role that rewrites (and criticises); the paper lets one teacher generate, judge and rewrite."""
    difficulty: Scorer = Field(default=_JUDGED, validate_default=True)
    """Says easy (0), medium (1) or hard (2) for ``student``."""
    until: Verifier = Field(default="by_answer_kind", validate_default=True)
    """What verifies the rewritten traces; incorrect ones are discarded."""
    student: str = STUDENT
    """For whom it is rewritten, as it is put to the teacher and to a judge that asks for whom."""
    version: int = Field(default=1, ge=1)
    """Of the packaged prompts."""
    max_chars: int = Field(default=60_000, ge=2)
    """Of a longer trace the teacher sees the beginning and the end, and that something is left out."""


class FitDifficulty(Rewriter, Fitting):
    r"""One pass: a trace that is easy for the student is extended, a hard one simplified, a medium one comes back unchanged.

    The new thought must end in its own ``\boxed{}`` answer, which becomes the solution: what is verified afterwards is what the
    rewritten thought found, never the old solution.
    """

    kind: ClassVar[str] = "fit_difficulty"
    verify: Literal["edited", "all"] = "edited"
    """Which traces are verified afterwards: those that were rewritten, as the paper does, or the medium ones too."""

    @property
    def wants(self) -> Literal["correct", "incorrect", "all"]:
        """All traces are judged and rewritten; what is wrong is found afterwards."""
        return "all"

    def verifies(self, trace: Trace) -> bool:
        """Whether a trace is verified afterwards; a medium one that is not goes on without a verdict."""
        return self.verify == "all" or trace.edit in EDITS

    def rewrite(self, problem: Problem, trace: Trace, tools: Tools) -> Trace | Failure:
        """The fitted trace, or why there is none."""
        return self.rewrite_all([(problem, trace)], tools)[0]

    def rewrite_all(self, pairs: Sequence[Pair], tools: Tools) -> list[Trace | Failure]:
        """Each pair's fitted trace; all judgements are asked for together, then all rewritings."""
        labels = labelled(self, pairs, tools)
        out: list[Trace | Failure] = [trace for _, trace in pairs]
        for place, label in enumerate(labels):
            if label not in _EDITS:
                out[place] = _settled(tools, pairs[place][1], label)
        todo = [place for place, label in enumerate(labels) if label in _EDITS]
        asks = [_ask(self, pairs[place], _EDITS[labels[place] or EASY][0]) for place in todo]
        answers = asked(self, [pairs[place] for place in todo], asks, "rewrite", tools)
        for place, answer in zip(todo, answers, strict=True):
            out[place] = edited(self, pairs[place][1], answer, _EDITS[labels[place] or EASY][1], tools)
        return out


class CritiqueRethink(Rewriter, Fitting):
    """Rounds of critique and rewriting until a trace is medium for the student; what still is not after the last is dropped.

    A rewriting whose answer is wrong costs its round and is thrown away: the next round starts from the trace before it.
    """

    kind: ClassVar[str] = "critique_rethink"
    rounds: int = Field(default=3, ge=1)
    """At most so many rewritings of one trace."""

    def rewrite(self, problem: Problem, trace: Trace, tools: Tools) -> Trace | Failure:
        """The fitted trace, or why there is none."""
        return self.rewrite_all([(problem, trace)], tools)[0]

    def rewrite_all(self, pairs: Sequence[Pair], tools: Tools) -> list[Trace | Failure]:
        """Each pair's fitted trace; a round is asked for all open traces together."""
        current: list[Pair] = list(pairs)
        labels = labelled(self, current, tools)
        for number in range(self.rounds):
            opened = [place for place, label in enumerate(labels) if label in _EDITS]
            if not opened:
                break
            for place, trace in zip(opened, self._round([current[p] for p in opened], number, tools), strict=True):
                current[place] = (current[place][0], trace)
            again = labelled(self, [current[place] for place in opened], tools)
            for place, label in zip(opened, again, strict=True):
                labels[place] = label
        # Whatever stood between them, a trace's parent is the one that came in: that one is stored.
        ends = [new if new is old else replace(new, parent=old.id) for (_, old), (_, new) in zip(pairs, current, strict=True)]
        return [_settled(tools, trace, label) for trace, label in zip(ends, labels, strict=True)]

    def _round(self, pairs: Sequence[Pair], number: int, tools: Tools) -> list[Trace]:
        critiques = asked(self, pairs, [_ask(self, pair, "critique") for pair in pairs], f"critique/{number}", tools)
        asks = [_ask(self, pair, "rethink", critique=written(said)) for pair, said in zip(pairs, critiques, strict=True)]
        answers = asked(self, pairs, asks, f"rethink/{number}", tools)
        made = [edited(self, trace, said, "rethought", tools) for (_, trace), said in zip(pairs, answers, strict=True)]
        right = self._verified([(problem, new) for (problem, _), new in zip(pairs, made, strict=True)], tools)
        return [right.get(new.id, old) if isinstance(new, Trace) else old for (_, old), new in zip(pairs, made, strict=True)]

    def _verified(self, made: Sequence[tuple[Problem, Trace | Failure]], tools: Tools) -> dict[str, Trace]:
        whole = [(problem, trace) for problem, trace in made if isinstance(trace, Trace)]
        verdicts = self.until.decide(whole, tools)
        return {t.id: t for (_, t), v in zip(whole, verdicts, strict=True) if v.outcome is Outcome.CORRECT}


def _settled(tools: Tools, trace: Trace, label: float | None) -> Trace | Failure:
    if label == MEDIUM:
        # Whoever learnt it would learn to stop in the middle.
        return _failed(tools, trace, "truncated") if trace.finish is Finish.LENGTH else trace
    return _failed(tools, trace, "undecided_difficulty" if label is None else "never_medium")


def labelled(part: Fitting, pairs: Sequence[Pair], tools: Tools) -> list[float | None]:
    """The difficulty of each trace for the part's student; None where it is undecided."""
    asks_for_whom = "student" in type(part.difficulty).model_fields
    scorer = part.difficulty.model_copy(update={"student": part.student}) if asks_for_whom else part.difficulty
    scores = scorer.score_all([(problem, [trace]) for problem, trace in pairs], tools)
    return [score.value for [score] in scores]


def asked(part: Writing, pairs: Sequence[Pair], asks: Sequence[Ask], turn: str, tools: Tools) -> list[Completion]:
    """The teacher's answers in the order of the asks."""
    seeds = [derive_seed(tools.seed, tools.step, part.by, part.kind, turn, trace.id) for _, trace in pairs]
    requests = [Request(ask=ask, sampling=part.sampling, seed=seed) for ask, seed in zip(asks, seeds, strict=True)]
    bar = tools.progress(f"{tools.step} {turn}", len(requests))
    return tools.callers[part.by].complete(requests, lambda places, _: bar.advance(len(places))) if requests else []


def edited(part: Writing, trace: Trace, answer: Completion, edit: str, tools: Tools) -> Trace | Failure:
    """The trace with the answer as its thought (or as its text, where it had no thought), or why there is none."""
    if answer.failure:
        return _failed(tools, trace, answer.failure)
    if answer.finish is Finish.LENGTH:
        return _failed(tools, trace, "truncated")
    body = written(answer)
    found = last_boxed(body)
    if not found:
        return _failed(tools, trace, "no_answer")
    thought = trace.span("thinking") is not None
    text = f"{THINK_OPEN}\n{body}\n{THINK_CLOSE}\n\n\\boxed{{{found}}}" if thought else body
    caller = tools.callers[part.by]
    new = replace(
        trace,
        id=digest(trace.id, part.kind, edit, text),
        role=part.by,
        model=caller.revision,
        text=text,
        spans=thinking_spans(text),
        num_tokens=caller.count_tokens(text),
        num_thinking_tokens=None,
        finish=Finish.STOP,
        parent=trace.id,
        edit=edit,
    )
    return new.signed(part.kind, part.fingerprint)


def written(answer: Completion) -> str:
    """What the teacher wrote after its own thinking; tags of a thought inside it would end the student's."""
    whole = answer.opened + answer.text
    solutions = [whole[span.start : span.end] for span in thinking_spans(whole) if span.kind == "solution"]
    return "".join(solutions).replace(THINK_OPEN, "").replace(THINK_CLOSE, "").strip()


def _ask(part: Fitting, pair: Pair, prompt: str, **more: str) -> Ask:
    problem, trace = pair
    text = excerpt(trace.text, part.max_chars)
    filled = packaged("stillwise.rewrite", f"{prompt}-{part.version}").filled
    return Ask(user=filled(problem=problem.question, trace=text, student=part.student, **more))


def _failed(tools: Tools, trace: Trace, reason: str) -> Failure:
    return Failure(step=tools.step, item=trace.id, reason=reason)
