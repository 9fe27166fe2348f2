"""A thought cut into attempts at the problem, and what is left of it after the first that succeeds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Rewriter, Segmenter, Tools, Verifier
from stillwise.records import THINK_CLOSE, THINK_OPEN, Failure, Outcome, Problem, Span, Trace, digest, thinking_spans

_AGAIN = re.compile(
    r"(?:(?:but|so|and|hmm+|okay|ok|oh|no|actually|well|right)[,.!]*\s+)*"
    r"(?:wait|alternatively|another (?:way|approach|idea|method|thought|possibility)|maybe (?:there|i|we|the|it)|"
    r"on second thought|"
    r"let me (?:try|start|think|re|double|check|verify|consider|approach|go back|see if|make sure|confirm|look)|"
    r"let'?s (?:try|start over|verify|double|check|consider|re|look at it)|"
    r"(?:just )?to (?:verify|double|confirm|be sure|make sure)|"
    r"double.?check|what if|is (?:that|this|there)|i (?:made|should|need to) (?:a mistake|check|re))",
    re.IGNORECASE,
)
"""How a unit begins that leaves what stands before it: another try, another approach, a check."""
_CONCLUDES = re.compile(
    r"\\boxed\s*\{|####|"
    r"\b(?:final |correct )?(?:answer|result|solution|conclusion)\b[^.\n]{0,60}?(?:\b(?:is|are|would be|should be)\b|[:=])|"
    r"\b(?:so|therefore|thus|hence)\b[^.\n]{0,120}?(?:=|\b(?:is|are|must be|can|would be)\b)",
    re.IGNORECASE,
)
"""How an attempt says that it has arrived."""
_UNITS = {"kind": "logical_units", "check_words": 8}
_UNMARKED = {"kind": "by_answer_kind", "mode": "recall"}


class Attempts(Segmenter):
    """Attempts: a thought is cut where a unit turns back ("Wait", "Alternatively", "Let me verify") after a conclusion.

    A unit that turns back before anything was concluded goes on with the same attempt: doubt in mid-calculation is no
    second one. Cues of the text alone, no model is asked: after the attempt split of DLCoT (arXiv 2503.16385), which asks one.
    """

    kind: ClassVar[str] = "attempts"
    units: Segmenter = Field(default=_UNITS, validate_default=True)
    """What is never cut; a remark of a few words ("Wait, no.") is no attempt."""

    def segment(self, text: str) -> tuple[Span, ...]:
        """Spans of whole units."""
        starts = list(self._starts(text))
        if not starts:
            return ()
        return tuple(Span(kind="unit", start=a, end=b) for a, b in zip(starts, [*starts[1:], len(text)], strict=True))

    def _starts(self, text: str) -> Iterator[int]:
        concluded = True
        for unit in self.units.segment(text):
            words = text[unit.start : unit.end]
            if unit.start == 0 or (concluded and _AGAIN.match(words)):
                yield unit.start
                concluded = False
            concluded = concluded or bool(_CONCLUDES.search(words))


class FirstSolution(Rewriter):
    r"""The thought up to and with its first successful attempt; the solution stays.

    Chen et al., Do NOT Think That Much for 2+3=? (arXiv 2412.21187, §4.2): *first-correct solutions*, and with ``checks: 1``
    their *FCS + reflection*. With ``accept: concluded`` it is DLCoT's *keep only the first answered attempt*.
    """

    kind: ClassVar[str] = "first_solution"
    attempts: Segmenter = Field(default="attempts", validate_default=True)
    """What an attempt is."""
    accept: Literal["verified", "concluded"] = "verified"
    """``verified``: the attempt's own answer is the reference's. ``concluded``: it arrives anywhere (no reference needed)."""
    checks: int = Field(default=0, ge=0)
    """So many attempts after it stay too."""
    reached: Verifier = Field(default=_UNMARKED, validate_default=True)
    """What says whether an attempt arrived at the reference; inside a thought few answers are boxed."""
    until: Verifier = Field(default="by_answer_kind", validate_default=True)
    """What verifies the shortened trace."""

    def rewrite(self, problem: Problem, trace: Trace, tools: Tools) -> Trace | Failure:
        """The shortened trace; the same one where nothing follows; a failure where there is no thought or no such attempt."""
        return self.rewrite_all([(problem, trace)], tools)[0]

    def rewrite_all(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[Trace | Failure]:
        """Each pair's shortened trace; all attempts are verified together."""
        spans = [self.attempts.segment(trace.span("thinking") or "") for _, trace in pairs]
        tried = [(i, k) for i, found in enumerate(spans) for k in range(len(found))]
        good = self._accepted([(pairs[i][0], _alone(pairs[i][1], spans[i][k])) for i, k in tried], tools)
        first: dict[int, int] = {}
        for (i, k), accepted in zip(tried, good, strict=True):
            if accepted:
                first.setdefault(i, k)
        return [self._cut(trace, spans[i], first.get(i), tools) for i, (_, trace) in enumerate(pairs)]

    def _accepted(self, attempts: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[bool]:
        if self.accept == "concluded":
            return [bool(_CONCLUDES.search(attempt.text)) for _, attempt in attempts]
        return [verdict.outcome is Outcome.CORRECT for verdict in self.reached.decide(attempts, tools)]

    def _cut(self, trace: Trace, spans: Sequence[Span], first: int | None, tools: Tools) -> Trace | Failure:
        if first is None:
            reason = "no_accepted_attempt" if spans else "no_thought"
            return Failure(step=tools.step, item=trace.id, reason=reason)
        thought = trace.span("thinking") or ""
        end = spans[min(first + self.checks, len(spans) - 1)].end
        return trace if end == len(thought) else self._shortened(trace, thought[:end], tools)

    def _shortened(self, trace: Trace, thought: str, tools: Tools) -> Trace:
        text = f"{THINK_OPEN}\n{thought.strip()}\n{THINK_CLOSE}\n\n{(trace.span('solution') or '').strip()}"
        caller = tools.callers.get(trace.role)
        edited = replace(
            trace,
            id=digest(trace.id, self.kind, text),
            text=text,
            spans=thinking_spans(text),
            num_tokens=caller.count_tokens(text) if caller else None,
            num_thinking_tokens=None,
            parent=trace.id,
            edit=self.kind,
        )
        return edited.signed(self.kind, self.fingerprint)


def _alone(trace: Trace, attempt: Span) -> Trace:
    """One attempt as if it were an answer of its own."""
    text = (trace.span("thinking") or "")[attempt.start : attempt.end].strip()
    return replace(trace, id=digest(trace.id, attempt.start), text=text, spans=(Span(kind="solution", start=0, end=len(text)),))
