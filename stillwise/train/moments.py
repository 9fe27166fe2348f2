"""AdamW's moments handed from one stage of a curriculum to the next, beside the student's folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillwise.errors import UserError
from stillwise.runtime.files import whole_file
from stillwise.train import processes
from stillwise.train.fields import Optimiser

if TYPE_CHECKING:
    from torch import Tensor

FILE = "optimiser.safetensors"
"""Beside the student's folder, not in it: it is no part of a model."""
_STATE = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Where they come from, and where they go to."""

    before: Path
    """Of the stage before; a file that is not there begins afresh."""
    after: Path


def moments(optimiser: Optimiser, student: Path, out: Path) -> Moments | None:
    """What a stage from ``student`` to ``out`` hands on; None where every stage begins afresh."""
    if optimiser == "fresh":
        return None
    if processes.sharded():
        raise UserError("optimiser: kept needs an optimiser that one process holds whole; train without shards, or take fresh")
    return Moments(before=student.parent / FILE, after=out.parent / FILE)


def take_up(optimizer: Any, model: Any, kept: Moments | None) -> None:
    """Gives a new optimiser the moments of the stage before, where there are any.

    Raises UserError where they belong to parameters of other names or shapes.
    """
    if kept is None or not kept.before.is_file():
        return
    from safetensors.torch import load_file

    held = load_file(str(kept.before))
    known = dict(_trained(optimizer, model))
    strange = {key.rpartition(".")[0] for key in held} ^ set(known)
    shapes = [key for key, one in known.items() if key not in strange and held[f"{key}.exp_avg"].shape != one.shape]
    if strange or shapes:
        raise UserError(f"{kept.before} holds moments of other parameters ({sorted([*strange, *shapes])[0]}); take fresh ones")
    for key, parameter in known.items():
        optimizer.state[parameter] = {name: held[f"{key}.{name}"].to(parameter.device) for name in _STATE}


def save(optimizer: Any, model: Any, kept: Moments | None) -> None:
    """Writes the moments for the next stage; by the first process alone."""
    if kept is None or processes.rank() > 0:
        return
    from safetensors.torch import save_file

    inner = getattr(optimizer, "optimizer", optimizer)
    with whole_file(kept.after) as aside:
        save_file(dict(_tensors(inner, model)), str(aside))


def _tensors(optimizer: Any, model: Any) -> Iterator[tuple[str, Tensor]]:
    import torch

    for key, parameter in _trained(optimizer, model):
        state = optimizer.state[parameter]
        # A parameter that never had a gradient has no state: its moments are 0, as they would have begun.
        zeros = {"step": torch.zeros(()), "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
        yield from ((f"{key}.{name}", state.get(name, zeros[name]).detach().cpu().contiguous()) for name in _STATE)


def _trained(optimizer: Any, model: Any) -> Iterator[tuple[str, Any]]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    yield from ((names[each], each) for group in optimizer.param_groups for each in group["params"])
