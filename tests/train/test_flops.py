"""Operations counted from sizes, against torch's own count of what was computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from stillwise.train import folder
from stillwise.train.flops import BACKWARD, size_of, size_of_model

MODELS = Path(__file__).parents[2] / "stillwise" / "micro" / "models"


def counted(model: Any, length: int, backward: bool) -> int:
    ids = torch.randint(5, 20, (1, length))
    with FlopCounterMode(display=False) as counter:
        logits = model(input_ids=ids).logits
        if backward:
            logits.float().logsumexp(-1).sum().backward()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("length", [8, 64, 400])
def test_a_pass_costs_what_torch_counts(length: int) -> None:
    model: Any = folder.load_model(MODELS / "student", "eager")
    size = size_of_model(model)
    # Eager attention computes both halves of the square; ours charges the causal one.
    square = 2 * size.layers * size.width * length**2
    forward = counted(model, length, backward=False)
    assert forward == pytest.approx(size.forward([length]) + square, rel=0.03)
    both = counted(model, length, backward=True)
    assert both == pytest.approx((1 + BACKWARD) * (size.forward([length]) + square), rel=0.05)


def test_a_config_says_the_same_as_the_loaded_model() -> None:
    model: Any = folder.load_model(MODELS / "student", "eager")
    config = json.loads((MODELS / "student" / "config.json").read_text())
    assert size_of(config, sum(weight.numel() for weight in model.parameters())) == size_of_model(model)
