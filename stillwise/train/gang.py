"""A training as work that an executor gives to some processes: of this machine by ``launch``, or of a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stillwise.arrows import Example, Tools, Trainer
from stillwise.errors import StillwiseError, UserError
from stillwise.runtime.executor import Tell
from stillwise.train import launch, processes


@dataclass
class SharedTraining:
    """Implements ``runtime.executor.Gang``."""

    part: Trainer
    examples: Sequence[Example]
    student: Path
    out: Path
    tools: Tools
    threads: int
    """Torch threads of one machine, all its processes together."""

    @property
    def size(self) -> int:
        """One process for each device."""
        return self.tools.site.training.devices

    @property
    def folder(self) -> Path:
        """Where checkpoints outlive a kill."""
        return self.tools.site.kept or self.out.parent

    @cached_property
    def heard(self) -> launch.Heard:
        """What the processes have told."""
        return launch.Heard(self.tools)

    def here(self) -> None:
        """In this process, or in several that torchrun or accelerate starts."""
        import torch

        # What was generated before in this process, if anything, must not decide how sums are cut.
        torch.set_num_threads(self.threads)
        self.heard.found = dict(launch.train(self.part, self.examples, self.student, self.out, self.tools))

    def member(self) -> TrainingMember:
        """What each process of a cluster does."""
        job = launch.job_of(self.part, self.student.resolve(), self.out.resolve(), self.tools)
        paths = {name: job[name] and str(Path(job[name]).resolve()) for name in ("kept", "logs")}
        folders = {role: str(Path(path).resolve()) for role, path in job["folders"].items()}
        each = max(1, self.threads // self.size)
        return TrainingMember({**job, **paths, "folders": folders}, tuple(self.examples), each)

    def hear(self, what: str, value: Any) -> None:
        """What a process told."""
        self.heard.take(what, value)

    def result(self) -> Mapping[str, Any]:
        """The stage's figures; raises what the processes could not go on for."""
        return self.heard.result("no process told any figures")


@dataclass(frozen=True)
class TrainingMember:
    """One process of a training, anywhere; the folders that it names are the same on every machine."""

    job: Mapping[str, Any]
    examples: tuple[Example, ...]
    threads: int

    def __call__(self, tell: Tell) -> None:
        import torch

        from stillwise.runtime.graders import GraderPool
        from stillwise.train.worker import part_of, part_ways, tools_of

        torch.set_num_threads(self.threads)
        first = processes.rank() == 0
        bars = _Bars(tell if first else _nobody)
        try:
            with launch_environment(self.job["training"]["launch"]), GraderPool() as graders:
                tools = tools_of(self.job, graders, bars.open)
                part = part_of(self.job)
                found = part.train(self.examples, Path(self.job["student"]), Path(self.job["out"]), tools)
        except StillwiseError as err:
            tell("error", {"user": isinstance(err, UserError), "message": str(err)})
            return
        if first:
            tell("found", dict(found))
        if processes.count() > 1:
            part_ways()


@contextmanager
def launch_environment(name: str) -> Iterator[None]:
    """What ``accelerate launch`` would put into the environment for this config file; nothing without one."""
    found = _accelerate_variables(name) if name else {}
    before = {key: os.environ.get(key) for key in found}
    os.environ.update(found)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


def _accelerate_variables(name: str) -> dict[str, str]:
    from accelerate.commands import launch as accelerate
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    words = ["--config_file", str(launch.config_file(name)), "unused.py"]
    args, _, _ = accelerate._validate_launch_command(accelerate.launch_command_parser().parse_args(words))
    env = prepare_deepspeed_cmd_env(args)[1] if args.use_deepspeed else prepare_multi_gpu_env(args)
    return {key: value for key, value in env.items() if key.startswith(("ACCELERATE_", "FSDP_"))}


def _nobody(what: str, value: Any) -> None:
    """Only the first process speaks."""


class _Bars:
    """Progress bars that are told."""

    def __init__(self, tell: Tell) -> None:
        self._tell, self._opened = tell, 0

    def open(self, label: str, total: int) -> _Bar:
        """A new bar."""
        self._tell("open", [label, total])
        self._opened += 1
        return _Bar(self._tell, self._opened - 1)


@dataclass
class _Bar:
    tell: Tell
    number: int

    def advance(self, done: int = 1, **figures: float) -> None:
        """Counts items done."""
        self.tell("advance", [self.number, done, figures])
