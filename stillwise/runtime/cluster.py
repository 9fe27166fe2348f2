"""A Ray cluster: joined or started, its room, and errors of its workers as our own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from stillwise.errors import MissingExtra, RecipeError, UserError

NAMESPACE = "stillwise"
STORE_BYTES = 1 << 29
"""Object store of a cluster of one machine that is started here: shards are texts, and spill to disk beyond it."""
DECIDES_BYTES = ("stillwise", "torch", "transformers", "tokenizers", "numpy")
"""Packages whose versions move bytes: a worker with other ones is refused."""


ALONE = "local"
KNOCK_S = 10.0
_OPTIONS: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": "error"}
_STARTED = False


@dataclass(frozen=True)
class Room:
    """What the living machines have, in pieces that one replica or task fits into."""

    machines: tuple[dict[str, float], ...]

    @property
    def cpus(self) -> int:
        """All CPUs."""
        return int(sum(machine.get("CPU", 0.0) for machine in self.machines))

    @property
    def gpus(self) -> int:
        """All GPUs."""
        return int(sum(machine.get("GPU", 0.0) for machine in self.machines))

    def places(self, cpus: float, gpus: float) -> int:
        """How many times this many CPUs and GPUs of one machine fit into the cluster."""
        return sum(_fits(machine, cpus, gpus) for machine in self.machines)


def _fits(machine: dict[str, float], cpus: float, gpus: float) -> int:
    wanted = {"CPU": cpus, "GPU": gpus}
    counts = [int(machine.get(name, 0.0) // amount) for name, amount in wanted.items() if amount]
    return min(counts, default=0)


def require_ray() -> Any:
    """The package; MissingExtra where it is not installed."""
    # Ray counts its users over the network unless told otherwise; what was set before holds.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as err:
        raise MissingExtra("a Ray cluster", "ray") from err
    return ray


def join(address: str) -> bool:
    """Connects this process to a cluster; True where that has to be undone by ``leave``.

    ``local`` starts one of this machine alone. Without an address: the cluster that this process is connected to, that
    ``RAY_ADDRESS`` names or that runs on this machine, else one as with ``local``. Raises UserError where an address does not
    answer.
    """
    global _STARTED
    ray, _STARTED = require_ray(), False
    if ray.is_initialized():
        if address and address not in ("auto", ray.get_runtime_context().gcs_address):
            raise UserError(f"--on ray:{address}: this process is connected to another cluster already")
        return False
    named = address or os.environ.get("RAY_ADDRESS", "")
    if named == ALONE:
        _start()
        return True
    if named not in ("", "auto"):
        _knock(named)
    try:
        ray.init(address=named or "auto", **_OPTIONS)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as err:
        if named:
            raise _silent(named, err) from err
        _start()
    return True


def _knock(address: str) -> None:
    """Refuses an address where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()
    except (OSError, ValueError, OverflowError) as err:
        raise _silent(address, err) from err


def _silent(address: str, err: Exception) -> UserError:
    said = f"no cluster answers at {address} ({_first_line(err)})"
    return UserError(f"--on ray: {said}; start one with 'ray start --head', or give ray:{ALONE}")


def _start() -> None:
    """A cluster of this machine alone, which ends with this process."""
    global _STARTED
    # The workers are this run's own work: they give way to others no more than this process does.
    os.environ.setdefault("RAY_worker_niceness", "0")
    cores = len(os.sched_getaffinity(0))
    require_ray().init(address=ALONE, num_cpus=cores, include_dashboard=False, object_store_memory=STORE_BYTES, **_OPTIONS)
    _STARTED = True


def started_here() -> bool:
    """Whether the cluster ends with this process."""
    return _STARTED


def leave() -> None:
    """Disconnect; a cluster that was started here ends."""
    require_ray().shutdown()


def room() -> Room:
    """The machines that are alive now."""
    nodes = require_ray().nodes()
    return Room(tuple(node["Resources"] for node in nodes if node["Alive"]))


def versions() -> dict[str, str]:
    """This machine's versions of what decides bytes."""
    return {name: _version(name) for name in DECIDES_BYTES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def check_versions(place: str, found: dict[str, str]) -> None:
    """Refuses a machine whose packages would give other bytes."""
    other = [f"{name} {found.get(name)} instead of {mine}" for name, mine in versions().items() if found.get(name) != mine]
    if other:
        raise UserError(f"{place} has {', '.join(other)}; install the same versions on every machine of the cluster")


@contextmanager
def portable_errors() -> Iterator[None]:
    """On a worker: errors that are made of more than their message become plain ones, which travel."""
    try:
        yield
    except (RecipeError, MissingExtra) as err:
        raise UserError(str(err)) from None


def value_of(reference: Any) -> Any:
    """What a reference holds; an exception of the work is raised as it was there."""
    ray = require_ray()
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as err:
        raise (err.cause if isinstance(err.cause, Exception) else err) from None


def losses() -> tuple[type[Exception], ...]:
    """Errors which say that a worker, a machine or what it held is gone (not that the work failed)."""
    gone = require_ray().exceptions
    kinds = ("ActorDiedError", "ActorUnavailableError", "WorkerCrashedError", "ObjectLostError", "OutOfMemoryError")
    return tuple(getattr(gone, kind) for kind in (*kinds, "NodeDiedError", "LocalRayletDiedError"))


def free_places(cpus: float, gpus: float) -> int:
    """About how many times so much is free now."""
    return _fits(require_ray().available_resources(), cpus, gpus)


def _first_line(err: BaseException) -> str:
    return (str(err).splitlines() or [type(err).__name__])[0]
