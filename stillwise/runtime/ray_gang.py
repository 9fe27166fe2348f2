"""Training shared by the processes of a cluster: Ray Train places them, connects them, and starts them again after a loss."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from stillwise.errors import StillwiseError
from stillwise.runtime import cluster
from stillwise.runtime.executor import Gang, Tell

RESTARTS = 4
"""How often the processes start again after one of them was lost; what was checkpointed is not done again."""
LOOK_S = 1.0
_ALONE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


class _Board:
    """What the members told and nobody has read yet."""

    def __init__(self) -> None:
        self._told: list[tuple[str, Any]] = []

    def tell(self, what: str, value: Any) -> None:
        """One more."""
        self._told.append((what, value))

    def take(self) -> list[tuple[str, Any]]:
        """All that came since the last look."""
        told, self._told = self._told, []
        return told


def run(gang: Gang, room: cluster.Room, cpus: int) -> None:
    """Lets the members work until all are done; the gang hears what they tell while they do.

    Raises StillwiseError where they were lost too often or one of them failed.
    """
    ray = cluster.require_ray()
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    board = ray.remote(_Board).options(num_cpus=0).remote()
    scaling = ScalingConfig(num_workers=gang.size, use_gpu=room.gpus > 0, resources_per_worker={"CPU": cpus})
    failures = FailureConfig(max_failures=RESTARTS)
    trainer = TorchTrainer(
        _member,
        train_loop_config={"member": gang.member(), "board": board},
        scaling_config=scaling,
        run_config=RunConfig(name="gang", storage_path=_storage(gang.folder), failure_config=failures),
    )
    with _Listening(board, gang.hear):
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as err:
            raise StillwiseError(f"the training's processes failed: {err}") from err


def _storage(folder: Path) -> str:
    path = folder / "ray"
    path.mkdir(parents=True, exist_ok=True)
    return str(path.resolve())


def _member(config: dict[str, Any]) -> None:
    """One process of the gang, with RANK and WORLD_SIZE set as torchrun sets them."""
    ray, board = cluster.require_ray(), config["board"]
    if os.environ.get("WORLD_SIZE") == "1":
        _stand_alone()
    tell: Tell = lambda what, value: ray.get(board.tell.remote(what, value))  # noqa: E731 -- a closure in one line
    config["member"](tell)


def _stand_alone() -> None:
    """One process shares nothing: it works as it would without Ray Train, wrapped in nothing."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
    for name in _ALONE:
        os.environ.pop(name, None)


class _Listening:
    """Hears the board out while the block runs, and what is left at its end."""

    def __init__(self, board: Any, hear: Tell) -> None:
        self._board, self._hear, self._over = board, hear, threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()
        cluster.require_ray().kill(self._board)

    def _listen(self) -> None:
        while not self._over.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        for what, value in cluster.require_ray().get(self._board.take.remote()):
            self._hear(what, value)
