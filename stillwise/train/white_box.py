"""White-box distillation: the tokens of a trace, and beside them the teacher's whole distribution at each."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Divergence, Example, Tools, Trainer
from stillwise.errors import UserError
from stillwise.parts import Role
from stillwise.records import derive_seed
from stillwise.train import folder
from stillwise.train.fit import Fit, figures, fitted, load_student, planned, require_rows
from stillwise.train.losses.head import Head, weighted_sum
from stillwise.train.losses.mix import Matching, mixed_of
from stillwise.train.losses.topk import Support
from stillwise.train.packing import Pack
from stillwise.train.render import Row, end_token, render
from stillwise.train.signals.cache import Cached, capture
from stillwise.train.signals.source import Live, TeacherSignal, check_head, hidden_states

if TYPE_CHECKING:
    from torch import Tensor


class WhiteBox(Trainer, Fit):
    """Cross-entropy mixed with a divergence to a teacher's distribution at every supervised token.

    Supervised distillation of On-Policy Distillation of Language Models, arXiv 2306.13649, §3; Hinton et al., arXiv
    1503.02531. Teacher and student need one tokenizer; the teacher reads the student's rows, template included.
    """

    kind: ClassVar[str] = "white_box"
    student: Role = "student"
    """The role whose weights are trained."""
    teacher: Role = "reasoner"
    """The role whose distributions are matched: a local model."""
    divergence: Divergence = Field(default="forward_kl", validate_default=True)
    """How the two distributions are compared."""
    share: float = Field(default=0.5, ge=0, le=1)
    """Weight of the divergence; the cross-entropy has the rest."""
    temperature: float = Field(default=1.0, gt=0)
    """Of both distributions in the divergence (the cross-entropy stays at 1)."""
    square_temperature: bool = False
    """Multiplies the divergence by temperature squared, which undoes the shrinking of its gradients."""
    top_k: int | None = Field(default=None, ge=1)
    """The teacher's likeliest tokens that are compared; None compares the whole vocabulary (live signals only)."""
    support: Support = "tail_bucket"
    """What is compared over the top k; see the page on losses."""
    signals: Literal["live", "cached"] = "live"
    """`cached` asks the teacher once, before the first step, and reads from disk in every epoch (needs a top k)."""

    def train(self, examples: Sequence[Example], student: Path, out: Path, tools: Tools) -> Mapping[str, Any]:
        """Writes the student, float32, at ``out`` and returns what `sft` does, and both parts of the loss."""
        with folder.quiet():
            tokenizer = folder.load_tokenizer(student)
            teacher = self._teacher(tools, tokenizer)
            return train_with(self, teacher, examples, student, out, tools)

    def _teacher(self, tools: Tools, tokenizer: Any) -> TeacherSignal:
        path = tools.folders.get(self.teacher)
        if path is None:
            raise UserError(
                f"the teacher role {self.teacher!r} needs a local model here (a transformers folder or a hub id): "
                "a server does not give whole distributions"
            )
        if self.signals == "cached" and self.top_k is None:
            raise UserError("cached signals hold a top k: set top_k on the trainer (64 is a good start)")
        return Live(path, tokenizer, self.top_k)

    @property
    def matching(self) -> Matching:
        """The comparison that these fields describe."""
        return Matching(
            divergence=self.divergence, temperature=self.temperature, square=self.square_temperature, support=self.support
        )


def train_with(
    part: WhiteBox, teacher: TeacherSignal, examples: Sequence[Example], student: Path, out: Path, tools: Tools
) -> dict[str, Any]:
    """What ``WhiteBox.train`` does, with signals of any source: a cache on disk, a server, a model."""
    began = time.monotonic()
    with folder.quiet(), folder.whole_folder(out) as aside, ExitStack() as stack:
        tokenizer = folder.load_tokenizer(student)
        rendered = render(examples, tokenizer, part.max_length)
        require_rows(rendered.rows, rendered.dropped)
        steps = planned(part, [[row] for row in rendered.rows], derive_seed(tools.seed, tools.step))
        if part.signals == "cached" and not isinstance(teacher, Cached):
            teacher = _cached(part, teacher, steps, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        model = load_student(part, student, rendered.rows[:2])
        check_head(model, rendered.rows[0], len(tokenizer))
        cost = MixedCost(teacher=teacher, matching=part.matching, share=part.share, vocab=len(tokenizer))
        points = fitted(part, model, steps, tools, cost, part.kind)
        folder.save_student(model, student, aside, end_token(tokenizer))
    return figures(rendered, steps, points, time.monotonic() - began)


def _cached(part: WhiteBox, teacher: TeacherSignal, steps: Sequence[Sequence[Sequence[Row]]], scratch: Path) -> Cached:
    passes = [rows for step in steps for rows in step]
    capture(scratch / "signals", teacher, passes, part.top_k or 0)
    return Cached(scratch / "signals", teacher.origin)


@dataclass(frozen=True, kw_only=True)
class MixedCost:
    """Cross-entropy and divergence of a forward pass, by their shares."""

    teacher: TeacherSignal
    matching: Matching
    share: float
    vocab: int

    def weight(self, rows: Sequence[Row], pack: Pack) -> Tensor:
        """The summed weight of the tokens."""
        return pack.weights_S.sum()

    def total(self, model: Any, rows: Sequence[Row], pack: Pack) -> tuple[Tensor, Mapping[str, float]]:
        """The weighted sum over tokens of (1 - share) cross-entropy + share divergence; both parts beside it, unshared."""
        import torch

        head = Head.of(model, self.vocab)
        loss = mixed_of(pack.targets_S, self.teacher.signals(rows), self.matching)
        weights_S2 = torch.stack([(1 - self.share) * pack.weights_S, self.share * pack.weights_S], dim=-1)
        total, values_S2 = weighted_sum(hidden_states(model, pack), head, loss, weights_S2)
        nll, divergence = (values_S2 * pack.weights_S[:, None].to(values_S2.dtype)).sum(0).tolist()
        return total, {"nll": nll, "divergence": divergence}
