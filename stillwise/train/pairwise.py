"""Training on pairs of a chosen and a rejected answer to one problem."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
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
from stillwise.train import folder, loop, processes
from stillwise.train.fields import Fit
from stillwise.train.fit import figures, fitted, load_student, planned, require_rows
from stillwise.train.flops import Size
from stillwise.train.losses.cross_entropy import log_collisions, token_logprobs
from stillwise.train.losses.head import Head
from stillwise.train.losses.preference import Pairs
from stillwise.train.packing import Pack, hidden_states
from stillwise.train.render import Rendered, Row, end_token, render
from stillwise.train.signals.source import check_head

if TYPE_CHECKING:
    from torch import Tensor

REJECTED = "rejected:"
"""Before the id of the row that holds a pair's rejected answer."""
WIDTH = 2
"""Sums of a row that every loss may read."""
OTHER = "other:"
"""Before the id of a row that holds an answer to another prompt."""


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
            reads = _reads(self.objective)
            cost = PairCost(
                objective=self.objective,
                vocab=vocab,
                betas=betas,
                max_drop=self.max_chosen_drop,
                certain="certainty" in reads,
                strangers=strangers(units, self.max_length) if "point" in reads else {},
                steps=steps if "step" in reads else (),
            )
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


def _reads(objective: Preference) -> frozenset[str]:
    """What a loss, or one that it holds, reads of pairs that only some read."""
    found = frozenset(name for part in walk_parts(objective) if isinstance(part, Preference) for name in part.reads)
    if found & {"point", "step"} and processes.sharded():
        raise UserError("this preference loss looks at a whole step before it learns, with whole weights; train without shards")
    return found


def strangers(units: Sequence[tuple[Row, Row]], max_length: int) -> dict[str, tuple[Row, Row]]:
    """For each pair (by its chosen row's id) its prompt with both answers of the next pair that is about another prompt.

    Raises UserError where all pairs are about one prompt.
    """
    prompts = [chosen.ids[: chosen.start] for chosen, _ in units]
    # From the end, round once: of pairs about one prompt in a row, each has the first one after them.
    following = list(range(len(units)))
    for place in reversed(range(2 * len(units) - 1)):
        here, after = place % len(units), (place + 1) % len(units)
        following[here] = after if prompts[after] != prompts[here] else following[after]
    if prompts[following[0]] == prompts[0]:
        raise UserError(
            "kto compares answers with answers to other problems, and all pairs are about one; give it more problems"
        )
    return {unit[0].id: _mismatched(unit[0], units[at], max_length) for unit, at in zip(units, following, strict=True)}


def _mismatched(row: Row, other: tuple[Row, Row], max_length: int) -> tuple[Row, Row]:
    prompt = row.ids[: row.start]
    win, lose = (replace(row, id=OTHER + of.id + ":" + row.id, ids=(*prompt, *of.ids[of.start :])[:max_length]) for of in other)
    return win, lose


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


@dataclass(kw_only=True)
class PairCost(loop.Cost):
    """A preference loss over the pairs of a forward pass; rows stand as chosen, rejected, chosen, rejected, …"""

    objective: Preference
    vocab: int
    betas: Mapping[str, float] = field(default_factory=dict)
    max_drop: float | None = None
    reference: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """What ``measured`` found of rows (by their ids) under the reference: the student before the first step."""
    certain: bool = False
    """Whether the loss reads the student's certainty."""
    strangers: Mapping[str, tuple[Row, Row]] = field(default_factory=dict)
    """Mismatched rows of each pair, where the loss reads a reference point."""
    steps: Sequence[loop.Step] = ()
    """The planned steps, all processes' passes of each, where the loss reads a whole step's pairs."""
    point: float | None = None
    """The step's mean log-ratio of mismatched rows."""
    step: Pairs | None = None
    """The step's pairs; None where it has one pass."""
    places: dict[str, int] = field(default_factory=dict)
    """Where each pair stands among them, by its chosen row's id."""

    def passes(self, model: Any, step: loop.Step, number: int) -> loop.Step:
        """The planned ones, after a look at what the loss needs to know of the whole step."""
        if self.strangers:
            self.point = self._point(model, step)
        if self.steps and (len(step) > 1 or processes.count() > 1):
            self._look(model, step, self.steps[number])
        else:
            self.step = None
        return step

    def _point(self, model: Any, step: loop.Step) -> float:
        """The mean log-ratio over the step's mismatched rows, all processes together, by the pairs' weights."""
        held = [other for rows in step if (other := self.mismatched(rows))]
        now, rows = self.at_rest(model, held), [row for other in held for row in other]
        ratios = [row.weight * (now[row.id][0] - self.reference[row.id][0]) for row in rows]
        own = {"ratio": sum(ratios), "weight": sum(row.weight for row in rows)}
        found = processes.meant(own, model.device)
        return found["ratio"] / (found["weight"] or 1.0)

    def mismatched(self, rows: Sequence[Row]) -> list[Row]:
        """The mismatched rows of a pass's pairs, as far as these have a weight."""
        return [other for row in rows[::2] if row.weight for other in self.strangers.get(row.id, ())]

    def _look(self, model: Any, step: loop.Step, planned: loop.Step) -> None:
        """Measures the step's pairs before any is learnt; each process its own, and all hear of all."""
        own = self.at_rest(model, [rows for rows in step if rows[0].weight])
        rows = [row for rows in planned for row in rows if row.weight]
        nothing = [0.0] * WIDTH
        found = processes.meant(
            {f"{row.id}/{i}": own.get(row.id, nothing)[i] for row in rows for i in range(WIDTH)}, model.device
        )
        count = processes.count()
        sums = [[count * found[f"{row.id}/{i}"] for i in range(WIDTH)] for row in rows]
        # What was left from the step before is no part of this one.
        self.step, self.places = None, {}
        self.step = self.pairs(_tensor(sums, model.device), rows)
        self.places = {row.id: place for place, row in enumerate(rows[::2])}

    def operations(self, size: Size, rows: Sequence[Row]) -> float:
        """The reference's pass, where the loss has one, and the look at the step before it is learnt."""
        lengths = [len(row.ids) for row in rows]
        apart = 2 * size.forward(len(row.ids) for row in self.mismatched(rows))
        passes = float(bool(self.reference)) + float(self.step is not None)
        return float(passes * size.forward(lengths) + apart)

    def weight(self, rows: Sequence[Row], pack: Pack) -> Tensor:
        """The summed weight of the pairs."""
        return _weights(rows, pack).sum()

    def total(self, model: Any, rows: Sequence[Row], pack: Pack) -> tuple[Tensor, Mapping[str, float]]:
        """The weighted sum over pairs; both sides' log-probability per token and the share of pairs that are won beside it."""
        pairs, weights_B = self.pairs(self.measured(model, rows, pack), rows), _weights(rows, pack)
        chosen_B, rejected_B = pairs.chosen_mean_B.detach(), pairs.rejected_mean_B.detach()
        self._watch(pairs, chosen_B, weights_B)
        beside = {
            "chosen_logprob": float((weights_B * chosen_B).sum()),
            "rejected_logprob": float((weights_B * rejected_B).sum()),
            "won": float((weights_B * (chosen_B > rejected_B)).sum()),
        }
        return (weights_B * self.objective.per_pair(pairs)).sum(), beside

    def measured(self, model: Any, rows: Sequence[Row], pack: Pack) -> Tensor:
        """Sums (R, 2) or (R, 3) of each row's supervised tokens: log-probabilities, those beyond the length of the pair's
        shorter answer, and (without gradient) log-probabilities less those of two draws being one token."""
        import torch

        hidden_SH, head = hidden_states(model, pack), Head.of(model, self.vocab)
        each_S = token_logprobs(hidden_SH, head, pack.targets_S)
        places = list(pairwise([0, *accumulate(row.num_learnt for row in rows)]))
        sums = [
            [each_S[begin:end].sum(), each_S[begin + short : end].sum()]
            for (begin, end), short in zip(places, _shorter(rows), strict=True)
        ]
        if self.certain:
            sure_S = each_S.detach() - log_collisions(hidden_SH, head)
            sums = [[*held, sure_S[begin:end].sum()] for held, (begin, end) in zip(sums, places, strict=True)]
        return torch.stack([torch.stack(held) for held in sums])

    def at_rest(self, model: Any, passes: Iterable[Sequence[Row]]) -> dict[str, list[float]]:
        """What is measured of these rows (by their ids) without gradient and out of training mode."""
        import torch

        found: dict[str, list[float]] = {}
        training = model.training
        model.eval()
        with torch.no_grad():
            for rows in passes:
                sums = self.measured(model, rows, Pack.of(rows, model.device)).tolist()
                found.update({row.id: values for row, values in zip(rows, sums, strict=True)})
        model.train(training)
        return found

    def pairs(self, sums: Tensor, rows: Sequence[Row]) -> Pairs:
        """The pairs of these rows from what was measured, with what the loss reads besides."""
        counts = sums.new_tensor([row.num_learnt for row in rows])
        held = sums.new_tensor([self.reference[row.id][:WIDTH] for row in rows]) if self.reference else None
        whole, tail = (_sides(sums[:, i], None if held is None else held[:, i], counts) for i in range(WIDTH))
        certainty = (sums[:, WIDTH] / counts).exp() if self.certain and sums.shape[1] > WIDTH else None
        return replace(
            whole,
            tail=tail,
            beta_B=self._betas(sums, rows),
            certainty_B=None if certainty is None else certainty[::2] * certainty[1::2],
            point=None if self.point is None else sums.new_tensor(self.point),
            step=self.step,
            # Pairs without weight stand nowhere among the step's, and what they come to counts nothing.
            places_B=None if self.step is None else _tensor([self.places.get(row.id, 0) for row in rows[::2]], sums.device),
        )

    def _betas(self, sums: Tensor, rows: Sequence[Row]) -> Tensor | None:
        """Betas of the pairs, where any has its own and the loss has one to take its place."""
        default = getattr(self.objective, "beta", None) if self.betas else None
        return None if default is None else sums.new_tensor([self.betas.get(row.id, default) for row in rows[::2]])

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


def _sides(sums: Tensor, held: Tensor | None, counts: Tensor) -> Pairs:
    return Pairs(
        chosen_B=sums[::2],
        rejected_B=sums[1::2],
        chosen_tokens_B=counts[::2],
        rejected_tokens_B=counts[1::2],
        reference_chosen_B=None if held is None else held[::2],
        reference_rejected_B=None if held is None else held[1::2],
    )


def _shorter(rows: Sequence[Row]) -> list[int]:
    """For each row the length of its pair's shorter answer."""
    return [min(a.num_learnt, b.num_learnt) for a, b in zip(rows[::2], rows[1::2], strict=True) for _ in "ab"]


def _tensor(values: Sequence[Any], device: Any) -> Tensor:
    import torch

    return torch.tensor(values, device=device)


def _reference(model: Any, cost: PairCost, steps: Sequence[loop.Step]) -> dict[str, tuple[float, ...]]:
    """What is measured of every row before the first step, mismatched ones too."""
    passes = {tuple(row.id for row in rows): rows for step in steps for rows in step}.values()
    apart = [other for rows in passes if (other := cost.mismatched(rows))]
    return {name: tuple(values) for name, values in cost.at_rest(model, [*passes, *apart]).items()}
