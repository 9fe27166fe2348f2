"""Losses between models with different tokenizers, in nats.

Dimensions: G groups of aligned tokens, V and W the two vocabularies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stillwise.errors import StillwiseError

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-6


def uld(teacher_logprobs_GW: Tensor, student_logprobs_GV: Tensor) -> Tensor:
    """Universal logit distillation (G,): L1 distance of the two sorted probability vectors, the shorter one padded with 0.

    Which token has which probability is not compared, only how the probabilities fall off (arXiv 2402.12030, eq. 4). Between 0
    and 2; only the student has a gradient.
    """
    from torch.nn.functional import pad

    p, q = (x.exp().sort(dim=-1, descending=True).values for x in (teacher_logprobs_GW, student_logprobs_GV))
    width = max(p.shape[-1], q.shape[-1])
    return (pad(p, (0, width - p.shape[-1])) - pad(q, (0, width - q.shape[-1]))).abs().sum(-1)


def group_sums(logprobs_S: Tensor, bounds: Sequence[tuple[int, int]]) -> Tensor:
    """Log-likelihood (G,) of each group of tokens; the groups have to partition the sequence."""
    import torch

    if [begin for begin, _ in bounds] != [0, *[end for _, end in bounds[:-1]]] or bounds[-1][1] != len(logprobs_S):
        raise StillwiseError("groups of tokens have to partition the sequence")
    return torch.stack([logprobs_S[begin:end].sum() for begin, end in bounds])


def alm(teacher_G: Tensor, student_G: Tensor, temperature: float = 100.0) -> Tensor:
    """Approximate likelihood matching (G,): binary cross-entropy of a chunk's likelihood under both, less its least value.

    Of the event "this chunk and no other", with both likelihoods to the power of 1 / temperature (arXiv 2503.20083, eq. 6; the
    paper's code has 100). A binary KL: at least 0, and 0 where the log-likelihoods agree; only the student has a gradient.
    """
    import torch

    log_p, log_q = (x / temperature - EPSILON for x in (teacher_G.detach(), student_G))
    p = log_p.exp()
    rest_p, rest_q = (torch.log(-torch.expm1(x)) for x in (log_p, log_q))
    return p * (log_p - log_q) + (1 - p) * (rest_p - rest_q)
