"""Where work runs: an executor maps picklable work over shards and holds costly resources for its workers.

``Local`` is this process; ``ray_executor.RayExecutor`` is a cluster. Nothing above this folder may know which one runs: the
same work, cut into the same shards, gives the same bytes on both.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Done(Generic[R]):
    """One shard's result. Shards may finish in any order; ``index`` says which one it was."""

    index: int
    value: R


class Work(Protocol[S_contra, R_co]):
    """A frozen picklable value that turns a shard into a result on a worker.

    Work that needs a model names its opener in a field ``opener``: a cluster then sends it to the replicas of that model.
    """

    def __call__(self, shard: S_contra, executor: Any, /) -> R_co: ...


class Opener(Protocol[T_co]):
    """A frozen picklable recipe for a costly resource; equal openers share one on a worker."""

    def __call__(self) -> T_co: ...

    def __hash__(self) -> int: ...


@runtime_checkable
class Closing(Protocol):
    """A resource with something to end."""

    def close(self) -> None:
        """End it."""


Tell = Callable[[str, Any], None]
"""Takes a word and a JSON value: what a member of a gang says to whoever waits for it."""


class Member(Protocol):
    """A frozen picklable value: what each process of a gang does, RANK and WORLD_SIZE in its environment."""

    def __call__(self, tell: Tell, /) -> None: ...


class Gang(Protocol):
    """Work that some processes share, which meet in every step of it: a training."""

    @property
    def size(self) -> int:
        """How many processes."""

    @property
    def folder(self) -> Path:
        """A folder for what must outlive a lost process."""

    def here(self) -> None:
        """All of it on this machine, in this process or in several that it starts."""

    def member(self) -> Member:
        """What each process of a cluster does."""

    def hear(self, what: str, value: Any) -> None:
        """What a member told."""


class Executor(Protocol):
    """Runs work somewhere."""

    @property
    def slots(self) -> int:
        """Shards of plain work that are worked on at once: cutting work finer than some times this gains nothing."""

    def map(self, work: Work[S, R], shards: Sequence[S]) -> Iterator[Done[R]]:
        """Results as they come; an exception in the work ends the iteration with that exception."""

    def gang(self, work: Gang) -> None:
        """Lets processes share the work until it is done; what it found, the gang has heard."""

    def hold(self, opener: Opener[T]) -> T:
        """The one copy of a resource, opened at first use; where workers hold it, something that asks them."""

    def release(self) -> None:
        """Let go of everything held."""


@dataclass
class Local:
    """This process: shards one after another, so a local model has the machine's cores to itself."""

    _held: dict[Opener[Any], Any] = field(default_factory=dict)

    @property
    def slots(self) -> int:
        """One shard at a time."""
        return 1

    def map(self, work: Work[S, R], shards: Sequence[S]) -> Iterator[Done[R]]:
        """Results in the order of the shards."""
        for index, shard in enumerate(shards):
            yield Done(index, work(shard, self))

    def gang(self, work: Gang) -> None:
        """On this machine, as the work itself knows how."""
        work.here()

    def hold(self, opener: Opener[T]) -> T:
        """The one copy in this process."""
        if opener not in self._held:
            self._held[opener] = opener()
        held: T = self._held[opener]
        return held

    def release(self) -> None:
        """Forget everything; what holds connections, threads or processes ends them."""
        for held in self._held.values():
            if isinstance(held, Closing):
                held.close()
        self._held.clear()


def cut(items: Sequence[S], parts: int, least: int = 1) -> list[Sequence[S]]:
    """At most so many ranges of the items, in order, lengths differing by one at most, each of at least ``least`` items."""
    count = max(1, min(parts, len(items) // max(1, least)))
    bounds = [len(items) * number // count for number in range(count + 1)]
    return [items[begin:end] for begin, end in itertools.pairwise(bounds)] if items else []
