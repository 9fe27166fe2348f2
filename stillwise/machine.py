"""How trainings run on a machine: nothing here belongs to a method, and nothing here changes what is learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from stillwise.parts import Fields


class Training(Fields):
    """The machine side of a training: devices, checkpoints, reports. A binding or the command line sets it."""

    devices: int = Field(default=1, ge=1)
    """Processes that share each optimiser step, one for each device; they see the same rows in the same order as one does."""
    launch: str = ""
    """An accelerate config file, or the name of one that ships (``fsdp2``, ``deepspeed_zero2``, ``data_parallel``); "" starts
    one process, or with more devices plain data parallelism."""
    checkpoint_s: float = Field(default=600.0, gt=0)
    """Seconds between checkpoints; longer where writing one takes more than a twentieth of that."""
    checkpoint_steps: int | None = Field(default=None, ge=1)
    """A checkpoint after so many optimiser steps instead."""
    report_to: tuple[str, ...] = ("tensorboard",)
    """Where losses go besides the report: what transformers knows (``wandb``, ``mlflow``, …). TensorBoard's files stand under
    ``logs`` in the run's folder, and are not written where tensorboard is not installed."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where one training works on this machine."""

    training: Training = field(default_factory=Training)
    kept: Path | None = None
    """A folder that outlives a kill and goes when the training is finished: checkpoints, a teacher's signals."""
    logs: Path | None = None
    """A folder for a reader's eyes: event files, the ids of a step that went wrong."""
    models: Mapping[str, str] = field(default_factory=dict)
    """What each of the training's roles is bound to, as it was given."""
