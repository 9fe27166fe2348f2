"""What a trace looks like: how long it is, whether it has the parts of an answer, how often it repeats itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Scorer, Tools
from stillwise.boxed import has_box
from stillwise.records import THINK_CLOSE, THINK_OPEN, Finish, Problem, Score, Trace
from stillwise.score.rethink import Scope, num_words, scoped

_TOKEN = re.compile(r"\w+|[^\w\s]")
_ANSWER = re.compile(r"\b(?:answer|result)\b[^.\n]{0,40}?(?:is|:|=)|####", re.IGNORECASE)


class Length(Scorer):
    """How long a trace is."""

    kind: ClassVar[str] = "length"
    unit: Literal["tokens", "words", "characters", "steps"] = "tokens"
    """Tokens as generated (None where the source did not say), words, characters, or blocks between blank lines."""
    scope: Scope = "all"
    """``thought`` measures the thinking only; tokens are known of the whole alone."""

    def score(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> list[Score]:
        """One length for each trace; None where it is not known."""
        return [self.of(trace) for trace in traces]

    def of(self, trace: Trace) -> Score:
        """The length of one trace."""
        if self.unit == "tokens":
            known = trace.num_tokens is not None and self.scope == "all"
            detail = None if known else "tokens are known of the whole alone" if trace.num_tokens else "not stated"
            return Score(name=self.kind, value=float(trace.num_tokens or 0) if known else None, detail=detail)
        text = scoped(trace, self.scope)
        if self.scope == "thought" and trace.span("thinking") is None:
            return Score(name=self.kind, value=None, detail="no thought")
        blocks = [block for block in re.split(r"\n\s*\n", text) if block.strip()]
        sizes = {"words": num_words(text), "characters": len(text), "steps": len(blocks)}
        return Score(name=self.kind, value=float(sizes[self.unit]), detail=self.unit)


class Structure(Scorer):
    """The share of an answer's parts that a trace has; the detail names those that it lacks.

    Parts: it ended by itself (or the source did not say), every tag that opens a thought is closed once, a solution stands
    after the thought, the solution states an answer, and it is not the thought over again.
    """

    kind: ClassVar[str] = "structure"
    thought: bool = True
    """Whether a thought is demanded."""

    def score(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> list[Score]:
        """One share for each trace."""
        return [self.of(trace) for trace in traces]

    def of(self, trace: Trace) -> Score:
        """The share of one trace."""
        thinking, solution = (trace.span("thinking") or "").strip(), (trace.span("solution") or "").strip()
        opened, closed = trace.text.count(THINK_OPEN), trace.text.count(THINK_CLOSE)
        parts = {
            "end": trace.finish is not Finish.LENGTH,
            "tags": opened <= 1 and closed <= 1 and opened <= closed,
            "solution": bool(solution),
            "answer": has_box(solution) or bool(_ANSWER.search(solution)),
            "no_copy": not solution or len(solution) < 200 or solution not in thinking,
        }
        if self.thought:
            parts["thought"] = bool(thinking)
        lacking = [name for name, there in parts.items() if not there]
        return Score(
            name=self.kind, value=1 - len(lacking) / len(parts), detail=f"lacks {', '.join(lacking)}" if lacking else None
        )


class Repetition(Scorer):
    """The share of a trace's n-grams that stood before in it: 0 where nothing is said twice, near 1 in a loop."""

    kind: ClassVar[str] = "repetition"
    ngram: int = Field(default=8, ge=1)
    """Words and signs of an n-gram."""
    scope: Scope = "all"
    """``thought`` looks at the thinking only."""

    def score(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> list[Score]:
        """One share for each trace; None where it is shorter than an n-gram."""
        return [self.of(trace) for trace in traces]

    def of(self, trace: Trace) -> Score:
        """The share of one trace; the detail holds the n-gram that stands most often."""
        tokens = _TOKEN.findall(scoped(trace, self.scope).casefold())
        grams = Counter(zip(*(tokens[i:] for i in range(self.ngram)), strict=False))
        total = grams.total()
        if total == 0:
            return Score(name=self.kind, value=None, detail=f"fewer than {self.ngram} words")
        often, times = grams.most_common(1)[0]
        detail = f"{times} times: {' '.join(often)}" if times > 1 else None
        return Score(name=self.kind, value=1 - len(grams) / total, detail=detail)
