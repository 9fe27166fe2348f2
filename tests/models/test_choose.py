"""The drawn token against a plain reading of temperature, top-k and top-p."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from stillwise.models.choose import Knobs, choose, uniforms


def plain_nucleus(logits: np.ndarray, temperature: float, top_k: int, top_p: float) -> dict[int, float]:
    """Token to probability after temperature, top-k, top-p, in float64."""
    scaled = logits.astype(np.float64) / temperature
    order = np.argsort(-scaled, kind="stable")[: top_k or len(scaled)]
    probs = np.exp(scaled[order] - scaled.max())
    probs /= probs.sum()
    keep = np.cumsum(probs) - probs < top_p
    kept = probs[keep] / probs[keep].sum()
    return dict(zip(order[keep].tolist(), kept.tolist(), strict=True))


SETTINGS = [(0.6, 0, 0.95), (1.0, 0, 1.0), (1.3, 5, 1.0), (0.8, 100, 0.9), (1.0, 1, 0.5), (3.0, 0, 0.999), (0.05, 0, 0.95)]


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), SETTINGS)
def test_frequencies_follow_the_nucleus(temperature: float, top_k: int, top_p: float) -> None:
    logits = torch.randn(200, generator=torch.Generator().manual_seed(3)) * 2
    expected = plain_nucleus(logits.numpy(), temperature, top_k, top_p)
    n = 20_000
    uniform = torch.arange(n).add(0.5) / n
    knobs = Knobs(torch.full((n,), temperature), torch.full((n,), top_p), torch.full((n,), top_k))
    counts = torch.bincount(choose(logits.expand(n, -1).clone(), uniform, knobs), minlength=200) / n
    assert set(counts.nonzero()[:, 0].tolist()) <= set(expected)
    for token, share in expected.items():
        assert counts[token] == pytest.approx(share, abs=2e-3)


def test_temperature_zero_takes_the_most_probable_token() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0], [5.0, 3.0, 2.0]])
    knobs = Knobs(torch.zeros(2), torch.full((2,), 0.95), torch.zeros(2, dtype=torch.long))
    assert choose(logits, torch.tensor([0.99, 0.99]), knobs).tolist() == [1, 0]


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    rng = torch.Generator().manual_seed(1)
    logits = torch.randn(40, 300, generator=rng) * torch.linspace(0.1, 8, 40)[:, None]
    settings = [SETTINGS[i % len(SETTINGS)] for i in range(40)]
    knobs = [torch.tensor(column) for column in zip(*settings, strict=True)]
    uniform = torch.rand(40, generator=rng)
    together = choose(logits.clone(), uniform, Knobs(knobs[0], knobs[2], knobs[1]))
    for i in range(40):
        alone = choose(logits[i : i + 1].clone(), uniform[i : i + 1], Knobs(*(knobs[k][i : i + 1] for k in (0, 2, 1))))
        assert alone.item() == together[i].item()


@pytest.mark.parametrize("uniform", [0.0, 1.0])
def test_the_ends_of_the_unit_interval_draw_allowed_tokens(uniform: float) -> None:
    logits = torch.full((1, 100), -torch.inf)
    logits[0, [7, 8]] = 0.0
    for temperature, top_k, top_p in SETTINGS:
        knobs = Knobs(torch.tensor([temperature]), torch.tensor([top_p]), torch.tensor([top_k]))
        assert choose(logits.clone(), torch.tensor([uniform]), knobs).item() in (7, 8)


def test_streams_are_equal_for_equal_seeds_and_differ_otherwise() -> None:
    first, again, other = (list(itertools.islice(uniforms(seed), 300)) for seed in (5, 5, 6))
    assert first == again
    assert first != other
    assert all(0 <= u < 1 for u in first)
