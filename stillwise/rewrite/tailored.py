"""A student's mistakes corrected by a teacher that sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Ask, Rewriter, Tools, Verifier
from stillwise.decoding import Decoding
from stillwise.parts import Role
from stillwise.records import Failure, Problem, Trace
from stillwise.rewrite.fit import asked, edited
from stillwise.runtime.prompts import excerpt, packaged


class Tailored(Rewriter, Decoding):
    """Tailored feedback: the teacher is shown the problem, its answer and a student's own wrong reasoning, and corrects it.

    Democratizing Reasoning Ability: Tailored Learning from Large Language Model, arXiv 2310.13332. The input's wrong traces are
    corrected and no others; the corrections are verified like anybody's answers.
    """

    kind: ClassVar[str] = "tailored"
    by: Role = "instructor"
    """The role that corrects."""
    until: Verifier = Field(default="by_answer_kind", validate_default=True)
    """What verifies the corrections."""
    version: int = Field(default=1, ge=1)
    """Of the packaged prompt."""
    max_tokens: int = Field(default=2048, ge=1)
    """A longer correction is dropped as truncated."""
    max_chars: int = Field(default=60_000, ge=2)
    """Of a longer attempt the teacher sees the beginning and the end, and that something is left out."""

    @property
    def wants(self) -> Literal["correct", "incorrect", "all"]:
        """Mistakes alone."""
        return "incorrect"

    def rewrite(self, problem: Problem, trace: Trace, tools: Tools) -> Trace | Failure:
        """The corrected trace, or why there is none."""
        return self.rewrite_all([(problem, trace)], tools)[0]

    def rewrite_all(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[Trace | Failure]:
        """Each mistake's correction; all are asked for together."""
        answers = asked(self, pairs, [self.ask(*pair) for pair in pairs], "feedback", tools)
        return [edited(self, trace, said, "corrected", tools) for (_, trace), said in zip(pairs, answers, strict=True)]

    def ask(self, problem: Problem, trace: Trace) -> Ask:
        """What the teacher is asked about one mistake."""
        prompt = packaged("stillwise.rewrite", f"{self.kind}-{self.version}")
        text = excerpt(trace.text, self.max_chars)
        return Ask(user=prompt.filled(problem=problem.question, answer=problem.answer or "unknown", trace=text))
