"""Training on pairs of a chosen and a rejected answer to one problem."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Example, Preference, Tools, Trainer
from stillwise.errors import StillwiseError, UserError
from stillwise.models.pieces import vocabulary_size
from stillwise.parts import Role, walk_parts
from stillwise.records import derive_seed
from stillwise.train import folder, loop
from stillwise.train.fields import Fit
from stillwise.train.fit import figures, fitted, load_student, planned, require_rows
from stillwise.train.flops import Size
from stillwise.train.losses.cross_entropy import token_logprobs
from stillwise.train.losses.head import Head
from stillwise.train.losses.preference import Pairs
from stillwise.train.packing import Pack, hidden_states
from stillwise.train.render import Rendered, Row, end_token, render
from stillwise.train.signals.source import check_head

if TYPE_CHECKING:
    from torch import Tensor

REJECTED = "rejected:"
"""Before the id of the row that holds a pair's rejected answer."""


class Pairwise(Trainer, Fit):
    """A preference loss on chosen and rejected answers: DPO and its variants, CogPO, ORPO, SimPO, REDI, KTO.

    Both answers of a pair are rendered, packed and weighed alike; a step's loss is the weighted mean over its pairs. The
    reference is the student as it was before the first step. The chosen answers' log-probability is watched throughout:
    most of these losses can win by lowering both answers, the rejected one faster.
    """

    kind: ClassVar[str] = "pairwise"
    learns_from: ClassVar[Literal["lessons", "pairs"]] = "pairs"
    student: Role = "student"
    """The role whose weights are trained."""
    objective: Preference = Field(default="dpo", validate_default=True)
    """What a pair costs."""
    max_chosen_drop: float | None = Field(default=None, gt=0)
    """Ends the training with an error when a pass's chosen answers are this many nats per token less likely than they were
    before the first step; None only reports their log-probability."""

    def train(self, examples: Sequence[Example], student: Path, out: Path, tools: Tools) -> Mapping[str, Any]:
        """Writes the student, float32, at ``out`` and returns what `sft` does, and the log-probabilities of both sides."""
        began = time.monotonic()
        with folder.quiet(), folder.whole_folder(out) as aside:
            tokenizer = folder.load_tokenizer(student)
            units, rendered = _units(examples, tokenizer, self.max_length)
            steps = planned(self, units, derive_seed(tools.seed, tools.step))
            model = load_student(self, student, rendered.rows[:2], derive_seed(tools.seed, tools.step))
            check_head(model, rendered.rows[0], vocab := vocabulary_size(tokenizer))
            betas = {e.id: e.beta for e in examples if e.beta is not None}
            cost = PairCost(objective=self.objective, vocab=vocab, betas=betas, max_drop=self.max_chosen_drop)
            if _needs_reference(self.objective) or self.max_chosen_drop is not None:
                cost.reference.update(_reference(model, cost, steps))
            points = fitted(self, model, steps, tools, cost, self.kind)
            folder.save_student(model, student, aside, end_token(tokenizer))
        chosen = [point.figures["chosen_logprob"] for point in points]
        watched = {"first": chosen[0], "lowest": min(chosen), "last": chosen[-1]}
        found = figures(rendered, steps, points, time.monotonic() - began)
        both = [[step, beside["chosen_logprob"], beside["rejected_logprob"]] for step, beside in found["parts"]]
        return {**found, "pairs": len(units), "chosen_logprob": watched, "pair_curve": both}


def _needs_reference(objective: Preference) -> bool:
    """Whether a loss, or one that it holds, reads a reference's log-probabilities."""
    return any(part.needs_reference for part in walk_parts(objective) if isinstance(part, Preference))


def _units(examples: Sequence[Example], tokenizer: Any, max_length: int) -> tuple[list[tuple[Row, Row]], Rendered]:
    """Pairs of rows; a pair of which one answer drops out drops out with that answer's reason."""
    missing = next((e.id for e in examples if not e.rejected), None)
    if missing is not None:
        raise UserError(f"example {missing!r} has no rejected answer; this trainer learns from pairs")
    good = render(examples, tokenizer, max_length)
    bad = render([replace(e, assistant=e.rejected) for e in examples], tokenizer, max_length)
    dropped = {**bad.dropped, **good.dropped}
    wins, losses = ({row.id: row for row in side.rows} for side in (good, bad))
    units = [(wins[e.id], replace(losses[e.id], id=REJECTED + e.id)) for e in examples if e.id not in dropped]
    require_rows(units, dropped)
    return units, Rendered(rows=tuple(row for unit in units for row in unit), dropped=dropped)


@dataclass(frozen=True, kw_only=True)
class PairCost(loop.Cost):
    """A preference loss over the pairs of a forward pass; rows stand as chosen, rejected, chosen, rejected, …"""

    objective: Preference
    vocab: int
    betas: Mapping[str, float] = field(default_factory=dict)
    max_drop: float | None = None
    reference: dict[tuple[int, ...], float] = field(default_factory=dict)
    """Summed log-probabilities of rows (by their token ids) under the reference: the student before the first step."""

    def operations(self, size: Size, rows: Sequence[Row]) -> float:
        """The reference's pass, where the loss has one."""
        return float(size.forward(len(row.ids) for row in rows) if self.reference else 0)

    def weight(self, rows: Sequence[Row], pack: Pack) -> Tensor:
        """The summed weight of the pairs."""
        return _weights(rows, pack).sum()

    def total(self, model: Any, rows: Sequence[Row], pack: Pack) -> tuple[Tensor, Mapping[str, float]]:
        """The weighted sum over pairs; both sides' log-probability per token and the share of pairs that are won beside it."""
        pairs, weights_B = self.pairs(self.logprobs(model, rows, pack), rows), _weights(rows, pack)
        chosen_B, rejected_B = pairs.chosen_mean_B.detach(), pairs.rejected_mean_B.detach()
        self._watch(pairs, chosen_B, weights_B)
        beside = {
            "chosen_logprob": float((weights_B * chosen_B).sum()),
            "rejected_logprob": float((weights_B * rejected_B).sum()),
            "won": float((weights_B * (chosen_B > rejected_B)).sum()),
        }
        return (weights_B * self.objective.per_pair(pairs)).sum(), beside

    def logprobs(self, model: Any, rows: Sequence[Row], pack: Pack) -> Tensor:
        """Summed log-probability of each row's supervised tokens."""
        import torch

        each_S = token_logprobs(hidden_states(model, pack), Head.of(model, self.vocab), pack.targets_S)
        bounds = pairwise([0, *accumulate(row.num_learnt for row in rows)])
        return torch.stack([each_S[begin:end].sum() for begin, end in bounds])

    def pairs(self, sums: Tensor, rows: Sequence[Row]) -> Pairs:
        """The pairs of these rows, with the reference where there is one and betas where any pair has its own."""
        counts = sums.new_tensor([row.num_learnt for row in rows])
        held = sums.new_tensor([self.reference[row.ids] for row in rows]) if self.reference else None
        default = getattr(self.objective, "beta", None)
        own = [self.betas.get(row.id, default) for row in rows[::2]] if self.betas and default is not None else None
        return Pairs(
            chosen_B=sums[::2],
            rejected_B=sums[1::2],
            chosen_tokens_B=counts[::2],
            rejected_tokens_B=counts[1::2],
            reference_chosen_B=None if held is None else held[::2],
            reference_rejected_B=None if held is None else held[1::2],
            beta_B=None if own is None else sums.new_tensor(own),
        )

    def _watch(self, pairs: Pairs, chosen_B: Tensor, weights_B: Tensor) -> None:
        if self.max_drop is None or pairs.reference_chosen_B is None:
            return
        drop_B = pairs.reference_chosen_B / pairs.chosen_tokens_B - chosen_B
        drop = float((weights_B * drop_B).sum() / weights_B.sum())
        if drop > self.max_drop:
            raise StillwiseError(
                f"the chosen answers became less likely, by {drop:.3f} nats per token (max_chosen_drop {self.max_drop}); "
                "lower learning_rate, or alpha or beta of the objective"
            )


def _weights(rows: Sequence[Row], pack: Pack) -> Tensor:
    return pack.weights_S.new_tensor([row.weight for row in rows[::2]])


def _reference(model: Any, cost: PairCost, steps: Sequence[loop.Step]) -> dict[tuple[int, ...], float]:
    """Log-probabilities of every row before the first step, out of training mode."""
    import torch

    passes = {tuple(row.ids for row in rows): rows for step in steps for rows in step}
    found: dict[tuple[int, ...], float] = {}
    training = model.training
    model.eval()
    with torch.no_grad():
        for rows in passes.values():
            sums = cost.logprobs(model, rows, Pack.of(rows, model.device)).tolist()
            found.update({row.ids: value for row, value in zip(rows, sums, strict=True)})
    model.train(training)
    return found
