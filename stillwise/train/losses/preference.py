"""Losses over pairs of a chosen and a rejected answer, from the log-probabilities of their tokens, in nats.

Dimensions: B pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from stillwise.arrows import PairExtra, Preference
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
    "aot",
    "aot_unpaired",
]
FDivergence = Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]
SORTED: frozenset[DPOVariant] = frozenset({"aot", "aot_unpaired"})
OF_THE_GAP: frozenset[DPOVariant] = frozenset({"sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop"})
"""Variants that read the two answers' difference alone, where what a divergence leaves open of a prompt cancels."""
MAX_EXPONENT = 80.0
"""Log-ratios are capped here before they are exponents, for float32's sake (TRL caps there too)."""


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
    tail: Pairs | None = None
    """The same sums over the tokens beyond the length of the pair's shorter answer (LD-DPO)."""
    certainty_B: Tensor | None = None
    """The product of both answers' exp(mean log p(token) - log sum p^2) under the student, without gradient (WPO)."""
    point: Tensor | None = None
    """The optimiser step's mean log-ratio of prompts with answers to other prompts, without gradient (KTO)."""
    step: Pairs | None = None
    """All pairs of the optimiser step, without gradient (AOT); None where these are all."""
    places_B: Tensor | None = None
    """Where these pairs stand among the step's."""

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
        win, lose = self.references()
        return self.chosen_B - win, self.rejected_B - lose

    def references(self) -> tuple[Tensor, Tensor]:
        """Log-probabilities under the reference, chosen and rejected."""
        if self.reference_chosen_B is None or self.reference_rejected_B is None:
            raise StillwiseError("this preference loss needs a reference model's log-probabilities")
        return self.reference_chosen_B, self.reference_rejected_B

    def discounted(self, share: float) -> Pairs:
        """These pairs, of the log-probabilities beyond the shorter answer's length only this share counted."""
        if share == 1 or self.tail is None:
            return self
        names = ("chosen_B", "rejected_B", "reference_chosen_B", "reference_rejected_B")
        both = {name: (getattr(self, name), getattr(self.tail, name)) for name in names}
        kept = {name: whole - (1 - share) * tail for name, (whole, tail) in both.items() if whole is not None}
        return replace(self, **kept, step=None if self.step is None else self.step.discounted(share))


class DPO(Preference):
    """Direct preference optimisation against a reference, in fourteen variants; a pair's own beta goes first (CogPO).

    Rafailov et al., arXiv 2305.18290, eq. 7; CogPO: Training Small Reasoning LLMs with Cognitive Preference Alignment,
    arXiv 2504.09802.
    """

    kind: ClassVar[str] = "dpo"
    needs_reference: ClassVar[bool] = True
    beta: float = Field(default=0.1, gt=0)
    """How strongly the student is held to the reference, where a pair has no beta of its own."""
    variant: DPOVariant = "sigmoid"
    """`sigmoid` is the paper's; `ipo` (arXiv 2310.12036, on per-token means), `hinge` (SLiC), `robust`, `exo_pair`, `nca_pair`,
    `bco_pair`, `sppo_hard`, `apo_zero`, `apo_down`, `discopop`, `sigmoid_norm` (per-token means), `aot` and `aot_unpaired`
    (arXiv 2406.05882; they compare sorted log-ratios, here of the whole optimiser step): TRL's names and formulas."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """The share of pairs assumed to be the wrong way round (`sigmoid`, `robust`, `aot`, and at least 0.001 for `exo_pair`)."""
    divergence: FDivergence = "reverse_kl"
    """What holds the student to the reference (f-DPO, arXiv 2309.16240); variants of the answers' difference take others."""
    alpha: float = 0.5
    """Of `alpha_divergence`; 1 is the reverse KL."""
    tau: float = Field(default=0.05, gt=0)
    """Temperature of the blend of `discopop` (arXiv 2406.08414, eq. 5)."""
    tail: float = Field(default=1.0, ge=0, le=1)
    """The share that tokens beyond the length of the pair's shorter answer count (LD-DPO, arXiv 2409.06411; its alpha)."""
    weighted: bool = False
    """Weighs each pair by how likely the student's own draws would be its answers (WPO, arXiv 2406.11827, eq. 2)."""

    @model_validator(mode="after")
    def _known_combinations(self) -> Self:
        if self.divergence != "reverse_kl" and self.variant not in OF_THE_GAP:
            raise ValueError(
                f"variant {self.variant} is known with divergence reverse_kl alone; take one of {sorted(OF_THE_GAP)}"
            )
        if self.weighted and self.variant in SORTED:
            raise ValueError(f"variant {self.variant} sorts answers, so that no pair is left to weigh; leave weighted")
        return self

    @property
    def reads(self) -> frozenset[PairExtra]:
        """The whole step where it is sorted; the student's certainty where pairs are weighed by it."""
        wanted: dict[PairExtra, bool] = {"step": self.variant in SORTED, "certainty": self.weighted}
        return frozenset(name for name, needed in wanted.items() if needed)

    def per_pair(self, pairs: Pairs) -> Tensor:
        """Values (B,); of `aot_unpaired` the sum over a step is the loss, and each value half of what its two answers enter."""
        pairs, beta = pairs.discounted(self.tail), self.beta if pairs.beta_B is None else pairs.beta_B
        if self.variant in SORTED:
            return _sorted(self.variant, pairs, beta, self.label_smoothing)
        win, lose = (scored(ratio_B, self.divergence, self.alpha) for ratio_B in pairs.ratios())
        if self.variant in ("ipo", "sigmoid_norm"):
            win, lose = win / pairs.chosen_tokens_B.clamp(min=1), lose / pairs.rejected_tokens_B.clamp(min=1)
        values = _dpo(self.variant, beta * win, beta * lose, beta, self.label_smoothing, self.tau)
        return values * _certainty(pairs) if self.weighted else values


def scored(ratio_B: Tensor, divergence: FDivergence, alpha: float) -> Tensor:
    """f'(t) (B,) of a divergence at t = exp(log-ratio); the log-ratio itself for the reverse KL (f-DPO, arXiv 2309.16240)."""
    from torch.nn.functional import logsigmoid

    if divergence == "forward_kl":
        return 1 - (-ratio_B).clamp(max=MAX_EXPONENT).exp()
    if divergence == "js_divergence":
        return math.log(2) + logsigmoid(ratio_B)
    if divergence == "alpha_divergence" and abs(alpha - 1) >= 1e-6:
        return ((alpha - 1) * ratio_B).clamp(max=MAX_EXPONENT).expm1() / (alpha - 1)
    return ratio_B


def _certainty(pairs: Pairs) -> Tensor:
    if pairs.certainty_B is None:
        raise StillwiseError("this preference loss needs the student's certainty of each pair")
    return pairs.certainty_B


def _sorted(variant: DPOVariant, pairs: Pairs, beta: float | Tensor, smoothing: float) -> Tensor:
    """Values (B,) of AOT: what stands at one rank of two sorted lists is compared, and the other side is a constant here.

    Unpaired, both sides learn. Each answer enters with the other list's value at its rank, so the gradients of the two terms
    are those of the one comparison that both stand for, and their values are halved.
    """
    import torch

    whole = pairs if pairs.step is None else pairs.step
    places_B = torch.arange(len(pairs.chosen_B), device=pairs.chosen_B.device) if pairs.places_B is None else pairs.places_B
    (win, lose), (wins, loses) = pairs.ratios(), (side.detach() for side in whole.ratios())
    if variant == "aot":
        chosen_B, rejected_B = whole.references()
        partners_B = _at_rank((whole.chosen_B - whole.rejected_B).detach(), chosen_B - rejected_B)[places_B]
        return _logistic(beta * (pairs.chosen_B - pairs.rejected_B - partners_B), smoothing)
    one = _logistic(beta * (win - _at_rank(wins, loses)[places_B]), smoothing)
    other = _logistic(beta * (_at_rank(loses, wins)[places_B] - lose), smoothing)
    return one + other - ((one + other) / 2).detach()


def _at_rank(values_B: Tensor, others_B: Tensor) -> Tensor:
    """For each value the one of the others that has its rank."""
    import torch

    found_B = torch.empty_like(others_B)
    found_B[values_B.argsort(stable=True)] = others_B.sort().values
    return found_B


def _logistic(gap: Tensor, smoothing: float) -> Tensor:
    from torch.nn.functional import logsigmoid

    return -(1 - smoothing) * logsigmoid(gap) - smoothing * logsigmoid(-gap)


def _dpo(variant: DPOVariant, win: Tensor, lose: Tensor, beta: float | Tensor, smoothing: float, tau: float) -> Tensor:
    from torch.nn.functional import logsigmoid

    gap = win - lose
    if variant in ("sigmoid", "sigmoid_norm"):
        return _logistic(gap, smoothing)
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
        share = (gap / tau).sigmoid()
        return -logsigmoid(gap) * (1 - share) + (-gap).exp() * share
    if variant == "apo_zero":
        return (1 - win.sigmoid()) + lose.sigmoid()
    return win.sigmoid() + (1 - gap.sigmoid())


def _exo(gap: Tensor, smoothing: float) -> Tensor:
    """KL of the student's preference from the smoothed label (EXO, arXiv 2402.00856, eq. 16)."""
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

    arXiv 2402.01306, eq. 8. The reference point z0 is max(0, mean log-ratio) over prompts with answers to other prompts,
    without gradient. The paper shifts the answers within a micro-batch; here each prompt has the answers of the next pair (in
    the order given) that is about another prompt, and the mean is the whole optimiser step's, so that it does not depend on how
    a step is cut. Such a row is cut where it would be longer than the trainer's `max_length`.
    """

    kind: ClassVar[str] = "kto"
    needs_reference: ClassVar[bool] = True
    beta: float = Field(default=0.1, gt=0)
    """Scale of the log-ratios."""
    desirable: float = Field(default=1.0, gt=0)
    """Weight of the chosen answers."""
    undesirable: float = Field(default=1.0, gt=0)
    """Weight of the rejected answers."""

    @property
    def reads(self) -> frozenset[PairExtra]:
        """The reference point."""
        return frozenset({"point"})

    def per_pair(self, pairs: Pairs) -> Tensor:
        """Values (B,): the sum of both answers' losses."""
        win, lose = pairs.ratios()
        if pairs.point is None:
            raise StillwiseError(
                "this preference loss needs a reference point: the step's mean log-ratio of mismatched answers"
            )
        point = pairs.point.clamp(min=0)
        beta = self.beta if pairs.beta_B is None else pairs.beta_B
        good = kto(win, point, beta=beta, desirable=True)
        return self.desirable * good + self.undesirable * kto(lose, point, beta=beta, desirable=False)


def kto(ratio_B: Tensor, point: Tensor, *, beta: float | Tensor, desirable: bool) -> Tensor:
    """Losses (B,) of unpaired answers: 1 - sigma(beta (ratio - point)), or the other way round for undesirable ones."""
    gap = beta * (ratio_B - point)
    return 1 - (gap if desirable else -gap).sigmoid()
