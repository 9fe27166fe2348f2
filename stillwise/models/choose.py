"""The next token of each row: temperature, top-k and top-p, drawn by inverse CDF from the row's own uniform number.

A row's token depends on its logits, its settings and its number only, never on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# R rows that draw a token, V vocabulary, K most probable tokens

_NUCLEUS = 64
"""Tokens looked at before a full sort; a row whose nucleus is wider is sorted whole."""


def uniforms(seed: int) -> Iterator[float]:
    """An endless stream of numbers in [0, 1) from a counter-based generator keyed by the seed alone."""
    import numpy as np

    generator = np.random.Generator(np.random.Philox(key=seed))
    while True:
        yield from generator.random(128).tolist()


@dataclass(frozen=True)
class Knobs:
    """Sampling settings of the rows, as tensors on the logits' device."""

    temperature_R: Tensor
    top_p_R: Tensor
    top_k_R: Tensor
    """0 keeps all tokens."""


def choose(logits_RV: Tensor, uniform_R: Tensor, knobs: Knobs) -> Tensor:
    """token_R: the most probable token at temperature 0, else one drawn after temperature, top-k, top-p, in that order."""
    greedy_R = knobs.temperature_R <= 0
    token_R = logits_RV.argmax(-1)
    probs_RV = (logits_RV.float() / knobs.temperature_R.masked_fill(greedy_R, 1.0)[:, None]).softmax(-1)
    highest_R = probs_RV.gather(1, token_R[:, None])[:, 0]
    settled_R = greedy_R | (highest_R >= knobs.top_p_R) & (knobs.top_p_R < 1) & (knobs.top_k_R == 0) | (knobs.top_k_R == 1)
    free = (~settled_R).nonzero()[:, 0]
    if len(free):
        token_R[free] = _drawn(probs_RV[free], uniform_R[free], knobs.top_p_R[free], knobs.top_k_R[free])
    return token_R


def _drawn(probs_RV: Tensor, uniform_R: Tensor, top_p_R: Tensor, top_k_R: Tensor) -> Tensor:
    whole_R = (top_p_R >= 1) & (top_k_R == 0)
    values_RK, ids_RK = probs_RV.topk(min(_NUCLEUS, probs_RV.shape[1]), sorted=True)
    within_R = (values_RK.sum(-1) >= top_p_R) & (top_k_R == 0) | (top_k_R > 0) & (top_k_R <= values_RK.shape[1])
    token_R = ids_RK.gather(1, _place(values_RK, uniform_R, top_p_R, top_k_R)[:, None])[:, 0]
    for rows, full in ((whole_R, True), (~whole_R & ~within_R, False)):
        index = rows.nonzero()[:, 0]
        if len(index):
            token_R[index] = _from_all(probs_RV[index], uniform_R[index], top_p_R[index], top_k_R[index], full)
    return token_R


def _from_all(probs_RV: Tensor, uniform_R: Tensor, top_p_R: Tensor, top_k_R: Tensor, unsorted: bool) -> Tensor:
    """Tokens drawn from whole rows: in vocabulary order where nothing is cut off, else sorted by probability."""
    if unsorted:
        return _place(probs_RV, uniform_R, top_p_R, top_k_R)
    values_RV, ids_RV = probs_RV.sort(dim=-1, descending=True, stable=True)
    return ids_RV.gather(1, _place(values_RV, uniform_R, top_p_R, top_k_R)[:, None])[:, 0]


def _place(values_RK: Tensor, uniform_R: Tensor, top_p_R: Tensor, top_k_R: Tensor) -> Tensor:
    """place_R of the drawn token in descending probabilities: the first whose cumulative share exceeds the number.

    Kept are the first k, and of these, renormalised, the shortest beginning that reaches top-p.
    """
    import torch

    last = values_RK.shape[1] - 1
    cumulative_RK = values_RK.cumsum(-1)
    allowed_R = torch.where(top_k_R > 0, top_k_R.clamp(max=last + 1), last + 1) - 1
    mass_R = torch.where(top_k_R > 0, cumulative_RK.gather(1, allowed_R[:, None])[:, 0], 1.0)
    reaching_R = (cumulative_RK < (top_p_R * mass_R)[:, None]).sum(-1)
    end_R = torch.where(top_p_R < 1, torch.minimum(reaching_R, allowed_R), allowed_R)
    mass_kept_R = cumulative_RK.gather(1, end_R[:, None])[:, 0]
    # Below the kept mass even where the number rounds to 1: an impossible token must not be drawn.
    target_R = torch.minimum(uniform_R * mass_kept_R, mass_kept_R.nextafter(torch.zeros_like(mass_kept_R)))
    return torch.minimum((cumulative_RK <= target_R[:, None]).sum(-1), end_R)
