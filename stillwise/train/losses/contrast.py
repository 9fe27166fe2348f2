"""Contrastive losses on hidden states.

Dimensions: B items, H hidden width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def triplet(anchor_BH: Tensor, positive_BH: Tensor, negative_BH: Tensor, margin: float) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), (B,), with d = 1 - cosine similarity, in [0, margin + 2].

    Learn-to-Reason, arXiv 2310.13332. Computed in float32 (float64 where the states are).
    """
    import torch

    dtype = torch.float64 if anchor_BH.dtype == torch.float64 else torch.float32
    a, p, n = (x.to(dtype) for x in (anchor_BH, positive_BH, negative_BH))
    similar = torch.nn.functional.cosine_similarity
    return (similar(a, n, dim=-1) - similar(a, p, dim=-1) + margin).clamp(min=0)
