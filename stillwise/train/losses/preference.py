"""Losses over pairs of a chosen and a rejected answer, from the log-probabilities of their tokens, in nats.

Dimensions: B pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Preference
from stillwise.errors import StillwiseError
from stillwise.train.losses.topk import log1mexp

if TYPE_CHECKING:
    from torch import Tensor

DPOVariant = Literal[
    "sigmoid",
    "ipo",
    "hinge",
    "robust",
    "exo_pair",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "apo_zero",
    "apo_down",
    "discopop",
    "sigmoid_norm",
]

DISCOPOP_TAU = 0.05
"""Temperature of the blend (DiscoPOP, arXiv 2406.08414, eq. 5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Summed log-probabilities of both answers under the student and, where a loss needs one, a frozen reference."""

    chosen_B: Tensor
    rejected_B: Tensor
    chosen_tokens_B: Tensor
    rejected_tokens_B: Tensor
    reference_chosen_B: Tensor | None = None
    reference_rejected_B: Tensor | None = None
    beta_B: Tensor | None = None
    """A beta for each pair (CogPO: larger where the two answers are further apart); None takes the loss's own."""
    point: Tensor | None = None
    """The mean log-ratio of a whole step (KTO)."""

    @property
    def chosen_mean_B(self) -> Tensor:
        """Mean log-probability of the chosen answers' tokens."""
        return self.chosen_B / self.chosen_tokens_B.clamp(min=1)

    @property
    def rejected_mean_B(self) -> Tensor:
        """Mean log-probability of the rejected answers' tokens."""
        return self.rejected_B / self.rejected_tokens_B.clamp(min=1)

    def ratios(self) -> tuple[Tensor, Tensor]:
        """Log-ratios of student to reference, chosen and rejected."""
        if self.reference_chosen_B is None or self.reference_rejected_B is None:
            raise StillwiseError("this preference loss needs a reference model's log-probabilities")
        return self.chosen_B - self.reference_chosen_B, self.rejected_B - self.reference_rejected_B


class DPO(Preference):
    """Direct preference optimisation against a reference, in twelve variants; a pair's own beta goes before the field (CogPO).

    Rafailov et al., arXiv 2305.18290, eq. 7; CogPO: Training Small Reasoning LLMs with Cognitive Preference Alignment,
    arXiv 2504.09802.
    """

    kind: ClassVar[str] = "dpo"
    needs_reference: ClassVar[bool] = True
    beta: float = Field(default=0.1, gt=0)
    """How strongly the student is held to the reference, where a pair has no beta of its own."""
    variant: DPOVariant = "sigmoid"
    """`sigmoid` is the paper's; `ipo` (arXiv 2310.12036, on per-token means), `hinge` (SLiC), `robust`, `exo_pair`, `nca_pair`,
    `bco_pair`, `sppo_hard`, `apo_zero`, `apo_down`, `discopop`, `sigmoid_norm` (per-token means): TRL's names and formulas.
    Variants that sort a batch (`aot`) are left out: their value would depend on how a step is cut."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """The share of pairs assumed to be the wrong way round (`sigmoid`, `robust`, and at least 0.001 for `exo_pair`)."""

    def per_pair(self, pairs: Pairs) -> Tensor:
        """Values (B,)."""
        beta = self.beta if pairs.beta_B is None else pairs.beta_B
        win, lose = pairs.ratios()
        if self.variant in ("ipo", "sigmoid_norm"):
            win, lose = win / pairs.chosen_tokens_B.clamp(min=1), lose / pairs.rejected_tokens_B.clamp(min=1)
        return _dpo(self.variant, beta * win, beta * lose, beta, self.label_smoothing)


def _dpo(variant: DPOVariant, win: Tensor, lose: Tensor, beta: float | Tensor, smoothing: float) -> Tensor:
    from torch.nn.functional import logsigmoid

    gap = win - lose
    if variant in ("sigmoid", "sigmoid_norm"):
        return -(1 - smoothing) * logsigmoid(gap) - smoothing * logsigmoid(-gap)
    if variant == "robust":
        return (-(1 - smoothing) * logsigmoid(gap) + smoothing * logsigmoid(-gap)) / (1 - 2 * smoothing)
    if variant == "ipo":
        return (gap / beta - 1 / (2 * beta)) ** 2
    if variant == "hinge":
        return (1 - gap).relu()
    if variant == "exo_pair":
        return _exo(gap, max(smoothing, 1e-3))
    if variant == "nca_pair":
        return -logsigmoid(win) - 0.5 * logsigmoid(-win) - 0.5 * logsigmoid(-lose)
    if variant == "bco_pair":
        return -logsigmoid(win) - logsigmoid(-lose)
    if variant == "sppo_hard":
        return ((win - 0.5) / beta) ** 2 + ((lose + 0.5) / beta) ** 2
    if variant == "discopop":
        share = (gap / DISCOPOP_TAU).sigmoid()
        return -logsigmoid(gap) * (1 - share) + (-gap).exp() * share
    if variant == "apo_zero":
        return (1 - win.sigmoid()) + lose.sigmoid()
    return win.sigmoid() + (1 - gap.sigmoid())


def _exo(gap: Tensor, smoothing: float) -> Tensor:
    """KL of the student's preference from the smoothed label (EXO, arXiv 2402.00856, eq. 16)."""
    import math

    from torch.nn.functional import logsigmoid

    right, wrong = logsigmoid(gap), logsigmoid(-gap)
    return right.exp() * (right - math.log1p(-smoothing)) + wrong.exp() * (wrong - math.log(smoothing))


class ORPO(Preference):
    """NLL of the chosen answer and, `weight` times, minus log sigma of the log odds ratio (arXiv 2403.07691, eq. 6)."""

    kind: ClassVar[str] = "orpo"
    needs_reference: ClassVar[bool] = False
    weight: float = Field(default=0.1, ge=0)
    """The paper's lambda."""

    def per_pair(self, pairs: Pairs) -> Tensor:
        """Values (B,); the odds are of the geometric-mean probability of a token, log(1 - P) without cancellation."""
        from torch.nn.functional import logsigmoid

        win, lose = pairs.chosen_mean_B, pairs.rejected_mean_B
        odds = (win - lose) - (log1mexp(win) - log1mexp(lose))
        return -win - self.weight * logsigmoid(odds)


class SimPO(Preference):
    """-log sigma(beta (mean log p of chosen - mean log p of rejected) - gamma); no reference (arXiv 2405.14734, eq. 6)."""

    kind: ClassVar[str] = "simpo"
    needs_reference: ClassVar[bool] = False
    beta: float = Field(default=2.0, gt=0)
    """Scale of the two rewards."""
    gamma: float = Field(default=1.0, ge=0)
    """The margin that the chosen answer has to win by."""

    def per_pair(self, pairs: Pairs) -> Tensor:
        """Values (B,)."""
        from torch.nn.functional import logsigmoid

        beta = self.beta if pairs.beta_B is None else pairs.beta_B
        return -logsigmoid(beta * (pairs.chosen_mean_B - pairs.rejected_mean_B) - self.gamma)


class REDI(Preference):
    """Mean log-probability up on right traces and, `alpha` times, down on wrong ones; stage 2 after SFT.

    arXiv 2505.24850. No reference and no sigmoid, so it is unbounded below: it takes alpha < 1, a low learning rate, and an
    eye on the chosen traces' log-probability, which must not fall.
    """

    kind: ClassVar[str] = "redi"
    needs_reference: ClassVar[bool] = False
    alpha: float = Field(default=0.8, ge=0, le=1)
    """Weight of the wrong traces; 1 is symmetric (and unstable), 0 is plain SFT on the right ones."""
    damping: float = Field(default=0.0, ge=0)
    """Scales the push on a wrong trace by exp(damping * its mean log-probability), without gradient: less push on what is
    unlikely already. 0 is the paper's loss."""

    def per_pair(self, pairs: Pairs) -> Tensor:
        """Values (B,): per-sequence means, not pooled over tokens."""
        lose = pairs.rejected_mean_B
        push = (self.damping * lose.detach()).exp() if self.damping else 1.0
        return -pairs.chosen_mean_B + self.alpha * push * lose


class KTO(Preference):
    """Kahneman-Tversky: each answer alone against a common reference point; the chosen is desirable, the rejected is not.

    arXiv 2402.01306, eq. 8. The reference point is max(0, mean log-ratio) over all answers, without gradient: of the pairs
    given, or ``Pairs.point`` where a step is cut into several forward passes and must not depend on the cut.
    """

    kind: ClassVar[str] = "kto"
    needs_reference: ClassVar[bool] = True
    beta: float = Field(default=0.1, gt=0)
    """Scale of the log-ratios."""
    desirable: float = Field(default=1.0, gt=0)
    """Weight of the chosen answers."""
    undesirable: float = Field(default=1.0, gt=0)
    """Weight of the rejected answers."""

    def per_pair(self, pairs: Pairs) -> Tensor:
        """Values (B,): the sum of both answers' losses."""
        import torch

        win, lose = pairs.ratios()
        mean = torch.cat([win, lose]).detach().mean() if pairs.point is None else pairs.point
        point = mean.clamp(min=0)
        beta = self.beta if pairs.beta_B is None else pairs.beta_B
        good = kto(win, point, beta=beta, desirable=True)
        return self.desirable * good + self.undesirable * kto(lose, point, beta=beta, desirable=False)


def kto(ratio_B: Tensor, point: Tensor, *, beta: float | Tensor, desirable: bool) -> Tensor:
    """Losses (B,) of unpaired answers: 1 - sigma(beta (ratio - point)), or the other way round for undesirable ones."""
    gap = beta * (ratio_B - point)
    return 1 - (gap if desirable else -gap).sigmoid()
