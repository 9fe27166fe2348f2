"""White-box distillation: the tokens of a trace, and beside them the teacher's whole distribution at each."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from stillwise.arrows import Divergence, Example, Tools, Trainer
from stillwise.errors import UserError
from stillwise.models.http_spec import HTTP_SCHEMES
from stillwise.models.open import split_binding
from stillwise.models.pieces import vocabulary_size
from stillwise.parts import Role
from stillwise.records import derive_seed
from stillwise.train import folder, loop, processes
from stillwise.train.excerpt import supervised
from stillwise.train.fields import Across, Fit, Optimiser, Supervised
from stillwise.train.fit import figures, fitted, load_student, planned, require_rows
from stillwise.train.flops import Size, size_of_model
from stillwise.train.losses.head import Head, weighted_sum
from stillwise.train.losses.mix import Matching, mixed_of
from stillwise.train.losses.topk import Support, TopK, moved
from stillwise.train.moments import moments
from stillwise.train.packing import Pack, hidden_states
from stillwise.train.render import Rendered, Row, end_token
from stillwise.train.rollout import Rollouts
from stillwise.train.signals.cache import Cached, capture
from stillwise.train.signals.source import Live, TeacherSignal, check_head

if TYPE_CHECKING:
    from torch import Tensor


WAIT_S = 0.2


class WhiteBox(Trainer, Fit, Supervised):
    """Cross-entropy mixed with a divergence to a teacher's distribution at every supervised token.

    On-Policy Distillation of Language Models, arXiv 2306.13649, §3 (supervised, and with `on_policy` its Algorithm 1); Hinton
    et al., arXiv 1503.02531. Teacher and student need one tokenizer; the teacher reads the student's rows, template included.
    """

    kind: ClassVar[str] = "white_box"
    student: Role = "student"
    """The role whose weights are trained."""
    teacher: Role = "reasoner"
    """The role whose distributions are matched: a local model, or (with a top k) a server that scores prompts."""
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
    """``live`` asks the teacher, local or served, for every pass; ``cached`` asks it once, before the first step, and reads
    from disk in every epoch (needs a top k)."""
    optimiser: Optimiser = "fresh"
    """``kept``: each stage goes on with the moments of AdamW of the stage before; ``fresh``: each begins with none."""
    on_policy: float = Field(default=0.0, ge=0, le=1)
    """The probability that a step learns from the student's own answers to its prompts (GKD's lambda). Such a step has no
    cross-entropy, its divergence keeps its share, and it is divided by the number of generated tokens."""
    across: Across | None = None
    """For a teacher with another tokenizer: what is compared in place of the divergence over tokens (``{kind: alm}``)."""
    rollout_temperature: float = Field(default=1.0, gt=0)
    """At which the student's own answers are drawn."""
    max_rollout_tokens: int = Field(default=1024, ge=1)
    """Longer answers are cut, and learnt without an end."""

    @model_validator(mode="after")
    def _own_answers_are_whole(self) -> Self:
        if self.on_policy and (self.keep < 1 or not self.span_weights.even):
            raise ValueError("on_policy learns from whole answers of the student; leave keep and span_weights as they are")
        return self

    @model_validator(mode="after")
    def _one_comparison(self) -> Self:
        if self.across and (self.top_k or self.on_policy or self.signals == "cached" or self.keep < 1):
            raise ValueError("across compares whole live distributions on whole rows; leave top_k, signals, on_policy and keep")
        return self

    def train(self, examples: Sequence[Example], student: Path, out: Path, tools: Tools) -> Mapping[str, Any]:
        """Writes the student, float32, at ``out`` and returns what `sft` does, and both parts of the loss."""
        with folder.quiet():
            tokenizer = folder.load_tokenizer(student)
            if self.across is not None:
                return _train_across(self, self.across, self._folder(tools), examples, student, out, tools)
            teacher = self._teacher(tools, tokenizer)
            return train_with(self, teacher, examples, student, out, tools)

    def _folder(self, tools: Tools) -> Path:
        path = tools.folders.get(self.teacher)
        if path is None:
            raise UserError(
                f"the teacher role {self.teacher!r} needs a local model here (a transformers folder or a hub id), or a server "
                "that scores prompts (vLLM) and a top_k"
            )
        return path

    def _teacher(self, tools: Tools, tokenizer: Any) -> TeacherSignal:
        if self.signals == "cached" and self.top_k is None:
            raise UserError("cached signals hold a top k: set top_k on the trainer (64 is a good start)")
        if self.signals == "cached" and self.on_policy:
            raise UserError("the student's own answers are new in every step, so no signals can be cached; set signals: live")
        binding = tools.site.models.get(self.teacher, "")
        if self.teacher not in tools.folders and split_binding(binding)[0] in HTTP_SCHEMES:
            from stillwise.train.signals.served import served

            if self.top_k is None:
                raise UserError("a server gives its likeliest tokens only: set top_k on the trainer (20, or what it allows)")
            return served(binding, tokenizer, self.top_k)
        return Live(self._folder(tools), tokenizer, self.top_k)

    def rollouts(self, tokenizer: Any, seed: int) -> Rollouts | None:
        """How the student's own answers are drawn, or None where no step is on-policy."""
        if not self.on_policy:
            return None
        if processes.sharded():
            raise UserError(
                "the student's own answers are drawn from whole weights; set on_policy: 0, or train without FSDP's shards"
            )
        end = end_token(tokenizer)
        pad = end if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
        return Rollouts(
            share=self.on_policy,
            temperature=self.rollout_temperature,
            max_tokens=self.max_rollout_tokens,
            end=end,
            pad=pad,
            seed=seed,
            vocab=vocabulary_size(tokenizer),
        )

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
        rendered = supervised(part, part.max_length, examples, tokenizer)
        require_rows(rendered.rows, rendered.dropped)
        steps = planned(part, [[row] for row in rendered.rows], derive_seed(tools.seed, tools.step))
        teacher_size = size_of_model(teacher.model) if isinstance(teacher, Live) else None
        if part.signals == "cached" and not isinstance(teacher, Cached):
            kept = tools.site.kept or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            teacher = _cached(part, teacher, steps, kept, shared=tools.site.kept is not None)
        model = load_student(part, student, rendered.rows[:2], derive_seed(tools.seed, tools.step))
        check_head(model, rendered.rows[0], vocabulary_size(tokenizer))
        cost = MixedCost(
            teacher=teacher,
            teacher_size=teacher_size,
            matching=part.matching,
            share=part.share,
            vocab=vocabulary_size(tokenizer),
            rollouts=part.rollouts(tokenizer, derive_seed(tools.seed, tools.step, part.kind)),
        )
        points = fitted(part, model, steps, tools, cost, part.kind, moments(part.optimiser, student, out))
        folder.save_student(model, student, aside, end_token(tokenizer))
    own = {"on_policy_steps": len(cost.drawn), "generated_tokens": sum(cost.drawn.values())} if part.on_policy else {}
    return {**figures(rendered, steps, points, time.monotonic() - began), **own}


def _train_across(
    part: WhiteBox, across: Across, teacher: Path, examples: Sequence[Example], student: Path, out: Path, tools: Tools
) -> dict[str, Any]:
    """What ``WhiteBox.train`` does with a teacher of another tokenizer."""
    from stillwise.train.across import AcrossCost, twins

    began, seed = time.monotonic(), derive_seed(tools.seed, tools.step)
    with folder.quiet(), folder.whole_folder(out) as aside:
        tokenizer, other = folder.load_tokenizer(student), folder.load_tokenizer(teacher)
        rendered = supervised(part, part.max_length, examples, tokenizer)
        found, apart = twins(rendered.rows, examples, tokenizer, other)
        rows = tuple(row for row in rendered.rows if row.id in found)
        rendered = Rendered(rows=rows, dropped={**rendered.dropped, **apart}, cut=rendered.cut)
        require_rows(rows, rendered.dropped)
        steps = planned(part, [[row] for row in rows], seed)
        model, live = load_student(part, student, rows[:2], seed), Live(teacher, other)
        check_head(model, rows[0], vocabulary_size(tokenizer))
        cost = AcrossCost(
            teacher=live,
            teacher_size=size_of_model(live.model),
            across=across,
            twins=found,
            share=part.share,
            vocab=vocabulary_size(tokenizer),
        )
        points = fitted(part, model, steps, tools, cost, part.kind, moments(part.optimiser, student, out))
        folder.save_student(model, student, aside, end_token(tokenizer))
    groups = sum(len(found[row.id].groups) for row in rows)
    return {**figures(rendered, steps, points, time.monotonic() - began), "groups": groups}


def _cached(
    part: WhiteBox, teacher: TeacherSignal, steps: Sequence[Sequence[Sequence[Row]]], kept: Path, shared: bool
) -> Cached:
    """A cache of the teacher's word on all rows: found where a killed training left it, else captured (by one process if
    shared)."""
    path = kept / "signals"
    if not path.is_dir() and (processes.rank() == 0 or not shared):
        capture(path, teacher, [rows for step in steps for rows in step], part.top_k or 0)
    while not path.is_dir():
        time.sleep(WAIT_S)
    return Cached(path, teacher.origin)


@dataclass(frozen=True, kw_only=True)
class MixedCost(loop.Cost):
    """Cross-entropy and divergence of a forward pass, by their shares."""

    teacher: TeacherSignal
    matching: Matching
    share: float
    vocab: int
    rollouts: Rollouts | None = None
    teacher_size: Size | None = None
    """None where the teacher is no model of this machine."""
    drawn: dict[int, int] = field(default_factory=dict)
    """Generated tokens of each on-policy step; the step at hand is the last one that was asked for."""
    current: list[int] = field(default_factory=lambda: [-1])

    def passes(self, model: Any, step: loop.Step, number: int) -> loop.Step:
        """The planned rows, or in an on-policy step the student's own answers in their place."""
        self.current[0] = number
        if self.rollouts is None or not self.rollouts.wanted(number):
            return step
        rows = self.rollouts.of(model, [row for part in step for row in part], number)
        # Rows without weight only keep the processes in step.
        own = {"tokens": float(sum(row.num_learnt for row in rows if row.weight))}
        self.drawn[number] = round(processes.meant(own, model.device)["tokens"] * processes.count())
        fresh = iter(rows)
        return [list(islice(fresh, len(part))) for part in step]

    def state(self) -> Mapping[str, Any]:
        """The generated tokens of the on-policy steps so far."""
        return {"drawn": sorted(self.drawn.items())}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes them up again."""
        self.drawn.update({int(step): int(tokens) for step, tokens in state["drawn"]})

    def operations(self, size: Size, rows: Sequence[Row]) -> float:
        """The teacher's pass (charged for cached signals too: they were computed), and drawing the student's own answers."""
        seen = self.teacher_size.forward(len(row.ids) for row in rows) if self.teacher_size else 0
        own = self.current[0] in self.drawn
        return float(seen + (size.forward(len(row.ids) for row in rows) if own else 0))

    def weight(self, rows: Sequence[Row], pack: Pack) -> Tensor:
        """The summed weight of the tokens."""
        return pack.weights_S.sum()

    def total(self, model: Any, rows: Sequence[Row], pack: Pack) -> tuple[Tensor, Mapping[str, float]]:
        """The weighted sum over tokens of (1 - share) cross-entropy + share divergence; both parts beside it, unshared."""
        import torch

        head = Head.of(model, self.vocab)
        heard = self.teacher.signals(rows)
        heard = moved(heard, pack.targets_S.device) if isinstance(heard, TopK) else heard
        loss = mixed_of(pack.targets_S, heard, self.matching)
        own = self.current[0] in self.drawn
        weights_S2 = torch.stack([(0 if own else 1 - self.share) * pack.weights_S, self.share * pack.weights_S], dim=-1)
        total, values_S2 = weighted_sum(hidden_states(model, pack), head, loss, weights_S2)
        nll, divergence = (values_S2 * pack.weights_S[:, None].to(values_S2.dtype)).sum(0).tolist()
        return total, {"nll": nll, "divergence": divergence}
