"""A sampler that stops when a problem has enough different answers of a kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Sampled, Sampler, Tools, Verifier
from stillwise.records import Failure, Problem
from stillwise.sample.rejection import Draws, checked


class UntilEnough(Sampler, Draws):
    """Answers to each problem until enough of them are right (or wrong) and unlike all earlier ones, or the tries are used up.

    ORPO-Distill, arXiv 2509.25100, §2: K correct traces of the teacher, K incorrect ones of the student, ROUGE-L at most 0.80.
    Every attempt comes out with its verdict; the filter ``distinct`` with the same limit drops those that were too much alike.
    """

    kind: ClassVar[str] = "until_enough"
    count: int = Field(default=8, ge=1)
    """Wanted answers per problem; the paper's K."""
    wanted: Literal["correct", "incorrect"] = "correct"
    """Which answers count."""
    max_rouge_l: float = Field(default=0.8, ge=0, le=1)
    """An answer that is more like an earlier one of its problem does not count; at 1 all do."""
    tries: int = Field(default=24, ge=1)
    """Answers per problem at most."""
    until: Verifier = Field(default="by_answer_kind", validate_default=True)
    """What judges each answer."""

    def sample(self, problems: Sequence[Problem], tools: Tools) -> Iterator[Sampled | Failure]:
        """Waves: try k for every problem that lacks answers, in the order of the problems."""
        from stillwise.runtime.draw import draw_verified
        from stillwise.runtime.lengthen import lengthened

        tools = lengthened(tools, self.by, self.truncated, self.extra_tokens)
        held: dict[str, list[Sampled]] = {}
        lacking = self.some(problems, tools)
        for index in range(self.tries):
            if not lacking:
                return
            bar = tools.progress(f"{tools.step}, try {index + 1} of {self.tries}", len(lacking))
            wave = draw_verified(lacking, self.paradigm, self.by, self.sampling, index, self.until, tools, bar)
            for problem, one in zip(lacking, wave, strict=True):
                yield (found := checked(problem, one, self.paradigm, tools.step))
                held.setdefault(problem.id, []).extend([found] if isinstance(found, Sampled) else [])
            lacking = [problem for problem in lacking if self._counted(held[problem.id]) < self.count]

    def _counted(self, held: Sequence[Sampled]) -> int:
        from stillwise.runtime.likeness import unlike

        apart = unlike((one.trace.text for one in held), self.max_rouge_l)
        return sum(kept and self._is_wanted(one) for one, kept in zip(held, apart, strict=True))

    def _is_wanted(self, one: Sampled) -> bool:
        return one.verdict is not None and one.verdict.outcome == self.wanted
