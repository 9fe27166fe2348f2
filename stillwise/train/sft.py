"""Supervised fine-tuning on the assistant's tokens."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Example, Tools, Trainer
from stillwise.errors import UserError
from stillwise.parts import Role
from stillwise.records import derive_seed, digest
from stillwise.train import folder, loop
from stillwise.train.packing import ATTENTION, RowOrder, check_isolation, epoch_order, filled, register_attention
from stillwise.train.render import Rendered, end_token, render

CURVE_POINTS = 200


class SFT(Trainer):
    """Cross-entropy on the assistant's tokens, the end of sequence included.

    Teach Small Models to Reason by Curriculum Distillation, §4.1.
    """

    kind: ClassVar[str] = "sft"
    student: Role = "student"
    """The role whose weights are trained."""
    epochs: int = Field(default=2, ge=1)
    """How often each example is seen."""
    steps: int | None = Field(default=None, ge=1)
    """Optimiser steps; overrides ``epochs`` and repeats or cuts the examples as needed (baselines of equal length)."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """The highest learning rate."""
    schedule: loop.Schedule = "cosine"
    """How the learning rate falls after the warm-up, to 0 at the last step (``constant`` stays)."""
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the rate rises from 0. The paper is silent; LLaMA-Factory's examples use 0.1."""
    batch_tokens: int = Field(default=32768, ge=1)
    """The most tokens, prompts included, in one optimiser step; the paper leaves the batch size open."""
    micro_batch_tokens: int = Field(default=16384, ge=1)
    """The most tokens in one forward pass; a smaller number needs less memory and changes results by rounding only."""
    max_length: int = Field(default=16384, ge=2)
    """Longer rows, in tokens, are dropped and counted, never cut: a cut row would teach to go on without an end."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decay of matrices (not of biases and norms)."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    order: RowOrder = "as_given"
    """``as_given`` keeps the curriculum's order in every epoch; ``shuffled`` draws a new one for each epoch."""
    packing: bool = True
    """Rows packed into one sequence, isolated from each other; false gives every row its own forward pass."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward and backward pass; the trained weights are float32 in both."""
    gradient_checkpointing: bool = False
    """Recomputes activations in the backward pass: less memory, about a third more time."""

    def train(self, examples: Sequence[Example], student: Path, out: Path, tools: Tools) -> Mapping[str, Any]:
        """Writes the student, float32, at ``out`` and returns rows, drops, tokens, losses and the loss curve.

        Durations stand under ``timing``, apart from everything that equal runs repeat byte for byte.
        """
        began = time.monotonic()
        with folder.quiet(), folder.whole_folder(out) as aside:
            tokenizer = folder.load_tokenizer(student)
            rendered = render(examples, tokenizer, self.max_length)
            steps = self._steps(rendered, derive_seed(tools.seed, tools.step))
            model = self._model(student, rendered)
            points = self._optimise(model, steps, tools)
            folder.save_student(model, student, aside, end_token(tokenizer))
        return _figures(rendered, steps, points, time.monotonic() - began)

    def _steps(self, rendered: Rendered, seed: int) -> list[list[list[Any]]]:
        rows = rendered.rows
        if not rows:
            reasons = ", ".join(f"{n} {reason}" for reason, n in Counter(rendered.dropped.values()).items())
            raise UserError(f"nothing to train on: {reasons or 'no example was given'}")
        lengths = [len(row.ids) for row in rows]
        micro = min(self.micro_batch_tokens, self.batch_tokens) if self.packing else 1
        groups = islice(self._groups(lengths, seed), self.steps)
        return [[[rows[i] for i in pack] for pack in filled(lengths, group, micro)] for group in groups]

    def _groups(self, lengths: Sequence[int], seed: int) -> Iterator[tuple[int, ...]]:
        for epoch in count() if self.steps else range(self.epochs):
            order = epoch_order(len(lengths), epoch, self.order, seed)
            yield from filled(lengths, order, self.batch_tokens)

    def _model(self, student: Path, rendered: Rendered) -> Any:
        if self.packing:
            register_attention()
        model = folder.load_model(student, ATTENTION if self.packing else None)
        if self.packing:
            check_isolation(model, rendered.rows[:2])
        if self.gradient_checkpointing:
            folder.recompute_activations(model)
        return model

    def _optimise(self, model: Any, steps: Sequence[loop.Step], tools: Tools) -> list[loop.Point]:
        settings = loop.Settings(
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            warmup_ratio=self.warmup_ratio,
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
            bfloat16=self.dtype == "bfloat16",
            seed=derive_seed(tools.seed, tools.step, self.kind) % 2**31,
        )
        with tempfile.TemporaryDirectory() as scratch:
            return loop.optimise(model, steps, settings, Path(scratch), _Shown(steps, tools))


class _Shown:
    """Tells the progress bar of each step: loss, and supervised tokens a second since the start."""

    def __init__(self, steps: Sequence[loop.Step], tools: Tools) -> None:
        self.progress = tools.progress(f"{tools.step}: optimiser steps", len(steps))
        self.steps = steps
        self.tokens = 0
        self.began = time.monotonic()

    def __call__(self, point: loop.Point) -> None:
        self.tokens += _learnt(self.steps[point.step - 1])
        rate = self.tokens / max(time.monotonic() - self.began, 1e-9)
        self.progress.advance(1, loss=point.loss, tokens_per_s=rate)


def planned_steps(part: SFT, examples: Sequence[Example], student: Path) -> int:
    """How many optimiser steps this training would take: what a baseline of equal length sets as ``steps``."""
    with folder.quiet():
        rendered = render(examples, folder.load_tokenizer(student), part.max_length)
    return len(part._steps(rendered, 0))


def _learnt(step: loop.Step) -> int:
    return sum(row.num_learnt for rows in step for row in rows)


def _figures(rendered: Rendered, steps: Sequence[loop.Step], points: Sequence[loop.Point], seconds: float) -> dict[str, Any]:
    supervised = sum(_learnt(step) for step in steps)
    stride = -(-len(points) // CURVE_POINTS)
    shown = [point for point in points if (point.step - 1) % stride == 0 or point is points[-1]]
    return {
        "steps": len(steps),
        "rows": len(rendered.rows),
        "dropped": dict(sorted(Counter(rendered.dropped.values()).items())),
        "dropped_ids": rendered.dropped,
        "supervised_tokens": supervised,
        "total_tokens": sum(len(row.ids) for step in steps for rows in step for row in rows),
        "first_loss": points[0].loss,
        "last_loss": points[-1].loss,
        "order": digest([point.ids for point in points]),
        "curve": [(point.step, point.loss, point.learning_rate) for point in shown[-CURVE_POINTS:]],
        "timing": {"seconds": seconds, "supervised_tokens_per_s": supervised / seconds},
    }
