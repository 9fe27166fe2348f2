"""Row-wise work of parts, cut into ranges that the executor's workers take: what each row gives does not depend on the cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from stillwise.arrows import Rewriter, Scorer, Tools
from stillwise.records import Failure, Problem, Score, Trace
from stillwise.runtime.executor import Executor, Work, cut

if TYPE_CHECKING:
    from stillwise.runtime.graders import GraderPool

S = TypeVar("S")
R = TypeVar("R")

LEAST_ROWS = 64
"""Fewer rows in a range are worked on here sooner than they are sent."""
RANGES_PER_SLOT = 2


def spread(executor: Executor, work: Work[Sequence[S], list[R]], items: Sequence[S], here: Callable[[], list[R]]) -> list[R]:
    """One result for each item, in order: by workers where there are several and enough to do, else by ``here``."""
    ranges = cut(items, RANGES_PER_SLOT * executor.slots if executor.slots > 1 else 1, LEAST_ROWS)
    if len(ranges) <= 1:
        return here()
    found = {done.index: done.value for done in executor.map(work, ranges)}
    return [result for index in range(len(ranges)) for result in found[index]]


@dataclass(frozen=True)
class OpenGraders:
    """Opens a worker's own pool of graders."""

    workers: int = 1

    def __call__(self) -> GraderPool:
        from stillwise.runtime.graders import GraderPool

        return GraderPool(workers=self.workers)


class _Unseen:
    """Progress that nobody sees: the driver counts."""

    def advance(self, done: int = 1, **figures: float) -> None:
        """Nothing."""


def _unseen(label: str, total: int) -> _Unseen:
    return _Unseen()


@dataclass(frozen=True)
class _Given:
    """What a worker's tools are made of."""

    step: str
    seed: int
    scores: Mapping[str, Mapping[str, Score]] = field(default_factory=dict, hash=False)

    def tools(self, executor: Any) -> Tools:
        graders = executor.hold(OpenGraders())
        return Tools(step=self.step, seed=self.seed, callers={}, graders=graders, progress=_unseen, scores=self.scores)


@dataclass(frozen=True)
class _Scoring:
    """Scores of a range of groups."""

    part: Scorer
    given: _Given

    def __call__(self, groups: Sequence[tuple[Problem, Sequence[Trace]]], executor: Any) -> list[list[Score]]:
        return self.part.score_all(groups, self.given.tools(executor))


@dataclass(frozen=True)
class _Rewriting:
    """Edited traces of a range of pairs."""

    part: Rewriter
    given: _Given

    def __call__(self, pairs: Sequence[tuple[Problem, Trace]], executor: Any) -> list[Trace | Failure]:
        return self.part.rewrite_all(pairs, self.given.tools(executor))


def scores(
    part: Scorer, groups: Sequence[tuple[Problem, Sequence[Trace]]], tools: Tools, executor: Executor
) -> list[list[Score]]:
    """What ``part.score_all`` gives. Scorers that ask a model, or look at all groups at once, do so from here."""
    if tools.callers or type(part).score_all is not Scorer.score_all:
        return part.score_all(groups, tools)
    work = _Scoring(part, _Given(tools.step, tools.seed, tools.scores))
    return spread(executor, work, groups, lambda: part.score_all(groups, tools))


def rewritings(
    part: Rewriter, pairs: Sequence[tuple[Problem, Trace]], tools: Tools, executor: Executor
) -> list[Trace | Failure]:
    """What ``part.rewrite_all`` gives. Rewriters that ask a model, or look at all traces at once, do so from here."""
    if tools.callers or type(part).rewrite_all is not Rewriter.rewrite_all:
        return part.rewrite_all(pairs, tools)
    work = _Rewriting(part, _Given(tools.step, tools.seed, tools.scores))
    return spread(executor, work, pairs, lambda: part.rewrite_all(pairs, tools))
