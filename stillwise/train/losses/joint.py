"""Preference losses side by side, and supervised learning of the chosen answer beside one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from stillwise.arrows import Preference
from stillwise.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from stillwise.train.losses.preference import Pairs


class WithSFT(Preference):
    """A preference loss plus `weight` times the chosen answer's negative log-likelihood, a mean over its tokens.

    Efficient Long CoT Reasoning in Small Language Models, arXiv 2505.18440: L = L_DPO + 0.3 L_SFT.
    """

    kind: ClassVar[str] = "with_sft"
    of: Preference = Field(default="dpo", validate_default=True)
    """The preference loss."""
    weight: float = Field(default=0.3, ge=0)
    """What the negative log-likelihood is multiplied by."""

    @property
    def beta(self) -> float | None:
        """The preference loss's own; a pair's goes before it."""
        found: float | None = getattr(self.of, "beta", None)
        return found

    def per_pair(self, pairs: Pairs) -> Tensor:
        """Values (B,)."""
        return self.of.per_pair(pairs) - self.weight * pairs.chosen_mean_B


class ChosenNLL(Preference):
    """The chosen answer's negative log-likelihood, a mean over its tokens; the rejected one is not read.

    TRL's `sft`, but for the pooling: there all tokens of a micro-batch are pooled, which depends on how a step is cut.
    """

    kind: ClassVar[str] = "chosen_nll"

    def per_pair(self, pairs: Pairs) -> Tensor:
        """Values (B,)."""
        return -pairs.chosen_mean_B


class Blend(Preference):
    """A weighted sum of preference losses.

    The defaults are Mixed Preference Optimization's (arXiv 2411.10442): preference, quality and generation.
    """

    kind: ClassVar[str] = "blend"
    of: tuple[Preference, ...] = Field(
        default=("dpo", {"kind": "dpo", "variant": "bco_pair"}, "chosen_nll"), min_length=1, validate_default=True
    )
    """The losses."""
    weights: tuple[float, ...] = (0.8, 0.2, 1.0)
    """What each is multiplied by."""

    @model_validator(mode="after")
    def _a_weight_each(self) -> Self:
        if len(self.weights) != len(self.of):
            raise ValueError(f"{len(self.weights)} weights for {len(self.of)} losses; give one each")
        return self

    @property
    def beta(self) -> float | None:
        """The one that all losses with a beta share; a pair's goes before it.

        Raises UserError where they differ: pairs have one beta, which cannot stand for several.
        """
        found = {beta for loss in self.of if (beta := getattr(loss, "beta", None)) is not None}
        if len(found) > 1:
            raise UserError(f"the pairs have betas of their own, and the losses of a blend several ({sorted(found)}): give one")
        return next(iter(found), None)

    def per_pair(self, pairs: Pairs) -> Tensor:
        """Values (B,)."""
        first, *rest = (weight * loss.per_pair(pairs) for weight, loss in zip(self.weights, self.of, strict=True))
        return sum(rest, first)
