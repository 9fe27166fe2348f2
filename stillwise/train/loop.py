"""The optimiser steps: transformers' Trainer, fed with whole steps in the order in which they were planned."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from stillwise.errors import StillwiseError
from stillwise.runtime.files import write_json
from stillwise.train import keeping as checkpoints
from stillwise.train import moments, processes, stepper
from stillwise.train.fields import Schedule
from stillwise.train.flops import Size
from stillwise.train.keeping import Keeping
from stillwise.train.packing import Pack, bare, loss_sum
from stillwise.train.render import Row

if TYPE_CHECKING:
    from torch import Tensor

Step = Sequence[Sequence[Row]]
"""One optimiser step: its forward passes, each a group of rows."""
NOT_FINITE = "not_finite.json"
WHOLE: WeakKeyDictionary[Any, Mapping[str, Any]] = WeakKeyDictionary()
"""The weights of models that were trained in shards: no process holds them whole otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the optimiser needs to know."""

    learning_rate: float
    schedule: Schedule
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    bfloat16: bool
    seed: int


@dataclass(frozen=True, slots=True)
class Point:
    """One optimiser step as it went: number (from 1), loss in nats per supervised token, learning rate, ids in order."""

    step: int
    loss: float
    learning_rate: float
    ids: tuple[str, ...]
    figures: dict[str, float] = field(default_factory=dict)
    """Parts of the loss and what is watched beside it, divided like the loss."""
    operations: float = 0.0
    """Floating-point operations of the step, all processes together."""


class Cost(ABC):
    """What a forward pass costs: a sum, and the weight that this sum is to be divided by in the end."""

    def passes(self, model: Any, step: Step, number: int) -> Step:
        """The step's forward passes as they are to be trained; the planned ones unless a cost makes its own."""
        return step

    @abstractmethod
    def weight(self, rows: Sequence[Row], pack: Pack) -> Tensor:
        """The pass's share of the step's divisor."""

    @abstractmethod
    def total(self, model: Any, rows: Sequence[Row], pack: Pack) -> tuple[Tensor, Mapping[str, float]]:
        """The weighted sum of the pass's losses, and sums of figures to show beside it."""

    def operations(self, size: Size, rows: Sequence[Row]) -> float:
        """Floating-point operations for a pass of these rows but the student's own passes forward and backward."""
        return 0.0

    def beside(self) -> Mapping[str, float]:
        """Figures of the whole step that are no sums over its passes; nothing by default."""
        return {}

    def state(self) -> Mapping[str, Any]:
        """What it has to remember over a kill, as JSON values; nothing by default."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes up what it remembered."""
        if state:
            raise StillwiseError(f"{type(self).__name__} remembers nothing, yet a checkpoint holds {sorted(state)} for it")


@dataclass(frozen=True, kw_only=True)
class TokenCost(Cost):
    """Cross-entropy of the supervised tokens, divided by their summed weight."""

    vocab: int | None = None
    """Ids from here on are padding of the head; None keeps all rows."""

    def weight(self, rows: Sequence[Row], pack: Pack) -> Tensor:
        """The summed weight of the tokens."""
        return pack.weights_S.sum()

    def total(self, model: Any, rows: Sequence[Row], pack: Pack) -> tuple[Tensor, Mapping[str, float]]:
        """The weighted sum; nothing beside it."""
        return loss_sum(model, pack, self.vocab), {}


def optimise(
    model: Any,
    steps: Sequence[Step],
    settings: Settings,
    scratch: Path,
    on_step: Callable[[Point], None],
    cost: Cost | None = None,
    keeping: Keeping | None = None,
) -> list[Point]:
    """Trains the model in place, one update for each step, and returns what happened at each.

    A step's loss is the sum of its passes' costs (by default cross-entropies) divided by their summed weight, so it does not
    change with the number of forward passes it is cut into, nor with the number of processes. A loss that is not finite ends
    the training with an error. With checkpoints it goes on from the newest whole one, as if nothing had happened.
    """
    kept = keeping or Keeping()
    journey = _Journey(steps, cost or TokenCost(), on_step, kept)
    caching = bare(model).config.use_cache
    start = checkpoints.newest(kept.folder)
    if start:
        journey.take_up(checkpoints.remembered(start))
    trainer = stepper.make(model, _arguments(settings, len(steps), kept.folder or scratch), journey)
    trainer.train(resume_from_checkpoint=str(start) if start else None)
    moments.save(trainer.optimizer, model, kept.moments)
    if (whole := processes.whole_state(trainer.accelerator, trainer.model_wrapped)) is not None:
        WHOLE[model] = whole
    bare(model).config.use_cache = caching
    return journey.points


@dataclass
class _Journey:
    """What is planned, and what has happened so far."""

    steps: Sequence[Step]
    cost: Cost
    on_step: Callable[[Point], None]
    keeping: Keeping
    points: list[Point] = field(default_factory=list)

    def note(self, number: int, loss: float, learning_rate: float, figures: dict[str, float], operations: float) -> None:
        """Tells of a step; raises where its loss is not finite."""
        ids = _ids(number, loss, self.steps, self.keeping.logs)
        point = Point(number + 1, loss, learning_rate, ids, figures, operations)
        self.points.append(point)
        self.on_step(point)

    def remember(self) -> dict[str, Any]:
        """The points without their ids, which the plan holds, and what the cost remembers."""
        held = [[point.loss, point.learning_rate, point.figures, point.operations] for point in self.points]
        return {"points": held, "cost": dict(self.cost.state())}

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Goes on from what was remembered; each step of it is told again, for the bar."""
        self.cost.restore(state["cost"])
        for number, told in enumerate(state["points"]):
            self.note(number, *told)


def _arguments(settings: Settings, count: int, scratch: Path) -> Any:
    import torch
    from transformers import TrainingArguments

    warm = settings.warmup_ratio > 0
    schedule = "constant_with_warmup" if settings.schedule == "constant" and warm else settings.schedule
    on_cpu = not torch.cuda.is_available()
    found = TrainingArguments(
        output_dir=str(scratch),
        max_steps=count,
        per_device_train_batch_size=1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=int(settings.warmup_ratio * count),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch" if processes.sharded() else "adamw_torch_fused",
        bf16=settings.bfloat16,
        use_cpu=on_cpu,
        ddp_find_unused_parameters=False,
        ddp_backend="gloo" if on_cpu and processes.count() > 1 else None,
        seed=settings.seed,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        train_sampling_strategy="sequential",
    )
    # One process drives one device; torch's DataParallel would cut the packed rows apart.
    found._n_gpu = min(1, found.n_gpu)
    return found


def _ids(number: int, loss: float, steps: Sequence[Step], logs: Path | None) -> tuple[str, ...]:
    """The ids of a step's rows; raises where its loss is not finite."""
    ids = tuple(row.id for rows in steps[number] for row in rows)
    if not math.isfinite(loss):
        told = _told(number, loss, ids, logs)
        raise StillwiseError(
            f"the loss is {loss} at optimiser step {number + 1} of {len(steps)}; lower learning_rate or max_grad_norm, or look "
            f"at the step's {len(ids)} rows ({told})"
        )
    return ids


def _told(number: int, loss: float, ids: Sequence[str], logs: Path | None) -> str:
    """Writes the ids of a bad step's rows down, where there is a place for it; returns where they are, or the first few."""
    if logs is None:
        return f"ids {', '.join(ids[:5])}{', …' if len(ids) > 5 else ''}"
    if processes.rank() == 0:
        write_json(logs / NOT_FINITE, {"step": number + 1, "loss": str(loss), "ids": list(ids)})
    return f"ids in {logs / NOT_FINITE}"
