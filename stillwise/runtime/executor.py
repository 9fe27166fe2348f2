"""Where work runs: an executor maps picklable work over shards and holds costly resources for its workers.

Two verbs so far: ``map`` and ``hold``. ``exchange`` (grouping across shards) and ``gang`` (training across processes) join
them with the first step that needs more than one process; nothing above this folder may know which executor runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from stillwise.models.model import Model

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True)
class Done(Generic[R]):
    """One shard's result. Shards may finish in any order; ``index`` says which one it was."""

    index: int
    value: R


class Work(Protocol[S_contra, R_co]):
    """A frozen picklable value that turns a shard into a result on a worker."""

    def __call__(self, shard: S_contra, executor: Any, /) -> R_co: ...


class Opener(Protocol):
    """A frozen picklable recipe for a model; equal openers share one loaded model on a worker."""

    def __call__(self) -> Model: ...

    def __hash__(self) -> int: ...


@runtime_checkable
class Closing(Protocol):
    """A model with something to end."""

    def close(self) -> None:
        """End it."""


class Executor(Protocol):
    """Runs work somewhere."""

    def map(self, work: Work[S, R], shards: Sequence[S]) -> Iterator[Done[R]]:
        """Results as they come; an exception in the work ends the iteration with that exception."""

    def hold(self, opener: Opener) -> Model:
        """The worker's one copy of a model, opened at first use."""

    def release(self) -> None:
        """Let go of everything held."""


@dataclass
class Local:
    """This process: shards one after another, so a local model has the machine's cores to itself."""

    _held: dict[Opener, Model] = field(default_factory=dict)

    def map(self, work: Work[S, R], shards: Sequence[S]) -> Iterator[Done[R]]:
        """Results in the order of the shards."""
        for index, shard in enumerate(shards):
            yield Done(index, work(shard, self))

    def hold(self, opener: Opener) -> Model:
        """The one copy of this model in this process."""
        if opener not in self._held:
            self._held[opener] = opener()
        return self._held[opener]

    def release(self) -> None:
        """Forget all models; those that hold connections or threads end them."""
        for model in self._held.values():
            if isinstance(model, Closing):
                model.close()
        self._held.clear()
