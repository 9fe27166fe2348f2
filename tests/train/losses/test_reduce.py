"""One divisor for the whole step: one process and two give the same gradient, whatever each of them holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stillwise.train.losses.cross_entropy import cross_entropy
from stillwise.train.losses.head import Head
from stillwise.train.losses.reduce import denominator

SHARES = {1: [(0, 9)], 2: [(0, 2), (2, 9)]}
"""Tokens of each process; uneven, so that a mean of means would differ."""


def problem() -> dict[str, Any]:
    import torch

    draw = torch.Generator().manual_seed(1)
    return {
        "hidden": torch.randn(9, 4, generator=draw, dtype=torch.float64),
        "head": torch.randn(7, 4, generator=draw, dtype=torch.float64),
        "targets": torch.randint(7, (9,), generator=draw),
        "weights": torch.rand(9, generator=draw, dtype=torch.float64),
    }


def work(rank: int, world: int, folder: str) -> None:
    """One process of data-parallel training: its tokens in micro-batches, the gradient averaged by DDP."""
    import torch
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    if world > 1:
        distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=world)
    given = problem()
    layer = torch.nn.Linear(4, 4, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(4))
    model = DistributedDataParallel(layer) if world > 1 else layer
    begin, end = SHARES[world][rank]
    micro = [slice(begin, begin + 1), slice(begin + 1, end)]
    divisor = denominator([given["weights"][part] for part in micro], given["weights"])
    hidden = [model(given["hidden"][part]) for part in micro]
    sums = [
        cross_entropy(h, Head(given["head"]), given["targets"][part], given["weights"][part])[0]
        for h, part in zip(hidden, micro, strict=True)
    ]
    (torch.stack(sums).sum() / divisor).backward()
    if rank == 0:
        torch.save(layer.weight.grad, f"{folder}/grad{world}.pt")
    if world > 1:
        distributed.destroy_process_group()


def test_two_processes_have_the_gradient_of_one(tmp_path: Path) -> None:
    import torch
    from torch.multiprocessing.spawn import spawn

    work(0, 1, str(tmp_path))
    spawn(work, args=(2, str(tmp_path)), nprocs=2)
    one, two = (torch.load(tmp_path / f"grad{world}.pt", weights_only=True) for world in (1, 2))
    assert torch.allclose(one, two, atol=1e-12)
    given = problem()
    layer = torch.eye(4, dtype=torch.float64, requires_grad=True)
    logits = given["hidden"] @ layer.T @ given["head"].T
    nll = torch.nn.functional.cross_entropy(logits, given["targets"], reduction="none")
    (whole,) = torch.autograd.grad((nll * given["weights"]).sum() / given["weights"].sum(), layer)
    assert torch.allclose(one, whole, atol=1e-12)


def test_a_step_without_weight_divides_by_one() -> None:
    import torch

    zeros = torch.zeros(3)
    assert float(denominator([zeros, zeros], zeros)) == 1
    assert float(denominator([], zeros)) == 1
    assert float(denominator([torch.tensor([0.5]), torch.tensor([2.0])], zeros)) == pytest.approx(2.5)
