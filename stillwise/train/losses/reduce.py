"""What a sum of losses is divided by: the summed weights of the whole optimiser step, over all processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def denominator(weights: Sequence[Tensor], like: Tensor) -> Tensor:
    """The divisor of this process's loss sums, so that the gradient is that of one process that saw every token.

    The summed weight over all micro-batches and all processes, divided by the number of processes: data parallelism
    averages gradients, so each process may only divide by its share. At least one token's worth of nothing: a step whose
    weights are all 0 divides by 1 and so gives 0, with every process still taking part in every collective.
    """
    import torch
    from torch import distributed

    total = torch.stack([w.sum().to(like.dtype) for w in weights]).sum() if weights else like.new_zeros(())
    processes = 1
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(total)
        processes = distributed.get_world_size()
    return torch.where(total == 0, torch.ones_like(total), total) / processes
