"""Samplers: retry until verified (rejection sampling), or draw every try."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Ban, Paradigm, Progress, Sampled, Sampler, Tools, Truncated, Verifier
from stillwise.decoding import Decoding
from stillwise.parts import Role
from stillwise.records import Failure, Outcome, Problem, Sampling, derive_seed, digest


class Draws(Decoding):
    """How a problem is answered, and how often."""

    by: Role
    """The role that answers."""
    paradigm: Paradigm
    """How it is asked."""
    tries: int = Field(default=4, ge=1)
    """Answers per problem; with rejection, at most."""
    top_k: int = Field(default=0, ge=0)
    """0 keeps all tokens."""
    truncated: Truncated = "keep"
    """``keep`` truncated answers as such, ``continue`` them by prefill, or ``resample`` them with a larger budget; once."""
    extra_tokens: int = Field(default=16384, ge=1)
    """How much larger the budget is then."""
    num_problems: int | None = Field(default=None, ge=1)
    """Only so many of the problems, the same ones in every step that asks for as many; None answers all."""
    share: float = Field(default=1.0, ge=0, le=1)
    """The probability that a problem is asked, drawn anew in every step and round; at 0 no model is called."""

    def some(self, problems: Sequence[Problem], tools: Tools) -> list[Problem]:
        """The problems that are answered, in their order: ``num_problems`` by their ids alone, ``share`` by the step too."""
        if self.num_problems is None and self.share == 1:
            return list(problems)
        ranked = sorted(problems, key=lambda problem: digest("trial", problem.id))
        chosen = {problem.id for problem in ranked[: self.num_problems] if self._drawn(problem, tools)}
        return [problem for problem in problems if problem.id in chosen]

    def _drawn(self, problem: Problem, tools: Tools) -> bool:
        from random import Random

        return self.share == 1 or Random(derive_seed(tools.seed, tools.step, "share", problem.id)).random() < self.share

    @property
    def sampling(self) -> Sampling:
        """The same as records have it."""
        return replace(super().sampling, top_k=self.top_k)


class Rejection(Sampler, Draws):
    """Up to ``tries`` answers to each problem until one is verified correct (§4.1 of the curriculum distillation paper)."""

    kind: ClassVar[str] = "rejection"

    until: Verifier = Field(default="by_answer_kind", validate_default=True)
    """What decides that a problem needs no further try."""

    def sample(self, problems: Sequence[Problem], tools: Tools) -> Iterator[Sampled | Failure]:
        """Waves: try k for every unsolved problem, in the order of the problems; every attempt comes out, kept or not."""
        from stillwise.runtime.draw import draw_verified
        from stillwise.runtime.lengthen import lengthened

        sampling, tools = self.sampling, lengthened(tools, self.by, self.truncated, self.extra_tokens)
        problems = self.some(problems, tools)
        unsolved = list(problems)
        for index in range(self.tries):
            if not unsolved:
                return
            bar = _Solved(tools.progress(_label(tools, index, self.tries), len(unsolved)), len(problems), len(unsolved))
            wave = draw_verified(unsolved, self.paradigm, self.by, sampling, index, self.until, tools, bar)
            left = []
            for problem, sampled in zip(unsolved, wave, strict=True):
                yield (one := checked(problem, sampled, self.paradigm, tools.step))
                left += [] if _correct(one) else [problem]
            unsolved = left


class All(Sampler, Draws):
    """Every try of every problem, each with its verdict, none discarded."""

    kind: ClassVar[str] = "all"

    verify: Verifier = Field(default="by_answer_kind", validate_default=True)
    """What judges each answer."""

    def sample(self, problems: Sequence[Problem], tools: Tools) -> Iterator[Sampled | Failure]:
        """Try 0 of every problem, then try 1, …; within a try the order of the problems."""
        from stillwise.runtime.draw import draw_tries
        from stillwise.runtime.lengthen import lengthened

        sampling, tools = self.sampling, lengthened(tools, self.by, self.truncated, self.extra_tokens)
        problems = self.some(problems, tools)
        bar = tools.progress(tools.step, len(problems) * self.tries)
        found = draw_tries(problems, self.paradigm, self.by, sampling, self.tries, self.verify, tools, bar)
        for place, one in enumerate(found):
            yield checked(problems[place % len(problems)], one, self.paradigm, tools.step)


def _label(tools: Tools, index: int, tries: int) -> str:
    return f"{tools.step}, try {index + 1} of {tries}" if tries > 1 else tools.step


def _correct(one: Sampled | Failure) -> bool:
    return isinstance(one, Sampled) and one.verdict is not None and one.verdict.outcome is Outcome.CORRECT


def checked(problem: Problem, one: Sampled | Failure, paradigm: Paradigm, step: str) -> Sampled | Failure:
    """The attempt, or a failure if a banned word stands in it after all (a back end that ignores bans)."""
    ban: Ban | None = paradigm.ask(problem).ban
    if isinstance(one, Failure) or ban is None or ban.mode != "words":
        return one
    from stillwise.models.bans import banned_words_in

    found = banned_words_in(one.trace.text, ban)
    if not found:
        return one
    detail = f"try {one.trace.sample_index}: {', '.join(sorted(set(found)))}"
    return Failure(step=step, item=problem.id, reason="banned_word", detail=detail)


@dataclass
class _Solved:
    """A wave's bar that also shows which share of all problems is solved so far."""

    bar: Progress
    total: int
    unsolved: int
    seen: int = 0

    def advance(self, done: int = 1, **figures: float) -> None:
        """Count attempts; ``correct`` is the wave's running share of correct answers."""
        self.seen += done
        solved = self.total - self.unsolved + figures.get("correct", 0.0) * self.seen
        self.bar.advance(done, solved=solved / self.total, **figures)
