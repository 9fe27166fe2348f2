"""Several teachers at several temperatures: many outcomes of each problem, in one output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Paradigm, Sampled, Sampler, Tools, Truncated, Verifier
from stillwise.parts import Role
from stillwise.records import Failure, Problem
from stillwise.sample.rejection import All


class Varied(Sampler):
    """Every teacher at every temperature, each answer with its verdict, none discarded (Thinking with DistilQwen, §3.2)."""

    kind: ClassVar[str] = "varied"

    by: tuple[Role, ...] = Field(min_length=1)
    """The roles that answer."""
    paradigm: Paradigm
    """How they are asked."""
    temperatures: tuple[float, ...] = Field(default=(0.6, 0.8, 1.0), min_length=1)
    """Each teacher answers at each of them; 0 is greedy. The paper says that they vary, not what they are."""
    each: int = Field(default=1, ge=1)
    """Answers per problem, teacher and temperature."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Nucleus of the distribution that is drawn from."""
    top_k: int = Field(default=0, ge=0)
    """0 keeps all tokens."""
    max_tokens: int = Field(default=16384, ge=1)
    """A longer answer is truncated, never correct."""
    truncated: Truncated = "keep"
    """``keep`` truncated answers as such, ``continue`` them by prefill, or ``resample`` them with a larger budget; once."""
    extra_tokens: int = Field(default=16384, ge=1)
    """How much larger the budget is then."""
    verify: Verifier = Field(default="by_answer_kind", validate_default=True)
    """What judges each answer."""

    @property
    def tries(self) -> int:
        """Answers per problem in all."""
        return len(self.by) * len(self.temperatures) * self.each

    def sample(self, problems: Sequence[Problem], tools: Tools) -> Iterator[Sampled | Failure]:
        """Teacher by teacher, temperature by temperature, try by try; within a try the order of the problems.

        Answers are numbered over all of them: no two of a problem share a number, nor a seed.
        """
        for place, (role, temperature) in enumerate(product(self.by, self.temperatures)):
            one = All(
                by=role,
                paradigm=self.paradigm,
                tries=self.each,
                temperature=temperature,
                top_p=self.top_p,
                top_k=self.top_k,
                max_tokens=self.max_tokens,
                truncated=self.truncated,
                extra_tokens=self.extra_tokens,
                verify=self.verify,
            )
            path = f"{tools.step}/{place}"
            found = one.sample(problems, replace(tools, step=path))
            yield from (_numbered(item, place * self.each, tools.step) for item in found)


def _numbered(item: Sampled | Failure, before: int, step: str) -> Sampled | Failure:
    if isinstance(item, Failure):
        return replace(item, step=step)
    trace = item.trace
    return replace(item, trace=replace(trace, sample_index=before + trace.sample_index))
