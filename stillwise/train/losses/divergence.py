"""Divergences between a teacher's and a student's distribution over the same outcomes, in nats, one value for each token.

Each takes log-measures (…, K) of teacher p and student q over K outcomes: the whole vocabulary, or a top-k support with or
without a bucket for the rest (:mod:`stillwise.train.losses.topk`). Only the student has a gradient. An outcome with a
log-probability of ``FLOOR`` or less counts as that: exp(FLOOR) is 0, and 0 log 0 stays 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from stillwise.arrows import Divergence

if TYPE_CHECKING:
    from torch import Tensor

FLOOR = -1e4


def log_probs(logits: Tensor, temperature: float = 1.0, masked: bool = False) -> Tensor:
    """Log-softmax of logits over ``temperature``; ``masked``: some are -inf, and have probability 0 instead of a NaN."""
    import torch

    found = torch.log_softmax(logits if temperature == 1.0 else logits / temperature, -1)
    return found.clamp(min=FLOOR) if masked else found


def kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    """KL(a || b) = sum a (log a - log b): never negative if both sum to 1."""
    return (log_a.exp() * (log_a - log_b)).sum(-1)


def mixture(log_a: Tensor, log_b: Tensor, share: float) -> Tensor:
    """log(share a + (1 - share) b)."""
    import torch

    return torch.logaddexp(log_a + math.log(share), log_b + math.log1p(-share))


class ForwardKL(Divergence):
    """KL(teacher || student): the student covers everything that the teacher does.

    Hinton et al., arXiv 1503.02531; GKD, arXiv 2306.13649, eq. 2.
    """

    kind: ClassVar[str] = "forward_kl"

    def per_token(self, teacher_logprobs: Tensor, student_logprobs: Tensor) -> Tensor:
        """Values (…), at least 0."""
        return kl(teacher_logprobs, student_logprobs)


class ReverseKL(Divergence):
    """KL(student || teacher): the student keeps to what the teacher finds likely (MiniLLM, arXiv 2306.08543)."""

    kind: ClassVar[str] = "reverse_kl"

    def per_token(self, teacher_logprobs: Tensor, student_logprobs: Tensor) -> Tensor:
        """Values (…), at least 0."""
        return kl(student_logprobs, teacher_logprobs)


class JSD(Divergence):
    """Generalised Jensen-Shannon: beta KL(p || m) + (1 - beta) KL(q || m) with m = beta p + (1 - beta) q.

    Beta weighs the teacher. It tends to 0 at both ends; divided by beta it tends to the forward KL as beta → 0, divided by
    1 - beta to the reverse KL as beta → 1. GKD, arXiv 2306.13649, eq. 4.
    """

    kind: ClassVar[str] = "jsd"
    beta: float = Field(default=0.5, gt=0, lt=1)
    """The teacher's share of the mixture; the ends are `forward_kl` and `reverse_kl` themselves."""
    rescale: bool = False
    """Divides by beta (1 - beta), so that the size of the loss hardly depends on beta and its limits are the two KLs."""

    def per_token(self, teacher_logprobs: Tensor, student_logprobs: Tensor) -> Tensor:
        """Values (…), at least 0; at most log 2 for beta 0.5."""
        middle = mixture(teacher_logprobs, student_logprobs, self.beta)
        value = self.beta * kl(teacher_logprobs, middle) + (1 - self.beta) * kl(student_logprobs, middle)
        return value / (self.beta * (1 - self.beta)) if self.rescale else value


class SkewedKL(Divergence):
    """KL(p || alpha p + (1 - alpha) q): forward KL with gradients that stay bounded where the student is near 0.

    DistiLLM, arXiv 2402.03898.
    """

    kind: ClassVar[str] = "skewed_kl"
    alpha: float = Field(default=0.1, gt=0, lt=1)
    """The teacher's share of the mixture."""

    def per_token(self, teacher_logprobs: Tensor, student_logprobs: Tensor) -> Tensor:
        """Values (…), between 0 and -log alpha."""
        return kl(teacher_logprobs, mixture(teacher_logprobs, student_logprobs, self.alpha))


class ReverseSkewedKL(Divergence):
    """KL(q || (1 - alpha) p + alpha q): reverse KL with gradients that stay bounded where the teacher is near 0.

    DistiLLM, arXiv 2402.03898.
    """

    kind: ClassVar[str] = "reverse_skewed_kl"
    alpha: float = Field(default=0.1, gt=0, lt=1)
    """The student's share of the mixture."""

    def per_token(self, teacher_logprobs: Tensor, student_logprobs: Tensor) -> Tensor:
        """Values (…), between 0 and -log alpha."""
        return kl(student_logprobs, mixture(student_logprobs, teacher_logprobs, self.alpha))


class AdaptiveKL(Divergence):
    """Forward and reverse KL, mixed by where the two models differ: in the teacher's head or in its tail.

    Outcomes sorted by p (ties by id): the head is the smallest prefix whose mass reaches ``mu``. The gaps |p - q| of head
    and tail, without gradient, weigh forward and reverse KL. Rethinking KL in KD for LLMs, arXiv 2404.02657.
    """

    kind: ClassVar[str] = "adaptive_kl"
    mu: float = Field(default=0.5, gt=0, lt=1)
    """The teacher's mass in the head."""

    def per_token(self, teacher_logprobs: Tensor, student_logprobs: Tensor) -> Tensor:
        """Values (…), at least 0; equal distributions give 0."""
        forward, reverse = kl(teacher_logprobs, student_logprobs), kl(student_logprobs, teacher_logprobs)
        share = self.head_share(teacher_logprobs, student_logprobs.detach())
        return share * forward + (1 - share) * reverse

    def head_share(self, teacher_logprobs: Tensor, student_logprobs: Tensor) -> Tensor:
        """The head's part (…) of the whole gap; 0.5 where there is no gap."""
        p, order = teacher_logprobs.exp().sort(dim=-1, descending=True, stable=True)
        gap = (p - student_logprobs.exp().gather(-1, order)).abs()
        inside = p.cumsum(-1) - p < self.mu
        tiny = 1e-12
        return ((gap * inside).sum(-1) + tiny) / (gap.sum(-1) + 2 * tiny)


class TVD(Divergence):
    """Total variation distance, 0.5 sum |p - q|; the subgradient at p = q is 0 (f-DISTILL, arXiv 2307.15190)."""

    kind: ClassVar[str] = "tvd"

    def per_token(self, teacher_logprobs: Tensor, student_logprobs: Tensor) -> Tensor:
        """Values (…), between 0 and 1."""
        return 0.5 * (teacher_logprobs.exp() - student_logprobs.exp()).abs().sum(-1)
