"""Upper bounds of what trainings write: students, the copy that is published, and checkpoints while they last."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from stillwise.models.weights import base_folder, weight_files
from stillwise.recipe.load import Loaded
from stillwise.recipe.roles import local_folder
from stillwise.recipe.schema import Step

FLOAT32 = 4
MOMENTS = 2
"""Numbers that AdamW keeps for each trained weight."""
CHECKPOINTS = 2
"""At once: the old one goes when the new one is whole."""


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


@dataclass(frozen=True)
class Written:
    """Bytes that a recipe's trainings write at most."""

    students: int
    checkpoints: int
    """The largest step's; they go when its stage is finished."""
    unknown: tuple[str, ...]
    """Steps whose student's weights are not here to be counted."""

    def words(self) -> str:
        """A line for the plan."""
        each = CHECKPOINTS * FLOAT32 * (1 + MOMENTS)
        told = (
            f"disk at most {_size(self.students)} for students, and {_size(self.checkpoints)} for checkpoints while they train"
        )
        if not self.unknown:
            return told
        rule = f"{FLOAT32} bytes a weight and stage for students, {each} a weight for checkpoints while they train"
        missing = f"{', '.join(self.unknown)}, whose weights are not here to be counted"
        return f"{told}; besides, for {missing}: {rule}" if self.students else f"disk for {missing}: {rule}"


def written(loaded: Loaded) -> Written:
    """The bytes of every training step of a recipe; each stage keeps its student, the last one is published too."""
    students, checkpoints, unknown, last = 0, 0, [], 0
    for step in (step for step in loaded.method.steps if step.arrow == "train"):
        folder = _parent(loaded, step)
        if folder is None:
            unknown.append(step.name)
            continue
        sizes = list(shapes(folder))
        whole, learnt = sum(map(prod, sizes)), _learnt(step, sizes)
        adapter = getattr(step.part, "adapter", None)
        last = FLOAT32 * (learnt if adapter and not adapter.merge else whole)
        students += _stages(loaded, step) * last
        checkpoints = max(checkpoints, CHECKPOINTS * FLOAT32 * (1 + MOMENTS) * learnt)
    return Written(students + last, checkpoints, tuple(unknown))


def _parent(loaded: Loaded, step: Step) -> Path | None:
    """The folder of the weights that a training begins with, through the trainings before it; None where they are not here."""
    role, trained = step.roles[0], {one.name: one for one in loaded.method.steps if one.arrow == "train"}
    while role in trained:
        role = trained[role].roles[0]
    binding = loaded.binding.roles.get(role)
    folder = local_folder(binding) if binding else None
    return base_folder(folder) if folder is not None and folder.is_dir() and weight_files(folder) else None


def _stages(loaded: Loaded, step: Step) -> int:
    scheduler = loaded.method.step(step.source).part if step.source else None
    return max(1, len(getattr(scheduler, "only", ()) or getattr(scheduler, "stages", ())))


def _learnt(step: Step, sizes: list[tuple[int, ...]]) -> int:
    """Weights that change: all, or those of an adapter beside every matrix (an upper bound of its targets)."""
    adapter = getattr(step.part, "adapter", None)
    if adapter is None:
        return sum(map(prod, sizes))
    return sum(int(adapter.rank) * sum(shape) for shape in sizes if len(shape) == 2)


def shapes(folder: Path) -> Iterator[tuple[int, ...]]:
    """The shape of every tensor in a folder's safetensors files, from their headers alone."""
    for path in weight_files(folder):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(length))
        yield from (tuple(held["shape"]) for name, held in header.items() if name != "__metadata__")
