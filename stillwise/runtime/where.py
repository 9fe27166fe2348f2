"""``--on``: which executor a word means, and graders that use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stillwise.errors import UserError, nearest
from stillwise.runtime.executor import Executor, Local
from stillwise.runtime.spread import OpenGraders, spread

if TYPE_CHECKING:
    from stillwise.arrows import Graders, Verifier
    from stillwise.records import Problem, Trace, Verdict
    from stillwise.runtime.graders import GraderPool

LOCAL, RAY = "local", "ray"


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
        return spread(self.executor, Grade(verifier), pairs, lambda: self.here.verify(verifier, pairs))


def graders_for(executor: Executor, here: GraderPool) -> Graders:
    """Graders of a run: this process's pool, and the cluster's workers where there is one."""
    return here if isinstance(executor, Local) else SpreadGraders(executor, here)
