"""Supervised tokens per second of stillwise's SFT steps against trl.SFTTrainer on the same rows and the same batches.

Both sides train the shipped micro student in float32 with fused AdamW, the same maximum length, the same rows in each
optimiser step (TRL: its default 8 padded rows a forward pass) and the same number of threads. TRL's gradient checkpointing,
on by default, is switched off, which favours TRL. Its `packing=True` is measured beside. Runs alternate; medians are printed.

    python benchmarks/sft.py --threads 1 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

TARGET = 1.5
MAX_LENGTH = 1024
FORWARD_ROWS = 8
"""TRL's default per_device_train_batch_size."""
RATE = 1e-4


@dataclass(frozen=True)
class Run:
    """One training: supervised tokens per second of wall and of CPU time, and the first step's loss."""

    per_second: float
    per_cpu_second: float
    first_loss: float


class Clock:
    """Times the steps after the first, which pays for warm-up on both sides."""

    def __init__(self) -> None:
        self.ticks: list[tuple[float, float]] = []

    def tick(self) -> None:
        self.ticks.append((time.perf_counter(), time.process_time()))

    def run(self, tokens_after_first: int, first_loss: float) -> Run:
        (wall, cpu), (last_wall, last_cpu) = self.ticks[0], self.ticks[-1]
        return Run(tokens_after_first / (last_wall - wall), tokens_after_first / (last_cpu - cpu), first_loss)


def make_rows(count: int) -> list[Any]:
    """Rows of the curriculum's second stage: short solutions at levels 1 to 4, long checked thoughts at level 5."""
    from stillwise import micro
    from stillwise.arrows import Example
    from stillwise.micro import families, solutions
    from stillwise.train.folder import load_tokenizer
    from stillwise.train.render import render

    rng = Random(0)
    levels = [families.generate("chain_sum", level, count // 5 + 1, seed=1) for level in range(1, 6)]
    examples = []
    for i in range(count):
        problem = levels[i % 5][i // 5]
        text = (
            solutions.plain(solutions.reasoner_answer(problem.expression, rng, 0.6, 0.2))
            if i % 5 == 4
            else solutions.short_solution(problem.expression)
        )
        examples.append(Example(id=str(i), user=problem.question, assistant=text))
    rng.shuffle(examples)
    rendered = render(examples, load_tokenizer(micro.path("student")), MAX_LENGTH)
    return list(rendered.rows)


def run_stillwise(steps: list[list[Any]]) -> Run:
    from stillwise import micro
    from stillwise.train.folder import load_model, quiet
    from stillwise.train.loop import Settings, optimise
    from stillwise.train.packing import ATTENTION, register_attention

    settings = Settings(
        learning_rate=RATE, schedule="cosine", warmup_ratio=0, weight_decay=0, max_grad_norm=1.0, bfloat16=False, seed=0
    )
    clock = Clock()
    register_attention()
    with quiet(), tempfile.TemporaryDirectory() as scratch:
        model = load_model(micro.path("student"), ATTENTION)
        points = optimise(model, [[rows] for rows in steps], settings, Path(scratch), lambda point: clock.tick())
    return clock.run(learnt(steps[:-1]), points[0].loss)


def learnt(steps: list[list[Any]]) -> int:
    """Supervised tokens of these steps."""
    return sum(row.num_learnt for rows in steps for row in rows)


def run_trl(steps: list[list[Any]], packing: bool) -> Run:
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from stillwise import micro
    from stillwise.train.folder import load_model, load_tokenizer, quiet

    clock, losses, seen = Clock(), [], []

    class Ticks(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.tick()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            losses.extend([logs["loss"]] if "loss" in (logs or {}) else [])

    class Counting(SFTTrainer):
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append((len(clock.ticks), int((inputs["labels"] != -100).sum())))
            return super().compute_loss(model, inputs, *args, **kwargs)

    rows = [row for step in steps for row in step]
    table = {
        "input_ids": [list(row.ids) for row in rows],
        "completion_mask": [[0] * row.start + [1] * row.num_learnt for row in rows],
    }
    with quiet(), tempfile.TemporaryDirectory() as scratch:
        config = SFTConfig(
            output_dir=scratch,
            max_length=MAX_LENGTH,
            packing=packing,
            completion_only_loss=True,
            per_device_train_batch_size=FORWARD_ROWS,
            gradient_accumulation_steps=1 if packing else len(steps[0]) // FORWARD_ROWS,
            num_train_epochs=1,
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            optim="adamw_torch_fused",
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            seed=0,
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            train_sampling_strategy="sequential",
        )
        trainer = Counting(
            model=load_model(micro.path("student"), None),
            args=config,
            train_dataset=Dataset.from_dict(table),
            processing_class=load_tokenizer(micro.path("student")),
            callbacks=[Ticks()],
        )
        from transformers import PrinterCallback

        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.run(sum(tokens for step, tokens in seen if step), losses[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rows", type=int, default=32, help="rows in one optimiser step")
    args = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import torch

    torch.set_num_threads(args.threads)
    rows = make_rows(args.rows * args.steps)
    steps = [rows[i : i + args.rows] for i in range(0, len(rows) - args.rows + 1, args.rows)]
    lengths = sorted(len(row.ids) for row in rows)
    print(f"{len(steps)} steps of {args.rows} rows, {sum(lengths)} tokens, {learnt(steps)} supervised; row lengths", end=" ")
    print(f"{lengths[0]} to {lengths[-1]}, median {lengths[len(lengths) // 2]}; {torch.get_num_threads()} thread(s)")
    sides: dict[str, Callable[[], Run]] = {
        "stillwise": lambda: run_stillwise(steps),
        "trl padded": lambda: run_trl(steps, packing=False),
        "trl packing": lambda: run_trl(steps, packing=True),
    }
    report(measure(sides, args.rounds))


def measure(sides: dict[str, Callable[[], Run]], rounds: int) -> dict[str, list[Run]]:
    """Runs of each side, alternating."""
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            run = side()
            runs[name].append(run)
            print(
                f"round {number + 1}  {name:<12} {run.per_second:8.0f} tokens/s  {run.per_cpu_second:8.0f} tokens/CPU-s  "
                f"first loss {run.first_loss:.6f}",
                flush=True,
            )
    return runs


def report(runs: dict[str, list[Run]]) -> None:
    """Medians, and the line that a script reads."""
    wall = {name: statistics.median(run.per_second for run in side) for name, side in runs.items()}
    cpu = {name: statistics.median(run.per_cpu_second for run in side) for name, side in runs.items()}
    ratio = wall["stillwise"] / wall["trl padded"]
    gap = abs(runs["stillwise"][0].first_loss - runs["trl padded"][0].first_loss)
    print(
        json.dumps(
            {
                "name": "sft",
                "ratio": round(ratio, 3),
                "target": TARGET,
                "ok": ratio >= TARGET and gap < 1e-4,
                "first_loss_gap": gap,
                "cpu_time_ratio": round(cpu["stillwise"] / cpu["trl padded"], 3),
                "ratio_to_trl_packing": round(wall["stillwise"] / wall["trl packing"], 3),
                "tokens_per_s": {name: round(value) for name, value in wall.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
