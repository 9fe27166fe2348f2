"""Losses from hidden states and an output head, a few tokens at a time: full logits never exist.

Everything between the projection and the loss is computed in float32 (float64 where the weights are), autocast or not.

Dimensions: N tokens, C tokens of one chunk, B tokens of a block within it, H hidden width, V vocabulary,
M components of a loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from stillwise.errors import StillwiseError, UserError

if TYPE_CHECKING:
    from torch import Tensor

CHUNK_ELEMENTS = 20 * 2**20
"""Logits of one chunk, 80 MiB in float32: the matrix products need many tokens at once or they wait for the head's weights."""
BLOCK_ELEMENTS = 2**20
"""Logits that the element-wise part works on at once: small enough to stay in a CPU's cache."""

BlockLoss = Callable[["Tensor", slice], "Tensor"]
"""Logits (B, V) of a block and its rows within the chunk to the block's losses, (B,) or (B, M)."""
TokenLoss = Callable[[slice], BlockLoss]
"""Opens a chunk of the tokens: what the whole chunk needs (a teacher's logits) is computed here, once."""


@dataclass(frozen=True, slots=True)
class Head:
    """A model's output layer: hidden states to logits."""

    weight_VH: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    """Multiplies the logits (``logit_scale``, or one over ``logits_scaling``)."""
    softcap: float | None = None
    """Logits are squashed to ``softcap * tanh(logits / softcap)``, after the scale."""
    vocab: int | None = None
    """Ids from here on are padding of the matrix and never seen; None keeps all rows."""

    @classmethod
    def of(cls, model: Any, vocab: int | None = None) -> Head:
        """The head of a causal language model, restricted to its tokenizer's real vocabulary."""
        layer, config = model.get_output_embeddings(), model.config.get_text_config()
        if layer is None or not hasattr(layer, "weight"):
            raise UserError(f"a {config.model_type} model has no plain output layer; its losses cannot be computed in chunks")
        scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1.0)
        softcap = getattr(config, "final_logit_softcapping", None)
        return cls(layer.weight, getattr(layer, "bias", None), float(scale), softcap, vocab)

    @property
    def width(self) -> int:
        """The number of ids that count."""
        rows = int(self.weight_VH.shape[0])
        return rows if self.vocab is None else min(rows, self.vocab)

    def detached(self) -> Head:
        """The same head without gradients, cut to its real rows."""
        bias = None if self.bias_V is None else self.bias_V.detach()[: self.width]
        return replace(self, weight_VH=self.weight_VH.detach()[: self.width], bias_V=bias, vocab=None)

    def shaped(self, raw_CV: Tensor) -> Tensor:
        """Raw products to logits: scale, then softcap."""
        import torch

        logits_CV = raw_CV if self.scale == 1.0 else raw_CV * self.scale
        return logits_CV if not self.softcap else self.softcap * torch.tanh(logits_CV / self.softcap)

    def raw(self, hidden_CH: Tensor) -> Tensor:
        """Products (C, V) in float32, before scale and softcap."""
        import torch

        weight_VH = self.weight_VH[: self.width]
        if self.bias_V is None:
            return torch.mm(hidden_CH.to(weight_VH.dtype), weight_VH.t())
        return torch.addmm(self.bias_V[: self.width], hidden_CH.to(weight_VH.dtype), weight_VH.t())

    def logits(self, hidden_CH: Tensor) -> Tensor:
        """Logits (C, V) of these tokens."""
        return self.shaped(self.raw(hidden_CH))

    def in_full(self) -> Head:
        """The same head in the precision in which losses are computed (no copy of a float32 head)."""
        dtype = working_dtype(self.weight_VH)
        bias = None if self.bias_V is None else self.bias_V.to(dtype)
        return replace(self, weight_VH=self.weight_VH.to(dtype), bias_V=bias)


def working_dtype(tensor: Tensor) -> Any:
    """float64 for float64, float32 for everything else."""
    import torch

    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def slices(count: int, size: int) -> Iterator[slice]:
    """Slices of ``size`` that cover ``count``."""
    return (slice(begin, min(begin + size, count)) for begin in range(0, count, size))


def chunks(count: int, width: int, chunk: int | None = None) -> Iterator[slice]:
    """Slices of ``chunk`` tokens (by default as many as fit ``CHUNK_ELEMENTS`` logits) that cover ``count`` tokens."""
    return slices(count, chunk or max(1, CHUNK_ELEMENTS // max(width, 1)))


def weighted_sum(
    hidden_NH: Tensor, head: Head, loss: TokenLoss, weights: Tensor, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """Sum of weight times loss, and the losses themselves, (N,) or (N, M), without gradient.

    ``weights`` has the losses' shape and no gradient. Loss and gradient are computed in one pass over the chunks, so each
    logit is computed once; what is kept for the backward pass are the gradients of hidden states and head.
    """
    total, values = _functions()[0].apply(hidden_NH, head.weight_VH, head.bias_V, head, loss, weights, chunk)
    return total, values


def per_token(hidden_NH: Tensor, head: Head, loss: TokenLoss, chunk: int | None = None) -> Tensor:
    """Losses (N,), differentiable each on its own; the logits are computed again in the backward pass."""
    values: Tensor = _functions()[1].apply(hidden_NH, head.weight_VH, head.bias_V, head, loss, chunk)
    return values


@dataclass(slots=True)
class _Walk:
    """One pass over the chunks: values, and gradients of weight times value where weights are given."""

    values: Tensor
    hidden: Tensor | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None

    def note(self, values: Tensor, start: int) -> None:
        """Writes a block's losses, (B,) or (B, M), into one tensor: small ones kept between large ones fragment the heap."""
        if self.values.shape[1:] != values.shape[1:]:
            self.values = self.values.new_zeros((len(self.values), *values.shape[1:]))
        self.values[start : start + len(values)] = values


def _walk(
    hidden_NH: Tensor, head: Head, loss: TokenLoss, weights: Tensor | None, needs: tuple[bool, ...], chunk: int | None
) -> _Walk:
    """Values of every token; ``needs`` says which gradients to compute: hidden states, head, bias."""
    import torch

    plain = head.detached()
    full, found = plain.in_full(), _empty(hidden_NH, head, needs if weights is not None else (False,) * 3)
    with torch.autocast(hidden_NH.device.type, enabled=False):
        for part in chunks(len(hidden_NH), plain.width, chunk):
            hidden_CH = hidden_NH[part].detach().to(full.weight_VH.dtype)
            with torch.no_grad():
                raw_CV = full.raw(hidden_CH)
                inner = loss(part)
            _blocks(full, raw_CV, inner, None if weights is None else weights[part], found, part.start)
            if weights is not None:
                _add(found, full, hidden_CH, raw_CV, part)
            del raw_CV, inner
    return found


def _blocks(head: Head, raw_CV: Tensor, inner: BlockLoss, weights: Tensor | None, found: _Walk, start: int) -> None:
    """Notes the losses of a chunk; with weights, overwrites the raw products with the gradient of weight times loss."""
    import torch

    for rows in slices(len(raw_CV), max(1, BLOCK_ELEMENTS // head.width)):
        if weights is None:
            with torch.no_grad():
                found.note(inner(head.shaped(raw_CV[rows]), rows), start + rows.start)
            continue
        raw_BV = raw_CV[rows].clone().requires_grad_()
        with torch.enable_grad():
            value = inner(head.shaped(raw_BV), rows)
        (raw_CV[rows],) = torch.autograd.grad(value, raw_BV, weights[rows].to(value.dtype))
        found.note(value.detach(), start + rows.start)


def _empty(hidden_NH: Tensor, head: Head, needs: tuple[bool, ...]) -> _Walk:
    import torch

    dtype = working_dtype(head.weight_VH)
    return _Walk(
        values=torch.zeros(len(hidden_NH), dtype=dtype, device=hidden_NH.device),
        hidden=torch.empty(hidden_NH.shape, dtype=dtype, device=hidden_NH.device) if needs[0] else None,
        weight=torch.zeros_like(head.weight_VH, dtype=dtype) if needs[1] else None,
        bias=torch.zeros_like(head.bias_V, dtype=dtype) if needs[2] and head.bias_V is not None else None,
    )


def _add(found: _Walk, full: Head, hidden_CH: Tensor, grad_CV: Tensor, part: slice) -> None:
    import torch

    if found.hidden is not None:
        torch.mm(grad_CV, full.weight_VH, out=found.hidden[part])
    if found.weight is not None:
        found.weight[: full.width].addmm_(grad_CV.t(), hidden_CH)
    if found.bias is not None:
        found.bias[: full.width].add_(grad_CV.sum(0))


def _scaled(grad: Tensor | None, factor: Tensor, like: Tensor | None) -> Tensor | None:
    if grad is None or like is None:
        return None
    return (grad if bool(factor == 1) else grad.mul_(factor)).to(like.dtype)


@cache
def _functions() -> tuple[Any, Any]:
    """The two autograd functions; built once, when torch is needed."""
    import torch

    class Fused(torch.autograd.Function):
        """Known weights: the gradient is ready when the value is."""

        @staticmethod
        def forward(ctx: Any, *given: Any) -> Any:
            hidden_NH, weight_VH, bias_V, head, loss, weights, chunk = given
            head = replace(head, weight_VH=weight_VH, bias_V=bias_V)
            found = _walk(
                hidden_NH, head, loss, weights if any(ctx.needs_input_grad[:3]) else None, ctx.needs_input_grad, chunk
            )
            ctx.kept, ctx.like = found, (hidden_NH, weight_VH, bias_V)
            ctx.mark_non_differentiable(found.values)
            values = found.values if len(hidden_NH) else found.values.new_zeros(weights.shape)
            total = (values * weights.to(values.dtype)).sum()
            return total, found.values

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            found, ctx.kept = ctx.kept, None
            if found is None:
                raise StillwiseError("the gradient of a chunked loss is handed out once; compute the loss again")
            pairs = zip((found.hidden, found.weight, found.bias), ctx.like, strict=True)
            return (*(_scaled(grad, grads[0], like) for grad, like in pairs), None, None, None, None)

    class Recomputed(torch.autograd.Function):
        """Weights that only the backward pass knows."""

        @staticmethod
        def forward(ctx: Any, *given: Any) -> Any:
            hidden_NH, weight_VH, bias_V, head, loss, chunk = given
            ctx.given = (hidden_NH, replace(head, weight_VH=weight_VH, bias_V=bias_V), loss, chunk)
            return _walk(hidden_NH, ctx.given[1], loss, None, ctx.needs_input_grad, chunk).values

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            hidden_NH, head, loss, chunk = ctx.given
            found = _walk(hidden_NH, head, loss, grads[0], ctx.needs_input_grad, chunk)
            one = torch.ones((), device=hidden_NH.device)
            like = (hidden_NH, head.weight_VH, head.bias_V)
            pairs = zip((found.hidden, found.weight, found.bias), like, strict=True)
            return (*(_scaled(grad, one, other) for grad, other in pairs), None, None, None)

    return Fused, Recomputed
