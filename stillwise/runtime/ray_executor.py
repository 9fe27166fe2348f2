"""A Ray cluster as an executor: plain shards are tasks, model replicas are actors, and a lost worker's shard is done again.

Ray places and restarts; this module only hands out shards and takes lost ones back. What a shard gives does not depend on who
worked on it, so nothing here can move a byte.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from stillwise.arrows import Ask, Completion, Likely, Request
from stillwise.errors import StillwiseError, UserError
from stillwise.models.model import Model, StreamModel
from stillwise.runtime import cluster
from stillwise.runtime.executor import Done, Gang, Local, Opener, Work

S = TypeVar("S")
R = TypeVar("R")
T = TypeVar("T")

LOSSES = 4
"""A shard that so many workers were lost with is at fault itself (it needs more memory than a machine has, say)."""
LOST_STARTS = 16
AHEAD = 4
"""Plain shards under way for each slot."""
LOOK_S = 2.0
"""How often a call looks for machines that joined, while nothing comes in."""


def _work(work: Work[S, R], shard: S) -> R:
    with cluster.portable_errors():
        return work(shard, _HELD)


_HELD = Local()
"""What this worker process holds, over many shards."""


class _Replica:
    """One worker that holds one model."""

    def ready(self, opener: Opener[Any]) -> tuple[str, dict[str, str]]:
        """Opens the model; the machine's name and versions."""
        import platform

        with cluster.portable_errors():
            _HELD.hold(opener)
        return platform.node(), cluster.versions()

    def work(self, work: Work[S, R], shard: S) -> R:
        """The shard's result."""
        return _work(work, shard)


@dataclass(frozen=True)
class _Attribute:
    """What a held model says of itself."""

    opener: Opener[Any]
    name: str

    def __call__(self, shard: None, executor: Any) -> Any:
        return getattr(executor.hold(self.opener), self.name)


@dataclass(frozen=True)
class _Logprobs:
    """Log-probabilities of given answers by a held model."""

    opener: Opener[Any]

    def __call__(self, shard: tuple[Ask, Sequence[str]], executor: Any) -> list[tuple[float, ...]]:
        found: list[tuple[float, ...]] = executor.hold(self.opener).logprobs(*shard)
        return found


@dataclass
class RemoteModel:
    """A model whose weights lie with the workers; planning and rendering, which need a tokenizer only, happen here."""

    near: Model
    opener: Opener[Any]
    executor: RayExecutor
    _revision: str = ""

    @property
    def name(self) -> str:
        """The binding as the user wrote it."""
        return self.near.name

    @property
    def revision(self) -> str:
        """What a worker says: its devices decide, not this machine's."""
        if not self._revision:
            (done,) = self.executor.map(_Attribute(self.opener, "revision"), [None])
            self._revision = done.value
        return self._revision

    def plan(self, requests: Sequence[Request]) -> list[tuple[int, ...]]:
        """Batches of positions."""
        return self.near.plan(requests)

    def generate(self, batch: Sequence[Request]) -> list[Completion]:
        """One batch, by a worker."""
        from stillwise.runtime.caller import Generate

        (done,) = self.executor.map(Generate(self.opener), [tuple(batch)])
        return done.value

    def render(self, ask: Ask) -> tuple[str, str]:
        """The prompt, and what the template opens of the answer."""
        return self.near.render(ask)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text."""
        return self.near.count_tokens(text)


class RemoteLikelyModel(RemoteModel):
    """A remote model that says how probable given answers are."""

    def logprobs(self, ask: Ask, answers: Sequence[str]) -> list[tuple[float, ...]]:
        """Log-probabilities of each answer's tokens, by a worker."""
        (done,) = self.executor.map(_Logprobs(self.opener), [(ask, tuple(answers))])
        return done.value


@dataclass
class RayExecutor:
    """Implements ``Executor`` over a cluster that this process is connected to."""

    threads: int = 1
    """CPUs of a replica: its torch threads."""
    leaves: bool = False
    """Whether ``release`` also disconnects."""
    _near: dict[Opener[Any], Any] = field(default_factory=dict)
    _fleets: dict[Opener[Any], Fleet] = field(default_factory=dict)

    @property
    def slots(self) -> int:
        """The CPUs of the machines that are there now."""
        return max(1, cluster.room().cpus)

    def map(self, work: Work[S, R], shards: Sequence[S]) -> Iterator[Done[R]]:
        """Results as they come. Work with an ``opener`` goes to that model's replicas, other work to tasks."""
        opener = getattr(work, "opener", None)
        if opener is None:
            return self._tasks(work, shards)
        if opener not in self._fleets:
            self._fleets[opener] = Fleet(opener, self.threads)
        return self._fleets[opener].map(work, shards, self._fleets.values())

    def _tasks(self, work: Work[S, R], shards: Sequence[S]) -> Iterator[Done[R]]:
        ray = cluster.require_ray()
        # Replicas may hold every CPU while their answers are graded: a task that asked for one would wait for ever.
        task = ray.remote(_work).options(num_cpus=0, max_retries=LOSSES, scheduling_strategy="SPREAD")
        waiting, held, running, slots = deque(enumerate(shards)), ray.put(work), dict[Any, int](), self.slots
        try:
            while waiting or running:
                while waiting and len(running) < AHEAD * slots:
                    index, shard = waiting.popleft()
                    running[task.remote(held, shard)] = index
                (ready, *_), _ = ray.wait(list(running), num_returns=1)
                yield Done(running.pop(ready), _kept(ready))
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def gang(self, work: Gang) -> None:
        """By Ray Train's torch trainer. Replicas go first: a gang needs all of its places at once."""
        from stillwise.runtime import ray_gang

        self._end_fleets()
        room, each = cluster.room(), max(1, self.threads // work.size)
        if room.places(each, 1.0 if room.gpus else 0.0) < work.size:
            raise UserError(f"--on ray: no room for {work.size} training processes of {each} CPUs; {_machines(room)}")
        ray_gang.run(work, room, each)

    def hold(self, opener: Opener[T]) -> T:
        """The resource itself where it is light (a server's client); a model of weights is asked through its replicas."""
        if opener not in self._near:
            near: Any = opener()
            if hasattr(near, "generate") and not isinstance(near, StreamModel):
                kind = RemoteLikelyModel if isinstance(near, Likely) else RemoteModel
                near = kind(near, opener, self)
            self._near[opener] = near
        found: T = self._near[opener]
        return found

    def release(self) -> None:
        """Ends all replicas, and the connection where this executor made it."""
        self._end_fleets()
        for held in self._near.values():
            if hasattr(held, "close"):
                held.close()
        self._near.clear()
        if self.leaves:
            cluster.leave()

    def _end_fleets(self) -> None:
        for fleet in self._fleets.values():
            fleet.end()
        self._fleets.clear()


def _kept(reference: Any) -> Any:
    try:
        return cluster.value_of(reference)
    except cluster.losses() as err:
        raise StillwiseError(f"a shard was lost with its worker {LOSSES + 1} times; the last time: {err}") from err


@dataclass
class Fleet:
    """The replicas of one model: as many as there is room and work for; a lost one's shard goes to another."""

    opener: Opener[Any]
    threads: int
    _starting: dict[Any, Any] = field(default_factory=dict)
    """Replica by the reference that says when it is ready."""
    _idle: list[Any] = field(default_factory=list)
    _busy: dict[Any, Any] = field(default_factory=dict)
    """Replica by the reference of the result."""
    _lost_starts: int = 0

    def map(self, work: Work[S, R], shards: Sequence[S], all_fleets: Collection[Fleet]) -> Iterator[Done[R]]:
        """Results as they come. ``all_fleets`` may grow meanwhile; idle replicas of others go where this one finds no room."""
        ray, queue, losses = cluster.require_ray(), deque(range(len(shards))), Counter[int]()
        held, mine = ray.put(work), dict[Any, int]()
        try:
            while queue or mine:
                self._grow(len(queue) + len(mine), all_fleets)
                while queue and self._idle:
                    reference = self._send(held, shards[queue[0]])
                    mine[reference] = queue.popleft()
                ready, _ = ray.wait([*mine, *self._starting], num_returns=1, timeout=LOOK_S)
                if not ready and not mine:
                    self._ask_for_room(len(self._starting), all_fleets)
                for reference in ready:
                    if reference in self._starting:
                        self._start(reference)
                    elif (done := self._finish(reference, mine.pop(reference), queue, losses)) is not None:
                        yield done
        finally:
            for reference in mine:
                # Nobody waits for this work any more, and its worker would go on with it.
                self._kill(self._busy.pop(reference, None))

    def _send(self, work: Any, shard: Any) -> Any:
        replica = self._idle.pop()
        reference = replica.work.remote(work, shard)
        self._busy[reference] = replica
        return reference

    def _finish(self, reference: Any, index: int, queue: deque[int], losses: Counter[int]) -> Done[Any] | None:
        """The result, or None where it was lost and its shard stands in the queue again."""
        replica = self._busy.pop(reference, None)
        try:
            value = cluster.value_of(reference)
        except cluster.losses() as err:
            self._kill(replica)
            losses[index] += 1
            if losses[index] >= LOSSES:
                raise StillwiseError(f"a batch was lost with its worker {LOSSES} times; the last time: {err}") from err
            queue.appendleft(index)
            return None
        if replica is not None:
            self._idle.append(replica)
        return Done(index, value)

    def _start(self, reference: Any) -> None:
        """A replica is ready, or lost before it was."""
        replica = self._starting.pop(reference)
        try:
            place, found = cluster.value_of(reference)
            cluster.check_versions(f"machine {place}", found)
        except cluster.losses() as err:
            self._lost_starts += 1
            if self._lost_starts >= LOST_STARTS:
                raise StillwiseError(f"workers were lost {LOST_STARTS} times while they opened {self.opener}: {err}") from err
        except StillwiseError:
            self._kill(replica)
            raise
        else:
            self._lost_starts = 0
            self._idle.append(replica)

    def _grow(self, wanted: int, all_fleets: Collection[Fleet]) -> None:
        """Replicas for the work there is, as far as machines have room; idle ones of other models go first."""
        room = cluster.room()
        cpus, gpus = self._needs(room)
        places = room.places(cpus, gpus)
        if not places:
            raise UserError(_no_room(room, cpus, gpus))
        missing = min(places, wanted) - len(self._starting) - len(self._idle) - len(self._busy)
        if missing > 0:
            self._ask_for_room(missing - cluster.free_places(cpus, gpus), all_fleets)
        for _ in range(missing):
            options = {"num_cpus": cpus, "num_gpus": gpus, "max_restarts": 0, "max_task_retries": 0}
            replica = cluster.require_ray().remote(_Replica).options(**options).remote()
            self._starting[replica.ready.remote(self.opener)] = replica

    def _needs(self, room: cluster.Room) -> tuple[float, float]:
        """CPUs and GPUs of one replica: its threads, and the opener's GPUs where the cluster has any."""
        return float(self.threads), float(getattr(self.opener, "gpus", 1)) if room.gpus else 0.0

    def _ask_for_room(self, places: int, all_fleets: Collection[Fleet]) -> None:
        for fleet in all_fleets:
            places -= fleet.make_room(places) if fleet is not self else 0

    def make_room(self, wanted: int) -> int:
        """Ends up to so many replicas that wait for work (one whose result lies ready, and one that starts, too); how many."""
        busy = list(self._busy)
        done = cluster.require_ray().wait(busy, num_returns=len(busy), timeout=0)[0] if busy else []
        going = [self._idle.pop() for _ in range(max(0, min(wanted, len(self._idle))))]
        # A small result outlives its worker; a large one is lost with it, and its shard is done again.
        going += [self._busy.pop(reference) for reference in done[: max(0, wanted - len(going))]]
        going += [self._starting.pop(reference) for reference in list(self._starting)[: max(0, wanted - len(going))]]
        for replica in going:
            self._kill(replica)
        return len(going)

    def _kill(self, replica: Any) -> None:
        if replica is not None:
            cluster.require_ray().kill(replica)

    def end(self) -> None:
        """Ends all replicas."""
        for replica in [*self._idle, *self._starting.values(), *self._busy.values()]:
            self._kill(replica)
        self._idle.clear()
        self._starting.clear()
        self._busy.clear()


def _no_room(room: cluster.Room, cpus: float, gpus: float) -> str:
    wanted = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
    return f"--on ray: no machine of the cluster has {wanted} for a model's replica; {_machines(room)}"


def _machines(room: cluster.Room) -> str:
    largest = max((machine.get("CPU", 0.0) for machine in room.machines), default=0.0)
    known = f"it has {len(room.machines)} machines, {room.cpus} CPUs and {room.gpus} GPUs, the largest {largest:g} CPUs"
    return f"{known}: give fewer --threads, or add machines"
