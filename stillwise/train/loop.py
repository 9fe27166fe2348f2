"""The optimiser steps: transformers' Trainer, fed with whole steps in the order in which they were planned."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillwise.errors import StillwiseError
from stillwise.train.fields import Schedule
from stillwise.train.losses.reduce import denominator
from stillwise.train.packing import Pack, loss_sum
from stillwise.train.render import Row

if TYPE_CHECKING:
    from torch import Tensor

Step = Sequence[Sequence[Row]]
"""One optimiser step: its forward passes, each a group of rows."""


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


class TokenCost(Cost):
    """Cross-entropy of the supervised tokens, divided by their summed weight."""

    def weight(self, rows: Sequence[Row], pack: Pack) -> Tensor:
        """The summed weight of the tokens."""
        return pack.weights_S.sum()

    def total(self, model: Any, rows: Sequence[Row], pack: Pack) -> tuple[Tensor, Mapping[str, float]]:
        """The weighted sum; nothing beside it."""
        return loss_sum(model, pack), {}


def optimise(
    model: Any,
    steps: Sequence[Step],
    settings: Settings,
    scratch: Path,
    on_step: Callable[[Point], None],
    cost: Cost | None = None,
) -> list[Point]:
    """Trains the model in place, one update for each step, and returns what happened at each.

    A step's loss is the sum of its passes' costs (by default cross-entropies) divided by their summed weight, so it does not
    change with the number of forward passes it is cut into. A loss that is not finite ends the training with an error.
    """
    points: list[Point] = []
    caching = model.config.use_cache

    def heard(point: Point) -> None:
        points.append(point)
        on_step(point)

    _loop(model, steps, settings, scratch, heard, cost or TokenCost()).train()
    model.config.use_cache = caching
    return points


def _arguments(settings: Settings, count: int, scratch: Path) -> Any:
    import torch
    from transformers import TrainingArguments

    warm = settings.warmup_ratio > 0
    schedule = "constant_with_warmup" if settings.schedule == "constant" and warm else settings.schedule
    return TrainingArguments(
        output_dir=str(scratch),
        max_steps=count,
        per_device_train_batch_size=1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=int(settings.warmup_ratio * count),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=settings.bfloat16,
        use_cpu=not torch.cuda.is_available(),
        seed=settings.seed,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        train_sampling_strategy="sequential",
    )


def _only(batch: list[int]) -> dict[str, int]:
    (number,) = batch
    return {"step": number}


def _loop(
    model: Any, steps: Sequence[Step], settings: Settings, scratch: Path, on_step: Callable[[Point], None], cost: Cost
) -> Any:
    from transformers import PrinterCallback, Trainer

    class Loop(Trainer):
        """One item of the data is one optimiser step, which this class cuts into forward passes itself."""

        def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
            planned = cost.passes(model, steps[inputs["step"]], inputs["step"])
            passes = [(rows, Pack.of(rows, self.args.device)) for rows in planned]
            weights = [cost.weight(rows, pack) for rows, pack in passes]
            divisor = denominator(weights, weights[0])
            model.train()
            total: Any = 0.0
            figures: dict[str, float] = {}
            for rows, pack in passes:
                with self.compute_loss_context_manager():
                    summed, beside = cost.total(model, rows, pack)
                    loss = summed / divisor
                self.accelerator.backward(loss)
                total = total + loss.detach()
                figures.update({name: figures.get(name, 0.0) + value / float(divisor) for name, value in beside.items()})
            on_step(_point(inputs["step"], float(total), self._get_learning_rate(), steps, figures))
            return total

        def floating_point_ops(self, inputs: dict[str, Any]) -> int:
            return 0

    arguments = _arguments(settings, len(steps), scratch)
    trainer = Loop(model=model, args=arguments, train_dataset=list(range(len(steps))), data_collator=_only)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _point(number: int, loss: float, learning_rate: float, steps: Sequence[Step], figures: dict[str, float]) -> Point:
    if not math.isfinite(loss):
        raise StillwiseError(
            f"the loss is {loss} at optimiser step {number + 1} of {len(steps)}; lower learning_rate or max_grad_norm"
        )
    ids = tuple(row.id for rows in steps[number] for row in rows)
    return Point(step=number + 1, loss=loss, learning_rate=learning_rate, ids=ids, figures=figures)
