"""A training in this process, or in several that torchrun or accelerate starts: which, is the machine's affair.

The processes get a job on disk (the part, its examples, folders, seed) and write the student themselves. What they tell comes
back as lines of JSON: progress as it goes, the figures at the end, an error with its words.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from stillwise.arrows import Example, Progress, Tools, Trainer
from stillwise.errors import StillwiseError, UserError, nearest
from stillwise.machine import Training
from stillwise.parts import walk_parts
from stillwise.runtime.files import write_json

JOB, EXAMPLES, LOG = "job.json", "examples.json", "output.log"
SHIPPED = Path(__file__).parent / "accelerate"
TELLS = "stillwise: "
"""Begins a line of ours among what torch and accelerate print."""
WORKER = "stillwise.train.worker"


def train(part: Trainer, examples: Sequence[Example], student: Path, out: Path, tools: Tools) -> Mapping[str, Any]:
    """What ``part.train`` does, in as many processes as this machine is to use."""
    training = tools.site.training
    if training.devices == 1 and not training.launch:
        return part.train(examples, student, out, tools)
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder)
        _write_job(job, part, examples, student, out, tools)
        return _run(job, [*command(training), "-m", WORKER, str(job)], tools)


def check(training: Training) -> None:
    """Refuses, before anything runs, a config that would not work and a place to report to that is not installed."""
    if training.launch:
        config_file(training.launch)
    if set(training.report_to) - {"tensorboard"}:
        from stillwise.train.fit import reports

        reports(training.report_to)


def command(training: Training) -> list[str]:
    """What starts the processes, up to the module that they run."""
    if not training.launch:
        count = str(training.devices)
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count]
    config = config_file(training.launch)
    number = ["--num_processes", str(training.devices)] if training.devices > 1 else []
    return [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--config_file", str(config), *number]


def config_file(name: str) -> Path:
    """An accelerate config file: the path as it is, or one that ships; refused where our losses would not see whole weights."""
    import yaml

    shipped = {path.stem: path for path in SHIPPED.glob("*.yaml")}
    path = shipped.get(name, Path(name))
    if not path.is_file():
        raise UserError(f"launch {name!r}: no such file, and none of that name ships; {nearest(name, shipped)}")
    held = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(held, dict) or "distributed_type" not in held:
        raise UserError(f"{path} is no accelerate config file (it has no distributed_type); 'accelerate config' writes one")
    stage = (held.get("deepspeed_config") or {}).get("zero_stage")
    if stage == 3:
        raise UserError(f"{path}: ZeRO stage 3 hides the output layer from losses that read it; take launch: fsdp2 instead")
    if (held.get("fsdp_config") or {}).get("fsdp_version", 2) != 2:
        raise UserError(f"{path}: only FSDP2 is supported; set fsdp_version: 2, or take launch: fsdp2")
    return path


def _write_job(job: Path, part: Trainer, examples: Sequence[Example], student: Path, out: Path, tools: Tools) -> None:
    (job / EXAMPLES).write_bytes(TypeAdapter(list[Example]).dump_json(list(examples)))
    write_json(job / JOB, {**job_of(part, student, out, tools), "driver": os.getpid()})


def job_of(part: Trainer, student: Path, out: Path, tools: Tools) -> dict[str, Any]:
    """A training as JSON values: what a process elsewhere needs besides the examples."""
    site = tools.site
    return {
        "part": part.as_dict(),
        "classes": sorted({f"{type(one).__module__}:{type(one).__qualname__}" for one in walk_parts(part)}),
        "student": str(student),
        "out": str(out),
        "step": tools.step,
        "seed": tools.seed,
        "folders": {role: str(path) for role, path in tools.folders.items()},
        "training": site.training.model_dump(mode="json"),
        "kept": site.kept and str(site.kept),
        "logs": site.logs and str(site.logs),
        "models": dict(site.models),
    }


def _run(job: Path, words: Sequence[str], tools: Tools) -> Mapping[str, Any]:
    import torch

    each = max(1, torch.get_num_threads() // max(1, tools.site.training.devices))
    env = {**os.environ, "OMP_NUM_THREADS": str(each)}
    heard = Heard(tools)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    with (job / LOG).open("w", encoding="utf-8") as log, process:
        try:
            for line in process.stdout or ():
                if not heard.line(line):
                    log.write(line)
        finally:
            process.terminate()
    return heard.result(f"exit code {process.returncode}:\n{_tail(job)}")


def _tail(job: Path) -> str:
    return "\n".join((job / LOG).read_text(encoding="utf-8").splitlines()[-15:])


class Heard:
    """What the processes have told so far."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self.bars: list[Progress] = []
        self.found: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None

    def line(self, line: str) -> bool:
        """Takes a line up; False where it is none of ours."""
        if not line.startswith(TELLS):
            return False
        self.take(*json.loads(line.removeprefix(TELLS)))
        return True

    def take(self, what: str, value: Any) -> None:
        """Takes one thing that was told."""
        if what == "open":
            self.bars.append(self.tools.progress(*value))
        elif what == "advance":
            bar, done, figures = value
            self.bars[bar].advance(done, **figures)
        elif what == "found":
            self.found = value
        elif self.error is None:
            self.error = value

    def result(self, otherwise: str) -> Mapping[str, Any]:
        """The figures; raises what the processes could not go on for, or ``otherwise`` where they told nothing."""
        if self.error is not None:
            kind = UserError if self.error["user"] else StillwiseError
            raise kind(self.error["message"])
        if self.found is None:
            raise StillwiseError(f"the training's processes ended without a result ({otherwise})")
        return self.found
