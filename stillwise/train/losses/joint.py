"""A preference loss with supervised learning of the chosen answer beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from stillwise.arrows import Preference

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
