"""Long traces rewritten short, by a teacher that first judges how hard the problem is: one prompt for both."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Ask, Completion, Rewriter, Tools, Verifier
from stillwise.decoding import Decoding
from stillwise.parts import Role
from stillwise.records import Failure, Problem, Trace
from stillwise.rewrite.fit import asked, edited, written
from stillwise.runtime.prompts import excerpt, packaged

_JUDGED = re.compile(r"\A\W*difficulty\W+(easy|medium|hard)\b\W*?(?:\n|\Z)", re.IGNORECASE)


class ByDifficulty(Rewriter, Decoding):
    r"""Difficulty-aware prompting: in one answer the teacher says easy, medium or hard and rewrites by that template.

    Concise Reasoning, Big Gains: Pruning Long Reasoning Trace with Difficulty-Aware Prompting, arXiv 2505.19716. The judged
    difficulty becomes the trace's edit. The new thought must end in its own ``\boxed{}`` answer, which is verified again, and
    be shorter than the old trace.
    """

    kind: ClassVar[str] = "by_difficulty"
    by: Role = "reasoner"
    """The role that judges and rewrites; the paper's teacher rewrites its own traces."""
    until: Verifier = Field(default="by_answer_kind", validate_default=True)
    """What verifies the rewritten traces; incorrect ones are discarded."""
    version: int = Field(default=1, ge=1)
    """Of the packaged prompt, which holds the three templates."""
    max_chars: int = Field(default=60_000, ge=2)
    """Of a longer trace the teacher sees the beginning and the end, and that something is left out."""

    def rewrite(self, problem: Problem, trace: Trace, tools: Tools) -> Trace | Failure:
        """The short trace, or why there is none."""
        return self.rewrite_all([(problem, trace)], tools)[0]

    def rewrite_all(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[Trace | Failure]:
        """Each pair's short trace; all are asked for together."""
        filled = packaged("stillwise.rewrite", f"{self.kind}-{self.version}").filled
        asks = [Ask(user=filled(problem=p.question, trace=excerpt(t.text, self.max_chars))) for p, t in pairs]
        answers = asked(self, pairs, asks, "rewrite", tools)
        return [self._made(trace, answer, tools) for (_, trace), answer in zip(pairs, answers, strict=True)]

    def _made(self, trace: Trace, answer: Completion, tools: Tools) -> Trace | Failure:
        judged = _JUDGED.match(written(answer))
        if not judged and not answer.failure:
            return Failure(step=tools.step, item=trace.id, reason="undecided_difficulty")
        body = written(answer)[judged.end() :] if judged else ""
        made = edited(self, trace, replace(answer, opened="", text=body), judged[1].lower() if judged else "", tools)
        if isinstance(made, Trace) and (made.num_tokens or 0) >= tools.callers[self.by].count_tokens(trace.text):
            return Failure(step=tools.step, item=trace.id, reason="not_shorter", detail=made.edit or "")
        return made
