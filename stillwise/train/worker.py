"""One of the processes that share a training: ``python -m torch.distributed.run … -m stillwise.train.worker JOB``."""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from stillwise.arrows import Example, Graders, Progress, Tools, Trainer
from stillwise.errors import StillwiseError, UserError
from stillwise.machine import Site, Training
from stillwise.parts import Catalogue, Part
from stillwise.runtime.graders import GraderPool
from stillwise.train import processes
from stillwise.train.launch import EXAMPLES, JOB, TELLS

LOOKS_EVERY_S = 0.5


def main(folder: str) -> int:
    """Trains as the job says; the first process tells what was found, any tells why it could not go on."""
    job: dict[str, Any] = json.loads((Path(folder) / JOB).read_text(encoding="utf-8"))
    threading.Thread(target=_leave_with, args=(job["driver"],), daemon=True).start()
    examples = TypeAdapter(list[Example]).validate_json((Path(folder) / EXAMPLES).read_bytes())
    try:
        with GraderPool() as graders:
            found = part_of(job).train(examples, Path(job["student"]), Path(job["out"]), tools_of(job, graders, _Bar.open))
    except StillwiseError as err:
        _tell("error", {"user": isinstance(err, UserError), "message": str(err)})
        return err.exit_code
    if processes.rank() == 0:
        _tell("found", dict(found))
    part_ways()
    return 0


def part_of(job: Mapping[str, Any]) -> Trainer:
    """The trainer with all parts that it holds, from exactly the classes that it was made of."""
    classes: list[type[Part]] = []
    for place in job["classes"]:
        module, _, name = place.partition(":")
        classes.append(getattr(importlib.import_module(module), name))
    catalogue = Catalogue.of(classes)
    kind, fields = job["part"]["kind"], {k: v for k, v in job["part"].items() if k != "kind"}
    trainer = catalogue.find(kind, Trainer).model_validate(fields, context={"catalogue": catalogue})
    assert isinstance(trainer, Trainer)
    return trainer


def tools_of(job: Mapping[str, Any], graders: Graders, progress: Callable[[str, int], Progress]) -> Tools:
    """What the part may use in a process that shares its training."""
    site = Site(
        training=Training.model_validate(job["training"]),
        kept=Path(job["kept"]) if job["kept"] else None,
        logs=Path(job["logs"]) if job["logs"] else None,
        models=job["models"],
    )
    return Tools(
        step=job["step"],
        seed=job["seed"],
        callers={},
        graders=graders,
        progress=progress,
        folders={role: Path(path) for role, path in job["folders"].items()},
        site=site,
    )


class _Bar:
    """Progress that is told to the driver; the first process speaks for all."""

    opened = 0

    def __init__(self, number: int) -> None:
        self.number = number

    @classmethod
    def open(cls, label: str, total: int) -> _Bar:
        """A new bar."""
        if processes.rank() == 0:
            _tell("open", [label, total])
        cls.opened += 1
        return cls(cls.opened - 1)

    def advance(self, done: int = 1, **figures: float) -> None:
        """Counts items done."""
        if processes.rank() == 0:
            _tell("advance", [self.number, done, figures])


def _tell(what: str, value: Any) -> None:
    print(f"\n{TELLS}{json.dumps([what, value])}", flush=True)


def _leave_with(driver: int) -> None:
    """Ends this process when the driver is gone: a training that nobody waits for must not write."""
    while True:
        time.sleep(LOOKS_EVERY_S)
        try:
            os.kill(driver, 0)
        except ProcessLookupError:
            os._exit(1)
        except PermissionError:
            pass


def part_ways() -> None:
    """Waits for the other processes, and leaves them."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
