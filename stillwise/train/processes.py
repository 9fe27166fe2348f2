"""Several processes that share each optimiser step: which passes are whose, and how a loss reaches a wrapped model.

One process sees what many do: rows, their order and the divisor of the loss are the step's, not the process's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from stillwise.train.render import Row

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
Passes = Sequence[Sequence[Row]]


def count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process's number; 0 writes what there is to write."""
    return int(os.environ.get("RANK", "0"))


def sharded() -> bool:
    """Whether no process holds the whole model while it trains."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true")


def device() -> str:
    """Where this process computes."""
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def budget(micro: int, tokens: int) -> int:
    """Tokens of one pass, so that a step of this many tokens has work for every process."""
    return min(micro, -(-tokens // count()))


def mine(passes: Passes) -> list[Sequence[Row]]:
    """This process's passes of a step: every ``count()``-th one.

    All processes get equally many, for they meet in every pass; what is missing is made up with rows of no weight.
    """
    if count() == 1:
        return list(passes)
    own = list(passes[rank() :: count()])
    spare = [replace(row, weight=0.0) for row in passes[0]]
    return [*own, *[spare] * (-(-len(passes) // count()) - len(own))]


def meant(values: Mapping[str, float], device: Any) -> dict[str, float]:
    """The mean of each value over the processes; the values themselves where there is one process."""
    import torch
    from torch import distributed

    if count() == 1:
        return dict(values)
    # Gloo and NCCL both add float64; MPS has none, and has no second process either.
    total = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return dict(zip(values, (total / count()).tolist(), strict=True))


def through(wrapped: Any, inner: Any, work: Callable[[], T]) -> T:
    """The work done inside the wrapper's forward pass, where it gathers shards and listens for gradients.

    A loss needs hidden states and the head, which a wrapper does not give; so the wrapped model's forward pass is, once, the
    work.
    """
    if count() == 1:
        return work()
    own = inner.__dict__.get("forward")

    def forward(*_: Any, **__: Any) -> T:
        restore()
        return work()

    def restore() -> None:
        if own is None:
            inner.__dict__.pop("forward", None)
        else:
            inner.forward = own

    inner.forward = forward
    try:
        found: T = wrapped(None)
    finally:
        restore()
    return found


def apart(accelerator: Any, wrapped: Any, last: bool) -> AbstractContextManager[Any]:
    """Holds back the exchange of gradients until the step's last pass, where the processes hold whole gradients."""
    if count() == 1:
        return nullcontext()
    # DeepSpeed exchanges and steps in its backward pass unless this says that more is to come.
    accelerator.gradient_state._set_sync_gradients(last)
    if last or sharded():
        return nullcontext()
    context: AbstractContextManager[Any] = accelerator.no_sync(wrapped)
    return context


def whole_state(accelerator: Any, wrapped: Any) -> dict[str, Tensor] | None:
    """The weights of a model that no process holds whole; None where this process's own copy is whole."""
    if count() == 1 or not sharded():
        return None
    state: dict[str, Tensor] = accelerator.get_state_dict(wrapped)
    return state
