"""What every trainer of a causal language model shares: steps from rows, one training of them, and the figures of a stage."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

from stillwise.arrows import Tools
from stillwise.errors import UserError, nearest
from stillwise.records import derive_seed, digest
from stillwise.train import folder, loop, processes
from stillwise.train.fields import Fit
from stillwise.train.keeping import Keeping
from stillwise.train.moments import Moments
from stillwise.train.packing import ATTENTION, check_isolation, epoch_order, filled, register_attention
from stillwise.train.render import Rendered, Row

CURVE_POINTS = 200
ADVICE = {
    "template_closes_thought": "the student's chat template ends the thought before the answer begins, so a thought cannot be "
    "learnt behind it; take a template that leaves it open (or without thoughts), or learn solutions (target: solution)",
    "too_long": "raise max_length on the trainer, or set too_long: cut",
    "end_token_inside": "the targets hold the token that ends a turn; clean the traces",
}


def planned(fit: Fit, units: Sequence[Sequence[Row]], seed: int) -> list[list[list[Row]]]:
    """Optimiser steps, each a list of forward passes of rows; the rows of a unit (a pair, or one row) stay together."""
    lengths = [sum(len(row.ids) for row in unit) for unit in units]
    most = min(fit.micro_batch_tokens, fit.batch_tokens)
    groups = islice(_groups(fit, lengths, seed), num_steps(fit, lengths, seed))
    micros = ((group, processes.budget(most, sum(lengths[i] for i in group)) if fit.packing else 1) for group in groups)
    return [[[row for i in pack for row in units[i]] for pack in filled(lengths, group, micro)] for group, micro in micros]


def num_steps(fit: Fit, lengths: Sequence[int], seed: int) -> int:
    """Optimiser steps over units of these lengths: those of the epochs or those given, times ``length``; one at least."""
    usual = fit.steps or sum(1 for epoch in range(fit.epochs) for _ in _epoch(fit, lengths, epoch, seed))
    return max(1, round(fit.length * usual))


def _groups(fit: Fit, lengths: Sequence[int], seed: int) -> Iterator[tuple[int, ...]]:
    for epoch in count():
        yield from _epoch(fit, lengths, epoch, seed)


def _epoch(fit: Fit, lengths: Sequence[int], epoch: int, seed: int) -> Iterator[tuple[int, ...]]:
    yield from filled(lengths, epoch_order(len(lengths), epoch, fit.order, seed), fit.batch_tokens)


def require_rows(rows: Sequence[Any], dropped: Mapping[str, str]) -> None:
    """Refuses a training without rows, with the reasons why all dropped out."""
    if not rows:
        found = Counter(dropped.values())
        reasons = ", ".join(f"{n} {reason}" for reason, n in found.items())
        advice = "".join(f"; {reason}: {ADVICE[reason]}" for reason in found if reason in ADVICE)
        raise UserError(f"nothing to train on: {reasons or 'no example was given'}{advice}")


def load_student(fit: Fit, student: Path, probe: Sequence[Row], seed: int = 0) -> Any:
    """The student's weights, with packed attention that was tried on the probe rows, and an adapter drawn from the seed."""
    if fit.packing:
        register_attention()
    model = folder.load_model(student, ATTENTION if fit.packing else None, trainable=fit.adapter is not None)
    if fit.adapter is not None:
        from stillwise.train.adapters import attach

        model = attach(model, student, fit.adapter, derive_seed(seed, "adapter") % 2**31)
    if not processes.sharded():
        model.to(processes.device())
    if fit.packing:
        check_isolation(model, probe)
    if fit.gradient_checkpointing:
        folder.recompute_activations(model)
    return model


def fitted(
    fit: Fit,
    model: Any,
    steps: Sequence[loop.Step],
    tools: Tools,
    cost: loop.Cost,
    kind: str,
    moments: Moments | None = None,
) -> list[loop.Point]:
    """Trains the model in place, telling the progress bar, and returns what happened at each step."""
    settings = loop.Settings(
        learning_rate=fit.learning_rate,
        schedule=fit.schedule,
        warmup_ratio=fit.warmup_ratio,
        weight_decay=fit.weight_decay,
        max_grad_norm=fit.max_grad_norm,
        bfloat16=fit.dtype == "bfloat16",
        seed=derive_seed(tools.seed, tools.step, kind) % 2**31,
    )
    with tempfile.TemporaryDirectory() as scratch:
        return loop.optimise(model, steps, settings, Path(scratch), _Shown(steps, tools), cost, _keeping(tools, moments))


def _keeping(tools: Tools, moments: Moments | None) -> Keeping:
    """Checkpoints and reports as this machine wants them."""
    site, wanted = tools.site, tools.site.training
    return Keeping(
        folder=site.kept and site.kept / "checkpoints",
        every_s=wanted.checkpoint_s,
        every_steps=wanted.checkpoint_steps,
        logs=site.logs,
        report_to=reports(wanted.report_to) if site.logs else (),
        moments=moments,
    )


def reports(wanted: Sequence[str]) -> tuple[str, ...]:
    """What losses are reported to; what is unknown or not installed is refused, but TensorBoard, the default, may miss."""
    from transformers.integrations import integration_utils

    known: Any = integration_utils
    here: list[str] = known.get_available_reporting_integrations()
    for name in wanted:
        if name not in known.INTEGRATION_TO_CALLBACK:
            raise UserError(f"report_to {name!r}: {nearest(name, known.INTEGRATION_TO_CALLBACK)}")
        if name not in here and name != "tensorboard":
            raise UserError(f"report_to {name!r}: it is not installed here; pip install it, or report to something else")
    return tuple(name for name in wanted if name in here)


class _Shown:
    """Tells the progress bar of each step: loss, its parts, and supervised tokens a second since the start."""

    def __init__(self, steps: Sequence[loop.Step], tools: Tools) -> None:
        self.progress = tools.progress(f"{tools.step}: optimiser steps", len(steps))
        self.steps = steps
        self.tokens = 0
        self.began = time.monotonic()

    def __call__(self, point: loop.Point) -> None:
        self.tokens += learnt(self.steps[point.step - 1])
        rate = self.tokens / max(time.monotonic() - self.began, 1e-9)
        self.progress.advance(1, loss=point.loss, tokens_per_s=rate, **point.figures)


def learnt(step: loop.Step) -> int:
    """Supervised tokens of a step."""
    return sum(row.num_weighted for rows in step for row in rows)


def figures(rendered: Rendered, steps: Sequence[loop.Step], points: Sequence[loop.Point], seconds: float) -> dict[str, Any]:
    """What a stage reports: rows, drops, tokens, losses, the order of the ids, and the curve, thinned."""
    supervised = sum(learnt(step) for step in steps)
    stride = -(-len(points) // CURVE_POINTS)
    shown = [point for point in points if (point.step - 1) % stride == 0 or point is points[-1]][-CURVE_POINTS:]
    return {
        "steps": len(steps),
        "rows": len(rendered.rows),
        "dropped": dict(sorted(Counter(rendered.dropped.values()).items())),
        "dropped_ids": rendered.dropped,
        **({"cut": len(rendered.cut)} if rendered.cut else {}),
        "supervised_tokens": supervised,
        "operations": sum(point.operations for point in points),
        "total_tokens": sum(len(row.ids) for step in steps for rows in step for row in rows),
        "first_loss": points[0].loss,
        "last_loss": points[-1].loss,
        "order": digest([point.ids for point in points]),
        "curve": [(point.step, point.loss, point.learning_rate) for point in shown],
        **({"parts": [(point.step, point.figures) for point in shown]} if points[0].figures else {}),
        "timing": {"seconds": seconds, "supervised_tokens_per_s": supervised / seconds},
    }
