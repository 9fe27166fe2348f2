"""Learning from answers that are right and, by contrast, from the student's own mistakes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from stillwise.arrows import Example, Tools, Trainer
from stillwise.models.pieces import vocabulary_size
from stillwise.parts import Input, Role
from stillwise.records import derive_seed
from stillwise.train import folder, loop
from stillwise.train.fields import Fit, SpanWeights
from stillwise.train.fit import figures, fitted, load_student, planned, require_rows
from stillwise.train.losses.contrast import triplet
from stillwise.train.losses.cross_entropy import cross_entropy
from stillwise.train.losses.head import Head
from stillwise.train.packing import Pack, hidden_states
from stillwise.train.render import Rendered, Row, end_token, render, weighed
from stillwise.train.signals.source import check_head

if TYPE_CHECKING:
    from torch import Tensor

POSITIVE, NEGATIVE = "positive:", "negative:"
"""Before the ids of rows that are only looked at."""


class SelfReflection(Trainer, Fit):
    """L = L_MLE + ratio · L_cl: cross-entropy of each answer, and a triplet with another right answer and a mistake.

    Tailored Learning from Large Language Model (Learn-to-Reason), arXiv 2310.13332, and its official code. The question's
    tokens weigh ``prompt_weight``, the answer's 1, and their sum is divided by the number of all. In the triplet an answer
    stands for itself by the last layer's state of its last token; the positive is another right answer to the same question,
    the negative one of the student's own wrong ones. An answer that lacks either has no triplet (its share is 0).
    """

    kind: ClassVar[str] = "self_reflection"
    student: Role = "student"
    """The role whose weights are trained."""
    mistakes: Input | None = None
    """The output whose wrong traces are contrasted with: the student's exam."""
    prompt_weight: float = Field(default=0.1, ge=0)
    """How much the question's tokens count."""
    ratio: float = Field(default=0.5, ge=0)
    """How much the triplets count."""
    margin: float = Field(default=1.0, gt=0)
    """So much nearer, in cosine distance, the right answer has to be."""

    def train(self, examples: Sequence[Example], student: Path, out: Path, tools: Tools) -> Mapping[str, Any]:
        """Writes the student, float32, at ``out`` and returns what `sft` does, and both parts of the loss."""
        began = time.monotonic()
        seed = derive_seed(tools.seed, tools.step)
        with folder.quiet(), folder.whole_folder(out) as aside:
            tokenizer = folder.load_tokenizer(student)
            units, rendered = triplets(examples, tokenizer, self.max_length, self.prompt_weight)
            steps = planned(self, units, seed)
            model = load_student(self, student, rendered.rows[:2], seed)
            check_head(model, rendered.rows[0], vocab := vocabulary_size(tokenizer))
            cost = ReflectedCost(vocab=vocab, ratio=self.ratio, margin=self.margin)
            points = fitted(self, model, steps, tools, cost, self.kind)
            folder.save_student(model, student, aside, end_token(tokenizer))
        found = figures(rendered, steps, points, time.monotonic() - began)
        return {**found, "triplets": sum(len(unit) > 1 for unit in units)}


def triplets(
    examples: Sequence[Example], tokenizer: Any, max_length: int, prompt_weight: float
) -> tuple[list[tuple[Row, ...]], Rendered]:
    """For each example its row, and where it has both, another right answer's and a mistake's, which are not learnt."""
    rendered = render(examples, tokenizer, max_length)
    require_rows(rendered.rows, rendered.dropped)
    bad = render([replace(e, assistant=e.rejected) for e in examples if e.rejected], tokenizer, max_length)
    wrong = {row.id: row for row in bad.rows}
    of_question: dict[str, list[Row]] = {}
    user = {example.id: example.user for example in examples}
    for row in rendered.rows:
        of_question.setdefault(user[row.id], []).append(row)
    anchors = weighed(rendered, examples, tokenizer, SpanWeights(prompt=prompt_weight))
    units: list[tuple[Row, ...]] = []
    for anchor in anchors.rows:
        other = _other(anchor.id, of_question[user[anchor.id]])
        beside = (_seen(other, POSITIVE), _seen(wrong[anchor.id], NEGATIVE)) if other and anchor.id in wrong else ()
        units.append((anchor, *beside))
    return units, anchors


def _other(name: str, held: Sequence[Row]) -> Row | None:
    """The next right answer to the same question with other tokens; the first follows the last."""
    place = next(i for i, row in enumerate(held) if row.id == name)
    around = [*held[place + 1 :], *held[:place]]
    return next((row for row in around if row.ids != held[place].ids), None)


def _seen(row: Row, mark: str) -> Row:
    return replace(row, id=mark + row.id, weights=(0.0,) * row.num_learnt)


@dataclass(frozen=True, kw_only=True)
class ReflectedCost(loop.Cost):
    """Cross-entropy and triplets of a forward pass; a triplet weighs as much as its answer has tokens."""

    vocab: int
    ratio: float
    margin: float

    def weight(self, rows: Sequence[Row], pack: Pack) -> Tensor:
        """The number of learnt tokens, whatever they weigh."""
        return pack.weights_S.new_tensor(float(sum(row.num_learnt for row in rows if _is_learnt(row))))

    def total(self, model: Any, rows: Sequence[Row], pack: Pack) -> tuple[Tensor, Mapping[str, float]]:
        """The sum over tokens and triplets; both parts beside it, the triplets' as it enters the loss."""
        import torch

        hidden_SH = hidden_states(model, pack)
        summed, _ = cross_entropy(hidden_SH, Head.of(model, self.vocab), pack.targets_S, pack.weights_S)
        places = [place for place, row in enumerate(rows) if row.id.startswith(POSITIVE)]
        if not places:
            return summed, {"nll": float(summed.detach()), "triplet": 0.0}
        ends = torch.tensor([end - 1 for end in accumulate(row.num_learnt for row in rows)], device=hidden_SH.device)
        anchors = torch.tensor(places, device=ends.device) - 1
        states_RH = hidden_SH[ends]
        costs_B = triplet(states_RH[anchors], states_RH[anchors + 1], states_RH[anchors + 2], self.margin)
        tokens_B = costs_B.new_tensor([float(rows[place - 1].num_learnt) for place in places])
        contrast = self.ratio * (tokens_B * costs_B).sum()
        return summed + contrast, {"nll": float(summed.detach()), "triplet": float(contrast.detach())}


def _is_learnt(row: Row) -> bool:
    return not row.id.startswith((POSITIVE, NEGATIVE))
