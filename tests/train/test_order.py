"""What the model itself is called with, token by token: a curriculum's order through rendering, packing, steps and epochs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Example, Row, Tools
from stillwise.curriculum.stages import Stages
from stillwise.errors import UserError
from stillwise.train import processes
from stillwise.train.fit import planned
from stillwise.train.folder import load_tokenizer
from stillwise.train.moments import FILE
from stillwise.train.render import render
from stillwise.train.sft import SFT

ROWS = [
    Row(
        trace_id=f"t{i}", problem_id=f"p{i}", output="cots", level=1 + i % 5, outcome="correct", num_tokens=i,
        sample_index=0, scores={"cd": float(7 * i % 10)},
    )
    for i in range(24)
]  # fmt: skip
SCHEDULES: Mapping[str, Mapping[str, Any]] = {
    "easy to hard": {"stages": [{"name": "one", "take": [{"from": "cots"}], "order": "easy_to_hard", "by": "cd"}]},
    "medium first": {
        "stages": [{"name": "one", "take": [{"from": "cots"}], "order": "medium_first", "medium": [2, 3], "passes": 2}]
    },
    "linear decay": {
        "arrange": "linear_decay",
        "stages": [
            {"name": "medium", "take": [{"from": "cots", "where": {"cd": [0, 4]}}]},
            {"name": "harder", "take": [{"from": "cots", "where": {"cd": [5, 9]}}]},
        ],
    },
}


def examples(schedule: str) -> list[Example]:
    lessons = Stages.model_validate(SCHEDULES[schedule]).schedule(ROWS, seed=5)
    texts = {row.trace_id: "a few words " * (1 + 5 * i % 7) for i, row in enumerate(ROWS)}
    return [Example(id=x.trace_id, user=f"question {x.trace_id}", assistant=texts[x.trace_id]) for x in lessons]


@contextmanager
def seen_ids() -> Iterator[list[int]]:
    """Every token that an embedding was asked for while gradients were computed, in order."""
    import torch
    from torch.nn.modules.module import register_module_forward_pre_hook

    seen: list[int] = []

    def hear(module: Any, given: Any) -> None:
        if isinstance(module, torch.nn.Embedding) and torch.is_grad_enabled():
            seen.extend(given[0].flatten().tolist())

    handle = register_module_forward_pre_hook(hear)
    try:
        yield seen
    finally:
        handle.remove()


def part(**more: Any) -> SFT:
    return SFT.model_validate({"epochs": 1, "learning_rate": 1e-3, "batch_tokens": 300, "micro_batch_tokens": 150, **more})


@pytest.mark.parametrize(
    ("schedule", "epochs", "packing"),
    [("easy to hard", 2, True), ("easy to hard", 1, False), ("medium first", 1, True), ("linear decay", 1, True)],
)
def test_the_model_sees_every_lesson_in_its_place(
    student: Path, tmp_path: Path, tools: Tools, schedule: str, epochs: int, packing: bool
) -> None:
    held = examples(schedule)
    rows = render(held, load_tokenizer(student), 10_000).rows
    with seen_ids() as seen:
        figures = part(epochs=epochs, packing=packing).train(held, student, tmp_path / "out", tools)
    assert figures["steps"] > 2 * epochs
    assert seen == [token for row in rows * epochs for token in row.ids]


def test_a_shuffling_trainer_loses_the_order(student: Path, tmp_path: Path, tools: Tools) -> None:
    held = examples("easy to hard")
    rows = render(held, load_tokenizer(student), 10_000).rows
    with seen_ids() as seen:
        part(order="shuffled").train(held, student, tmp_path / "out", tools)
    assert sorted(seen) == sorted(token for row in rows for token in row.ids)
    assert seen != [token for row in rows for token in row.ids]


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_share_each_step_in_order(student: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(count))
    held = examples("linear decay")
    rows = render(held, load_tokenizer(student), 10_000).rows
    steps = planned(part(), [[row] for row in rows], seed=0)
    order = []
    for step in steps:
        shares = []
        for rank in range(count):
            monkeypatch.setenv("RANK", str(rank))
            shares.append([[row.id for row in rows if row.weight] for rows in processes.mine(step)])
        assert len({len(share) for share in shares}) == 1
        order += [name for passes in zip(*shares, strict=True) for names in passes for name in names]
    assert order == [each.id for each in held]


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(str(folder / "model.safetensors"))


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all((a[key] == b[key]).all() for key in a)


STEADY = {"schedule": "constant", "warmup_ratio": 0.0, "weight_decay": 0.1}


def two_stages(optimiser: str, student: Path, base: Path, tools: Tools) -> Path:
    """Two stages, cut between two optimiser steps."""
    held = examples("easy to hard")
    steps = planned(part(), [[row] for row in render(held, load_tokenizer(student), 10_000).rows], 0)
    cut = sum(len(rows) for step in steps[: len(steps) // 2] for rows in step)
    for number, share in enumerate((held[:cut], held[cut:])):
        out = base / str(number) / "student"
        part(optimiser=optimiser, **STEADY).train(share, student, out, tools)
        student = out
    return student


def test_a_kept_optimiser_makes_two_stages_one_training(student: Path, tmp_path: Path, tools: Tools) -> None:
    part(**STEADY).train(examples("easy to hard"), student, tmp_path / "whole" / "student", tools)
    kept = two_stages("kept", student, tmp_path / "kept", tools)
    fresh = two_stages("fresh", student, tmp_path / "fresh", tools)
    assert same(weights(tmp_path / "whole" / "student"), weights(kept))
    assert not same(weights(fresh), weights(kept))
    assert (kept.parent / FILE).is_file()
    assert not list((tmp_path / "fresh").rglob(FILE))


def test_moments_of_other_parameters_are_refused(student: Path, make_student: Any, tmp_path: Path, tools: Tools) -> None:
    import shutil

    kept = two_stages("kept", student, tmp_path / "kept", tools)
    other = tmp_path / "other" / "student"
    shutil.copytree(make_student(num_hidden_layers=1), other)
    shutil.copyfile(kept.parent / FILE, other.parent / FILE)
    with pytest.raises(UserError, match="moments of other parameters"):
        part(optimiser="kept").train(examples("easy to hard"), other, tmp_path / "out" / "student", tools)
