"""A teacher's k likeliest tokens as a distribution: four different objectives that all go by "top-k KL", by name.

Dimensions: … tokens, K kept ids, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

Support = Literal["tail_bucket", "partial", "renormalised_teacher", "renormalised_both"]
"""What is compared over the teacher's k ids S, with P and Q the two models' mass in S.

``tail_bucket``: k + 1 outcomes, the last being everything outside S. A true divergence, at least 0, never more than over the
whole vocabulary (data processing). ``partial``: p and q on S as they are; no divergence, and negative where Q is large.
``renormalised_teacher``: p / P against q over the whole vocabulary; pushes Q to 1, and grows without bound on flat
teachers. ``renormalised_both``: p / P against q / Q; blind to what the student does outside S (0 for k = 1).
"""
TINY = 1e-6
"""No tail has less mass than this: beyond it, float32 cannot tell 1 - P from rounding."""


@dataclass(frozen=True, slots=True)
class TopK:
    """What a teacher said about each token: its likeliest ids, their raw log-probabilities, and the mass of all others."""

    ids_NK: Tensor
    logprobs_NK: Tensor
    """At temperature 1, not renormalised."""
    log_tail_N: Tensor
    """Log of the mass outside the k ids."""
    sampled_N: Tensor | None = None
    """Log-probability of the token that the row really goes on with, inside the k or not."""

    def rows(self, part: slice) -> TopK:
        """The same of some of the tokens."""
        sampled_N = None if self.sampled_N is None else self.sampled_N[part]
        return TopK(self.ids_NK[part], self.logprobs_NK[part], self.log_tail_N[part], sampled_N)


def moved(top: TopK, device: Any) -> TopK:
    """The same on a device: caches and servers answer on the CPU."""
    sampled_N = None if top.sampled_N is None else top.sampled_N.to(device)
    return TopK(top.ids_NK.to(device), top.logprobs_NK.to(device), top.log_tail_N.to(device), sampled_N)


def log1mexp(log_mass: Tensor) -> Tensor:
    """log(1 - exp(x)) for x <= 0, not below log TINY; exact on both sides of -log 2."""
    import torch

    safe = log_mass.clamp(max=-TINY)
    near, far = torch.log(-torch.expm1(safe)), torch.log1p(-safe.exp())
    return torch.where(safe > -math.log(2), near, far)


def top_k(logprobs: Tensor, k: int, targets_N: Tensor | None = None) -> TopK:
    """The k likeliest ids of full log-probabilities (N, V), likeliest first; the tail is the sum over all others."""
    import torch

    kept = logprobs.topk(min(k, logprobs.shape[-1]), dim=-1)
    rest = logprobs.scatter(-1, kept.indices, -torch.inf)
    log_tail_N = rest.logsumexp(-1).clamp(min=math.log(TINY))
    sampled_N = None if targets_N is None else logprobs.gather(-1, targets_N[..., None]).squeeze(-1)
    return TopK(ids_NK=kept.indices, logprobs_NK=kept.values, log_tail_N=log_tail_N, sampled_N=sampled_N)


def tempered(top: TopK, temperature: float, vocab: int) -> TopK:
    """The same at another temperature: exact up to the shape of the tail, whose mass is spread evenly over its ids.

    p^(1/T), renormalised with the tail included (the whole distribution would be needed for more).
    """
    import torch

    if temperature == 1.0:
        return top
    others = math.log(max(vocab - top.ids_NK.shape[-1], 1))
    scaled = top.logprobs_NK / temperature
    tail = (top.log_tail_N - others) / temperature + others
    norm = torch.cat([scaled, tail[..., None]], dim=-1).logsumexp(-1)
    return TopK(top.ids_NK, scaled - norm[..., None], tail - norm)


def on_support(top: TopK, student_logits: Tensor, support: Support, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-measures of teacher and student over the same outcomes (…, K or K + 1), both at this temperature.

    The student's logits (…, V) are read in full for their normaliser, and gathered: no log-softmax of their size is made.
    """
    import torch

    logits = student_logits if temperature == 1.0 else student_logits / temperature
    at = tempered(top, temperature, logits.shape[-1])
    log_p = at.logprobs_NK
    log_q = logits.gather(-1, at.ids_NK) - logits.logsumexp(-1, keepdim=True)
    if support == "partial":
        return log_p, log_q
    if support == "renormalised_teacher":
        return log_p.log_softmax(-1), log_q
    if support == "renormalised_both":
        return log_p.log_softmax(-1), log_q.log_softmax(-1)
    tails = (at.log_tail_N[..., None], log1mexp(log_q.logsumexp(-1, keepdim=True)))
    return torch.cat([log_p, tails[0]], dim=-1), torch.cat([log_q, tails[1]], dim=-1)
