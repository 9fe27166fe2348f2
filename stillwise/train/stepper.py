"""transformers' Trainer with a step of our own: planned passes, one divisor for all processes, checkpoints that are whole."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from stillwise.train import keeping as checkpoints
from stillwise.train import moments, processes
from stillwise.train.flops import BACKWARD, size_of_model
from stillwise.train.keeping import Clock, Keeping
from stillwise.train.losses.reduce import denominator
from stillwise.train.packing import Pack, bare

SAVE = "save"
"""Rides along with the step's figures: the first process alone looks at the clock, and all have to save together."""
OPERATIONS = "operations"
"""Rides along too."""


class Journey(Protocol):
    """What is planned, and who hears of what has happened."""

    @property
    def steps(self) -> Sequence[Any]: ...

    @property
    def cost(self) -> Any: ...

    @property
    def keeping(self) -> Keeping: ...

    def note(self, number: int, loss: float, learning_rate: float, figures: dict[str, float], operations: float) -> None: ...

    def remember(self) -> Mapping[str, Any]: ...


def make(model: Any, arguments: Any, journey: Journey) -> Any:
    """The trainer; nothing is trained yet."""
    from transformers import PrinterCallback, Trainer

    class Stepper(_Stepping, Trainer):  # type: ignore[misc]
        """Made here, because transformers is loaded here."""

    trainer = Stepper(model=model, args=arguments, train_dataset=list(range(len(journey.steps))), data_collator=_only)
    trainer.journey, trainer.clock = journey, Clock(journey.keeping)
    trainer.remove_callback(PrinterCallback)
    _report(trainer, journey.keeping)
    return trainer


class _Stepping:
    """One item of the data is one optimiser step, which this class cuts into forward passes itself."""

    journey: Journey
    clock: Clock
    reported: dict[str, float]
    train_dataset: list[int]
    args: Any
    accelerator: Any
    control: Any
    state: Any

    def get_train_dataloader(self) -> Any:
        """Every process sees every step; which of its passes are whose is decided inside."""
        from torch.utils.data import DataLoader

        return DataLoader(self.train_dataset, batch_size=1, collate_fn=_only)  # type: ignore[arg-type]

    def create_optimizer(self, *given: Any) -> Any:
        """The optimiser, with the moments that the stage before handed on; a checkpoint's own take their place."""
        made = super().create_optimizer(*given)  # type: ignore[misc]
        moments.take_up(made, self.model, self.journey.keeping.moments)  # type: ignore[attr-defined]
        return made

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        """Forward and backward passes of one optimiser step; its loss over all processes is noted."""
        number = inputs["step"]
        model.train()
        inner = self.accelerator.unwrap_model(model)
        passes = self._passes(inner, number)
        weights = [self.journey.cost.weight(rows, pack) for rows, pack in passes]
        divisor = denominator(weights, weights[0])
        total: Any = 0.0
        figures: dict[str, float] = {}
        for place, (rows, pack) in enumerate(passes, start=1):
            with processes.apart(self.accelerator, model, place == len(passes)):
                loss, beside = self._one(model, inner, rows, pack, divisor)
            total = total + loss
            figures.update({name: figures.get(name, 0.0) + value / float(divisor) for name, value in beside.items()})
        figures |= self.journey.cost.beside()
        self._told(number, float(total), {**figures, OPERATIONS: self._operations(inner, [rows for rows, _ in passes])})
        return total

    def _operations(self, inner: Any, passes: Sequence[Sequence[Any]]) -> float:
        size = size_of_model(bare(inner))
        own = (1 + BACKWARD) * size.forward(len(row.ids) for rows in passes for row in rows)
        return float(own + sum(self.journey.cost.operations(size, rows) for rows in passes))

    def _passes(self, inner: Any, number: int) -> list[tuple[Sequence[Any], Pack]]:
        planned = processes.mine(self.journey.steps[number])
        return [(rows, Pack.of(rows, self.args.device)) for rows in self.journey.cost.passes(bare(inner), planned, number)]

    def _one(self, model: Any, inner: Any, rows: Sequence[Any], pack: Pack, divisor: Any) -> tuple[Any, Mapping[str, float]]:
        def work() -> Any:
            with self.compute_loss_context_manager():  # type: ignore[attr-defined]
                summed, beside = self.journey.cost.total(bare(inner), rows, pack)
                return summed / divisor, beside

        loss, beside = processes.through(model, inner, work)
        self.accelerator.backward(loss)
        return loss.detach(), beside

    def _told(self, number: int, loss: float, figures: dict[str, float]) -> None:
        due = float(processes.rank() == 0 and self.clock.due(number + 1) and number + 1 < len(self.journey.steps))
        # Each process has divided its own sums so that the mean over the processes is the step's.
        meant = processes.meant({**figures, "loss": loss, SAVE: due}, self.args.device)
        self.control.should_save = meant.pop(SAVE) > 0
        mean, rate = meant.pop("loss"), self._get_learning_rate()  # type: ignore[attr-defined]
        self.journey.note(number, mean, rate, meant, meant.pop(OPERATIONS) * processes.count())
        self.reported = {"loss": mean, "learning_rate": rate, **meant}

    def _maybe_log_save_evaluate(self, *given: Any, **more: Any) -> None:
        """The step is counted by now, so what is reported stands at its number."""
        if self.journey.keeping.report_to and self.reported:
            self.log(self.reported)  # type: ignore[attr-defined]
        self.reported = {}
        super()._maybe_log_save_evaluate(*given, **more)  # type: ignore[misc]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        began = time.monotonic()
        super()._save_checkpoint(model, trial)  # type: ignore[misc]
        self.accelerator.wait_for_everyone()
        path = Path(self.args.output_dir) / f"{checkpoints.STEP}{self.state.global_step}"
        if processes.rank() == 0:
            checkpoints.seal(path, self.journey.remember())
            checkpoints.prune(path.parent, path)
        self.accelerator.wait_for_everyone()
        self.clock.written(time.monotonic() - began)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Nobody asks."""
        return 0


def _only(batch: list[int]) -> dict[str, int]:
    (number,) = batch
    return {"step": number}


def _report(trainer: Any, keeping: Keeping) -> None:
    """Adds what losses are reported to."""
    from transformers.integrations import integration_utils

    known: Any = integration_utils
    for name in keeping.report_to if processes.rank() == 0 else ():
        if name == "tensorboard" and keeping.logs is not None:
            from torch.utils.tensorboard import SummaryWriter

            trainer.add_callback(known.TensorBoardCallback(SummaryWriter(log_dir=str(keeping.logs))))
        else:
            trainer.add_callback(known.get_reporting_integration_callbacks([name])[0])
