"""Cross-entropy and log-probabilities of chosen tokens.

Dimensions: N tokens, C tokens of one chunk, B tokens of a block, H hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stillwise.records import Span
from stillwise.train.losses.head import BlockLoss, Head, TokenLoss, per_token, weighted_sum

if TYPE_CHECKING:
    from torch import Tensor


def nll_of(targets_N: Tensor) -> TokenLoss:
    """The loss that is minus the log-probability of each target."""

    def chunk(part: slice) -> BlockLoss:
        targets_C = targets_N[part]
        return lambda logits_BV, rows: nll(logits_BV, targets_C[rows])

    return chunk


def nll(logits_BV: Tensor, targets_B: Tensor) -> Tensor:
    """Minus the log-probability (B,) of each target."""
    from torch.nn.functional import cross_entropy as torch_cross_entropy

    return torch_cross_entropy(logits_BV, targets_B, reduction="none")


def cross_entropy(
    hidden_NH: Tensor, head: Head, targets_N: Tensor, weights_N: Tensor, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """Weighted sum of the cross-entropies, and each of them (N,) without gradient, in nats."""
    return weighted_sum(hidden_NH, head, nll_of(targets_N), weights_N, chunk)


def token_logprobs(hidden_NH: Tensor, head: Head, targets_N: Tensor, chunk: int | None = None) -> Tensor:
    """Log-probabilities (N,) of the targets, differentiable one by one, in nats."""
    return -per_token(hidden_NH, head, nll_of(targets_N), chunk)


def log_collisions(hidden_NH: Tensor, head: Head) -> Tensor:
    """log sum p^2 (N,), the log-probability that two draws are one token, in nats and without gradient."""
    import torch

    def chunk(part: slice) -> BlockLoss:
        return lambda logits_BV, rows: (2 * logits_BV.log_softmax(-1)).logsumexp(-1)

    with torch.no_grad():
        return per_token(hidden_NH, head.detached(), chunk)


def span_weights(
    offsets: Sequence[tuple[int, int]], spans: Sequence[Span], by_kind: Mapping[str, float], default: float = 1.0
) -> list[float]:
    """One weight for each token of a text, by the kind of the span in which the token begins.

    ``offsets`` are the tokens' half-open character ranges. Spans that cover a token but have no weight of their own in
    ``by_kind`` are passed over; of several, the innermost (shortest) decides. A token of no span has ``default``.
    """
    known = sorted((s for s in spans if s.kind in by_kind), key=lambda s: (s.end - s.start, -s.start))
    return [next((by_kind[s.kind] for s in known if s.start <= begin < s.end), default) for begin, _ in offsets]


def supervised(hidden_BTH: Tensor, labels_BT: Tensor, ignored: int = -100) -> tuple[Tensor, Tensor]:
    """Hidden states (N, H) and targets (N,) of a padded batch: the state at t - 1 predicts the label at t.

    In the order of rows, then positions; where padding stands, and how much of it, changes nothing. A row's first token has no
    state before it and is never a target.
    """
    kept_BT = labels_BT[:, 1:] != ignored
    return hidden_BTH[:, :-1][kept_BT], labels_BT[:, 1:][kept_BT]
