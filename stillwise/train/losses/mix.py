"""White-box distillation: cross-entropy on the tokens and a divergence to a teacher, from the same logits.

Dimensions: N tokens, C tokens of one chunk, B tokens of a block, H hidden width, K kept ids, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stillwise.arrows import Divergence
from stillwise.train.losses.cross_entropy import nll
from stillwise.train.losses.divergence import log_probs
from stillwise.train.losses.head import BlockLoss, Head, TokenLoss, weighted_sum
from stillwise.train.losses.topk import Support, TopK, on_support

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Hidden:
    """A teacher's last hidden states with its head: everything about its distributions, at H numbers a token."""

    hidden_NH: Tensor
    head: Head


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """How a student is compared with a teacher."""

    divergence: Divergence
    temperature: float = 1.0
    """Both distributions are softmax(logits / temperature)."""
    square: bool = False
    """Multiplies by temperature squared, which undoes the shrinking of gradients (Hinton et al., arXiv 1503.02531)."""
    support: Support = "tail_bucket"
    """What is compared where the teacher gave its top k only."""

    @property
    def factor(self) -> float:
        """What the divergence is multiplied by."""
        return self.temperature**2 if self.square else 1.0


def divergence_of(teacher: Hidden | TopK, matching: Matching) -> TokenLoss:
    """The loss that is the divergence of the student's logits from this teacher's signal."""
    if isinstance(teacher, Hidden):
        return _against_hidden(teacher, matching)

    def chunk(part: slice) -> BlockLoss:
        top = teacher.rows(part)

        def block(logits_BV: Tensor, rows: slice) -> Tensor:
            log_p, log_q = on_support(top.rows(rows), logits_BV, matching.support, matching.temperature)
            return matching.factor * matching.divergence.per_token(log_p, log_q)

        return block

    return chunk


def _against_hidden(teacher: Hidden, matching: Matching) -> TokenLoss:
    head = teacher.head.detached().in_full()

    def chunk(part: slice) -> BlockLoss:
        raw_CV = head.raw(teacher.hidden_NH[part].detach())

        def block(logits_BV: Tensor, rows: slice) -> Tensor:
            log_p = log_probs(head.shaped(raw_CV[rows]), matching.temperature)
            log_q = log_probs(logits_BV, matching.temperature)
            return matching.factor * matching.divergence.per_token(log_p, log_q)

        return block

    return chunk


def mixed_of(targets_N: Tensor, teacher: Hidden | TopK, matching: Matching) -> TokenLoss:
    """The loss with two components (B, 2): the target's cross-entropy and the divergence."""
    import torch

    divergence = divergence_of(teacher, matching)

    def chunk(part: slice) -> BlockLoss:
        targets_C, inner = targets_N[part], divergence(part)
        return lambda logits_BV, rows: torch.stack([nll(logits_BV, targets_C[rows]), inner(logits_BV, rows)], dim=-1)

    return chunk


def divergence_sum(
    hidden_NH: Tensor, head: Head, teacher: Hidden | TopK, matching: Matching, weights_N: Tensor, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """Weighted sum of the divergences, and each of them (N,) without gradient, in nats."""
    return weighted_sum(hidden_NH, head, divergence_of(teacher, matching), weights_N, chunk)
