"""The loss of a policy that learns from the rewards of its own answers, token by token.

Dimensions: S tokens of answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Scaling = Literal["group", "batch", "none"]
EPSILON = 1e-4
"""Added to a deviation before dividing by it."""
SPREAD = 1e-9
"""Rewards that differ by less are the same."""


def advantages(groups: Sequence[Sequence[float]], scaling: Scaling = "group") -> list[list[float]]:
    """Each reward minus its group's mean, over the deviation (n - 1) of its group, of all rewards, or over 1.

    DeepSeekMath, arXiv 2402.03300, §4.1.2 (``group``); Dr. GRPO, arXiv 2503.20783, §3.2 (``none``). A group of one has
    advantage 0.
    """
    pooled = [reward for group in groups for reward in group]
    whole = stdev(pooled) if len(pooled) > 1 else 0.0
    found = []
    for group in groups:
        mean = fmean(group) if group else 0.0
        own = stdev(group) if len(group) > 1 else 0.0
        unit = 1.0 if scaling == "none" else (own if scaling == "group" else whole) + EPSILON
        found.append([(reward - mean) / unit for reward in group])
    return found


def flat(group: Sequence[float]) -> bool:
    """Whether a group's rewards have no spread, so that nothing can be learnt from it."""
    return not group or max(group) - min(group) <= SPREAD


def clipped_ratio(
    logprobs_S: Tensor, old_logprobs_S: Tensor, advantages_S: Tensor, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """Losses (S,) -min(r A, clip(r, 1 - low, 1 + high) A) with r = exp(new - old), and where the clip decides (0 or 1).

    PPO, arXiv 1707.06347, eq. 7; with ``high`` above ``low`` DAPO's clip-higher, arXiv 2503.14476, §3.1.
    """
    import torch

    ratio_S = (logprobs_S - old_logprobs_S).exp()
    held_S = ratio_S.clamp(1 - low, 1 + high)
    losses_S = -torch.minimum(ratio_S * advantages_S, held_S * advantages_S)
    decided_S = ((ratio_S < 1 - low) & (advantages_S < 0)) | ((ratio_S > 1 + high) & (advantages_S > 0))
    return losses_S, decided_S.to(losses_S.dtype)


def k3(logprobs_S: Tensor, reference_logprobs_S: Tensor) -> Tensor:
    """Estimates (S,) of KL(policy || reference) in nats: exp(d) - d - 1 with d = reference - policy.

    Never negative, and unbiased where the tokens were drawn from the policy (Schulman 2020; arXiv 2402.03300, eq. 4).
    """
    gap_S = reference_logprobs_S - logprobs_S
    found: Tensor = gap_S.exp() - gap_S - 1
    return found
