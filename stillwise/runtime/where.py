"""``--on``: which executor a word means, and graders that use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stillwise.errors import UserError, nearest
from stillwise.runtime.executor import Executor, Local, cut

if TYPE_CHECKING:
    from stillwise.arrows import Graders, Verifier
    from stillwise.records import Problem, Trace, Verdict
    from stillwise.runtime.graders import GraderPool

LOCAL, RAY = "local", "ray"
LEAST_PAIRS = 64
"""Fewer pairs in a shard are graded here sooner than they are sent."""
SHARDS_PER_SLOT = 2


def check_on(on: str) -> str:
    """The word itself; UserError where it is neither ``local`` nor ``ray[:ADDRESS]``."""
    name, sign, address = on.partition(":")
    if name not in (LOCAL, RAY) or (sign and not (name == RAY and address)):
        raise UserError(f"--on {on}: give local, ray or ray:ADDRESS; {nearest(name, (LOCAL, RAY))}")
    return on


def on_cluster(on: str) -> bool:
    """Whether work runs on a cluster."""
    return check_on(on) != LOCAL


def open_executor(on: str, threads: int) -> Executor:
    """The executor that ``--on`` means; ``release`` ends it."""
    if not on_cluster(on):
        return Local()
    from stillwise.runtime import cluster
    from stillwise.runtime.ray_executor import RayExecutor

    return RayExecutor(threads=threads, leaves=cluster.join(on.partition(":")[2]))


@dataclass(frozen=True)
class OpenGraders:
    """Opens a worker's own pool of graders."""

    workers: int = 1

    def __call__(self) -> GraderPool:
        from stillwise.runtime.graders import GraderPool

        return GraderPool(workers=self.workers)


@dataclass(frozen=True)
class Grade:
    """Verdicts of one shard of pairs, by the worker's own pool."""

    verifier: Verifier

    def __call__(self, shard: Sequence[tuple[Problem, Trace]], executor: Any) -> list[Verdict]:
        pool: GraderPool = executor.hold(OpenGraders())
        return pool.verify(self.verifier, shard)


@dataclass(frozen=True)
class SpreadGraders:
    """Implements ``arrows.Graders``: many pairs are graded by the executor's workers, few by the pool of this process."""

    executor: Executor
    here: GraderPool

    def verify(self, verifier: Verifier, pairs: Sequence[tuple[Problem, Trace]]) -> list[Verdict]:
        """Verdicts in the order of the pairs."""
        shards = cut(pairs, SHARDS_PER_SLOT * self.executor.slots, LEAST_PAIRS)
        if len(shards) <= 1:
            return self.here.verify(verifier, pairs)
        found = {done.index: done.value for done in self.executor.map(Grade(verifier), shards)}
        return [verdict for index in range(len(shards)) for verdict in found[index]]


def graders_for(executor: Executor, here: GraderPool) -> Graders:
    """Graders of a run: this process's pool, and the cluster's workers where there is one."""
    return here if isinstance(executor, Local) else SpreadGraders(executor, here)
