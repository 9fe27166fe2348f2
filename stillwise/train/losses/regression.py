"""Losses of reward models: scores against numbers, or against each other.

Dimensions: B items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from stillwise.arrows import Regression

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Standard:
    """The mean and deviation that scores are measured in; saved with the model, or its outputs mean nothing."""

    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, values: Sequence[float]) -> Standard:
        """Of these values; equal values have deviation 1."""
        return cls(fmean(values), pstdev(values) or 1.0)

    def inward(self, values: Tensor) -> Tensor:
        """Scores to standard units."""
        return (values - self.mean) / self.deviation

    def outward(self, values: Tensor) -> Tensor:
        """Standard units to scores."""
        return values * self.deviation + self.mean


class MSE(Regression):
    """Squared error, in squared units of the target."""

    kind: ClassVar[str] = "mse"
    bounded: ClassVar[bool] = False

    def per_item(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Values (B,)."""
        return (outputs - targets) ** 2


class Huber(Regression):
    """Squared error up to `delta`, linear beyond: single wild scores pull less (Huber 1964)."""

    kind: ClassVar[str] = "huber"
    bounded: ClassVar[bool] = False
    delta: float = Field(default=1.0, gt=0)
    """Where the parabola ends, in the target's units; its value there is delta² / 2."""

    def per_item(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Values (B,)."""
        from torch.nn.functional import huber_loss

        return huber_loss(outputs, targets, reduction="none", delta=self.delta)


class SoftBCE(Regression):
    """Binary cross-entropy of a logit against a target in [0, 1]; smallest where sigma(logit) is the target."""

    kind: ClassVar[str] = "soft_bce"
    bounded: ClassVar[bool] = True

    def per_item(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Values (B,), in nats."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(outputs, targets, reduction="none")


def bradley_terry(chosen_B: Tensor, rejected_B: Tensor, margin_B: Tensor | float = 0.0) -> Tensor:
    """Values (B,), -log sigma(chosen - rejected - margin): the score gap as the log odds of being preferred."""
    from torch.nn.functional import logsigmoid

    return -logsigmoid(chosen_B - rejected_B - margin_B)
