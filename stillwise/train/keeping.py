"""Checkpoints of a training: whole or not there, the newest one found again, older ones removed.

A checkpoint counts when its marker is there, which is written last, after every other file has reached the disk.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillwise.runtime.files import disk_errors, sync_folder, write_json
from stillwise.train.moments import Moments

MARK = "complete.json"
STEP = "checkpoint-"
STATE = "progress.json"
MOST_SHARE = 0.05
"""Writing checkpoints may take this share of the time at most."""


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What outlives a kill, and where losses are reported."""

    folder: Path | None = None
    """Where checkpoints stand; None keeps none."""
    every_s: float = 600.0
    every_steps: int | None = None
    """Optimiser steps between checkpoints; None goes by the clock."""
    logs: Path | None = None
    """Where event files, and the ids of a step whose loss was not finite, are written."""
    report_to: tuple[str, ...] = ()
    moments: Moments | None = None
    """The optimiser's moments before and after; None begins afresh and hands nothing on."""


class Clock:
    """Says when a checkpoint is due."""

    def __init__(self, keeping: Keeping) -> None:
        self.keeping = keeping
        self.last, self.took = time.monotonic(), 0.0

    def due(self, step: int) -> bool:
        """Whether one is due after this many optimiser steps."""
        if self.keeping.folder is None:
            return False
        if self.keeping.every_steps is not None:
            return step % self.keeping.every_steps == 0
        return time.monotonic() - self.last >= max(self.keeping.every_s, self.took / MOST_SHARE)

    def written(self, seconds: float) -> None:
        """Notes that one was written, in this time."""
        self.last, self.took = time.monotonic(), seconds


def newest(folder: Path | None) -> Path | None:
    """The checkpoint of the latest step whose marker is there and names every file at its size; None where there is none."""
    found = sorted(folder.glob(f"{STEP}*"), key=_number, reverse=True) if folder and folder.is_dir() else []
    return next((path for path in found if _whole(path)), None)


def _number(path: Path) -> int:
    word = path.name.removeprefix(STEP)
    return int(word) if word.isdigit() else -1


def _whole(path: Path) -> bool:
    try:
        sizes: dict[str, int] = json.loads((path / MARK).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return False
    return all((path / name).is_file() and (path / name).stat().st_size == size for name, size in sizes.items())


def seal(path: Path, state: Mapping[str, Any]) -> None:
    """Adds what the training has to remember, brings every file to the disk, then marks the checkpoint as whole."""
    with disk_errors(path):
        write_json(path / STATE, state)
        files = sorted(file for file in path.rglob("*") if file.is_file())
        for file in files:
            with file.open("rb+") as handle:
                os.fsync(handle.fileno())
        for folder in {file.parent for file in files} | {path, path.parent}:
            sync_folder(folder)
        write_json(path / MARK, {"files": {str(file.relative_to(path)): file.stat().st_size for file in files}})


def remembered(path: Path) -> dict[str, Any]:
    """What the training had to remember."""
    found: dict[str, Any] = json.loads((path / STATE).read_text(encoding="utf-8"))
    return found


def prune(folder: Path, kept: Path | None) -> None:
    """Removes all checkpoints but one; a marker goes first, so that half a checkpoint is never taken for a whole one."""
    for path in folder.glob(f"{STEP}*"):
        if path != kept:
            (path / MARK).unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)
