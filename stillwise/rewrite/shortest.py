"""Thoughts cut to their shortest beginning from which the student itself states the right answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Rewriter, Segmenter, Tools
from stillwise.records import Failure, Problem, Trace
from stillwise.rewrite.validator import Given, Validating, right_after, with_thought

MOST_STEPS = 4096
"""Of a thought, as plans assume: bisection takes twelve answers then, and one to the whole thought."""


@dataclass
class _Search:
    """Bisection over the beginnings 1..n of a thought; ``high`` is the shortest that was seen to suffice."""

    thought: str
    ends: Sequence[int]
    low: int = 1
    high: int = 0
    hopeless: bool = False

    @property
    def next(self) -> int | None:
        """What is tried next: the whole thought first, then the middle; None when nothing is left to try."""
        if self.hopeless or self.high == self.low:
            return None
        return (self.low + self.high) // 2 if self.high else len(self.ends)

    def steps(self, count: int) -> str:
        """The first ``count`` steps."""
        return self.thought[: self.ends[count - 1]]

    def heard(self, right: bool) -> None:
        """Narrows the search; after a failure cut steps come back, for only longer beginnings are left."""
        here = self.next or 0
        if right:
            self.high = here
        elif not self.high:
            self.hopeless = True
        else:
            self.low = here + 1


class ShortestPrefix(Rewriter, Validating):
    """The shortest sufficient beginning of a thought, by bisection with the student as validator; the solution stays.

    Efficient Long CoT Reasoning in Small Language Models, arXiv 2505.18440, §3: at most ceil(log2 n) + 1 answers instead of n.
    Where a longer beginning fails though a shorter one would do, what is found still suffices, but need not be the shortest.
    """

    kind: ClassVar[str] = "shortest_prefix"
    segment: Segmenter = Field(default="logical_units", validate_default=True)
    """What cuts a thought into steps."""

    @property
    def calls(self) -> int:
        """Answers that one trace takes at most, if its thought has no more than ``MOST_STEPS`` steps (for plans)."""
        return (MOST_STEPS - 1).bit_length() + 1

    def rewrite(self, problem: Problem, trace: Trace, tools: Tools) -> Trace | Failure:
        """The trace with the cut thought, or why there is none."""
        return self.rewrite_all([(problem, trace)], tools)[0]

    def rewrite_all(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[Trace | Failure]:
        """Each pair's cut trace; one round asks for the next beginning of every open search together.

        ``never_sufficient``: not even the whole thought led this student to the answer; ``no_thought``: there was none.
        """
        searches = [self._search(trace) for _, trace in pairs]
        number = 0
        while opened := [place for place, one in enumerate(searches) if one.next]:
            given: list[Given] = [
                (pairs[place][0], searches[place].steps(searches[place].next or 0), f"{pairs[place][1].id}/{number}")
                for place in opened
            ]
            for place, right in zip(opened, right_after(self, given, f"round {number}", tools), strict=True):
                searches[place].heard(right)
            number += 1
        return [self._settled(trace, one, tools) for (_, trace), one in zip(pairs, searches, strict=True)]

    def _search(self, trace: Trace) -> _Search:
        thought = trace.span("thinking") or ""
        ends = [span.end for span in self.segment.segment(thought)]
        return _Search(thought=thought, ends=ends, hopeless=not ends or trace.span("solution") is None)

    def _settled(self, trace: Trace, search: _Search, tools: Tools) -> Trace | Failure:
        if search.hopeless:
            reason = "never_sufficient" if search.ends else "no_thought"
            return Failure(step=tools.step, item=trace.id, reason=reason, detail=f"{len(search.ends)} steps")
        edit = f"{self.kind}:{search.high}/{len(search.ends)}"
        count = tools.callers[self.by].count_tokens
        return with_thought(trace, search.steps(search.high), self.kind, edit, count).signed(self.kind, self.fingerprint)
