"""How a policy is trained: answers and rewards at each step, advantages by group, one clipped update or several.

Dimensions: S tokens of a pass's answers.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path
from random import Random
from statistics import fmean
from typing import TYPE_CHECKING, Any

from stillwise.arrows import Example, Tools
from stillwise.errors import UserError
from stillwise.models.pieces import vocabulary_size
from stillwise.models.reward import forget_reward_models
from stillwise.records import Finish, Sampling, derive_seed
from stillwise.runtime.progress import silent
from stillwise.train import folder, loop, processes
from stillwise.train.fit import figures, fitted, load_student, require_rows
from stillwise.train.flops import Size
from stillwise.train.grpo_draw import Answer, Drawer, Prompt, prompts
from stillwise.train.grpo_fields import GroupFit
from stillwise.train.losses.cross_entropy import token_logprobs
from stillwise.train.losses.head import Head
from stillwise.train.losses.policy import advantages, clipped_ratio, flat, k3
from stillwise.train.packing import Pack, bare, epoch_order, filled, hidden_states
from stillwise.train.render import Rendered, Row, end_token
from stillwise.train.signals.source import check_head

if TYPE_CHECKING:
    from torch import Tensor

KIND = "grpo"
DRAWN = ("groups", "flat_groups", "refilled", "answers", "unscored")
"""Figures of what a step drew, 0 where it learns again from the answers of the step before."""
COUNTS = (*DRAWN, "learnt_tokens")
"""Figures of a step that add up over steps."""


def train_policy(part: GroupFit, examples: Sequence[Example], student: Path, out: Path, tools: Tools) -> dict[str, Any]:
    """What ``GRPO.train`` does."""
    if processes.sharded():
        raise UserError("a policy's answers are drawn by each process from whole weights; train it without FSDP's shards")
    began = time.monotonic()
    with folder.quiet(), folder.whole_folder(out) as aside:
        tokenizer = folder.load_tokenizer(student)
        end = end_token(tokenizer)
        asked, dropped = prompts(examples, tokenizer, part.max_length - part.max_tokens)
        require_rows(asked, dropped)
        seed = derive_seed(tools.seed, tools.step, KIND)
        steps = planned(part, [prompt.row for prompt in asked], seed)
        model = load_student(part, student, [prompt.row for prompt in asked[:2]], seed)
        check_head(model, asked[0].row, vocab := vocabulary_size(tokenizer))
        sampling = Sampling(temperature=part.temperature, top_p=1.0, max_tokens=part.max_tokens)
        cost = GroupCost(
            part=part,
            drawer=Drawer.of(bare(model), tokenizer, end, sampling, part.student, tools.step),
            prompts={prompt.row.id: prompt for prompt in asked},
            # Of rewards that score no bar is shown: the training has its own.
            tools=replace(tools, progress=silent),
            seed=seed,
            vocab=vocab,
            reference=reference_of(model) if part.beta else None,
        )
        points = fitted(part, model, steps, tools, cost, KIND)
        folder.save_student(model, student, aside, end)
    forget_reward_models()
    rendered = Rendered(rows=tuple(prompt.row for prompt in asked), dropped=dropped)
    return {**figures(rendered, steps, points, time.monotonic() - began), **told(points)}


def planned(part: GroupFit, rows: Sequence[Row], seed: int) -> list[list[list[Row]]]:
    """Optimiser steps, each the problems that are answered for it, one to a pass; ``updates`` steps share theirs."""
    batches = _batches(part, rows, seed)
    if part.steps is None:
        return [batch for batch in batches for _ in range(part.updates)]
    return list(islice((batch for batch in batches for _ in range(part.updates)), part.steps))


def _batches(part: GroupFit, rows: Sequence[Row], seed: int) -> Iterator[list[list[Row]]]:
    for epoch in count() if part.steps else range(part.epochs):
        order = epoch_order(len(rows), epoch, part.order, seed)
        for begin in range(0, len(order), part.problems_per_step):
            yield [[rows[place]] for place in order[begin : begin + part.problems_per_step]]


def reference_of(model: Any) -> Any:
    """A frozen copy of the model as it is."""
    found = copy.deepcopy(model).eval()
    found.requires_grad_(False)
    return found


@dataclass(frozen=True, slots=True)
class Group:
    """The answers to one problem whose rewards are known."""

    prompt: Prompt
    answers: tuple[Answer, ...]
    rewards: tuple[float, ...]


@dataclass(slots=True)
class Taught:
    """What an answer's tokens are trained with."""

    advantage: float
    old: list[float] | None = None
    """Log-probabilities under the policy that drew it; None until the first update has computed them."""


@dataclass(kw_only=True)
class GroupCost(loop.Cost):
    """Draws and values answers before the forward passes of a step, then costs them."""

    part: GroupFit
    drawer: Drawer
    prompts: Mapping[str, Prompt]
    tools: Tools
    seed: int
    vocab: int
    """Ids from here on are padding of the head."""
    reference: Any | None = None
    taught: dict[str, Taught] = field(default_factory=dict)
    held: list[list[Row]] = field(default_factory=list)
    seen: dict[str, float] = field(default_factory=dict)
    first: int = 0
    """Answers that this process drew for the step before any refill."""
    drawn: list[int] = field(default_factory=list)
    """Lengths of the answers drawn since the last count of operations, prompts included."""

    def passes(self, model: Any, step: loop.Step, number: int) -> loop.Step:
        """The student's own answers in the place of the problems; those of the update before where they serve for several."""
        if number % self.part.updates:
            # What was drawn is told once; what is learnt is learnt again.
            self.seen.update(dict.fromkeys(DRAWN, 0.0))
            return self.held
        asked = [self.prompts[row.id] for rows in step for row in rows if row.weight > 0]
        groups = self._groups(model, asked, number)
        rows = self._rows([group for group in groups if not flat(group.rewards)])
        self.seen["learnt_tokens"] = float(sum(row.num_learnt for row in rows))
        spare = [replace(row, start=len(row.ids) - 1, weight=0.0) for row in step[0][:1]]
        lengths = [len(row.ids) for row in rows]
        packs = filled(lengths, range(len(rows)), self.part.micro_batch_tokens if self.part.packing else 1)
        self.held = _even([[rows[i] for i in pack] for pack in packs], spare)
        self.taught.update({row.id: Taught(0.0) for row in spare})
        return self.held

    def _groups(self, model: Any, asked: Sequence[Prompt], number: int) -> list[Group]:
        """Every problem's group; with refills, groups without spread give way to those of other problems."""
        # A process without a problem of its own tells the same figures as the others, or they would not add up.
        self.seen, self.first = dict.fromkeys([*COUNTS, *self._means()], 0.0), 0
        groups = self._valued(model, asked, number, 0)
        for turn in range(1, self.part.refills + 1):
            wanted = sum(flat(group.rewards) for group in groups)
            others = self._others({group.prompt.row.id for group in groups}, wanted, number, turn)
            if not others:
                break
            self.seen["refilled"] += len(others)
            groups += self._valued(model, others, number, turn)
        return groups

    def _others(self, used: set[str], wanted: int, number: int, turn: int) -> list[Prompt]:
        left = [prompt for name, prompt in self.prompts.items() if name not in used]
        return Random(derive_seed(self.seed, "refill", number, turn)).sample(left, min(wanted, len(left)))

    def _valued(self, model: Any, asked: Sequence[Prompt], number: int, turn: int) -> list[Group]:
        drawn = [
            (prompt, index, derive_seed(self.seed, "answer", number, turn, prompt.row.id, index))
            for prompt in asked
            for index in range(self.part.group_size)
        ]
        if not drawn:
            return []
        answers = self.drawer.draw(model, drawn, number)
        self.drawn += [len(prompt.row.ids) + len(answer.ids) for (prompt, _, _), answer in zip(drawn, answers, strict=True)]
        pairs = [(prompt.problem, answer.trace) for (prompt, _, _), answer in zip(drawn, answers, strict=True)]
        columns = [reward.values(pairs, self.tools) for reward in self.part.rewards]
        totals = [summed(self.part, values) for values in zip(*columns, strict=True)]
        size = self.part.group_size
        groups = [_known(p, answers[i * size : (i + 1) * size], totals[i * size : (i + 1) * size]) for i, p in enumerate(asked)]
        self._note(groups, answers, totals, columns)
        return groups

    def _note(
        self, groups: Sequence[Group], answers: Sequence[Answer], totals: Sequence[float | None], columns: Sequence[Any]
    ) -> None:
        """Adds to the step's figures; means are over its first answers, before any refill."""
        counted = {
            "groups": len(groups),
            "flat_groups": sum(flat(group.rewards) for group in groups),
            "answers": len(answers),
            "unscored": sum(total is None for total in totals),
        }
        self.seen.update({name: self.seen[name] + value for name, value in counted.items()})
        if self.first:
            return
        self.first = len(answers)
        self.seen["reward"] = _mean(totals)
        self.seen["tokens"] = fmean(len(answer.ids) for answer in answers)
        self.seen["truncated"] = fmean(answer.trace.finish is Finish.LENGTH for answer in answers)
        self.seen.update({f"reward_{name}": _mean(values) for name, values in zip(names(self.part), columns, strict=True)})

    def _means(self) -> list[str]:
        """Figures that are means over the step's first answers."""
        return ["reward", "tokens", "truncated", *(f"reward_{name}" for name in names(self.part))]

    def _rows(self, groups: Sequence[Group]) -> list[Row]:
        """Rows of all answers, their advantages noted."""
        self.taught.clear()
        rows: list[Row] = []
        for group, values in zip(groups, advantages([g.rewards for g in groups], self.part.scaling), strict=True):
            prompt = group.prompt.row
            for answer, advantage in zip(group.answers, values, strict=True):
                name = f"{prompt.id}/{answer.trace.sample_index}"
                self.taught[name] = Taught(advantage)
                weight = self._token_weight(len(answer.ids))
                rows.append(Row(id=name, ids=(*prompt.ids, *answer.ids), start=len(prompt.ids), weight=weight))
        return rows

    def _token_weight(self, length: int) -> float:
        return {"sequence": 1 / length, "token": 1.0, "constant": 1 / self.part.max_tokens}[self.part.pooling]

    def weight(self, rows: Sequence[Row], pack: Pack) -> Tensor:
        """The number of answers, or of their tokens."""
        taught = [row for row in rows if row.weight > 0]
        return pack.weights_S.new_tensor(
            float(sum(row.num_learnt for row in taught) if self.part.pooling == "token" else len(taught))
        )

    def total(self, model: Any, rows: Sequence[Row], pack: Pack) -> tuple[Tensor, Mapping[str, float]]:
        """The weighted sum over tokens of the clipped loss and, with a reference, beta times the KL; both kinds beside it."""
        mine_S = self._logprobs(model, pack)
        old_S, bounds = self._old(mine_S, rows), (self.part.clip_low, self.part.clip_high)
        losses_S, clipped_S = clipped_ratio(mine_S, old_S, self._advantages(rows, pack), *bounds)
        beside = {"clipped": float((clipped_S * pack.weights_S).sum())}
        if self.reference is not None:
            kl_S = k3(mine_S, self._reference_logprobs(pack))
            kl_S = kl_S * (mine_S - old_S).exp() if self.part.corrected_kl else kl_S
            losses_S = losses_S + self.part.beta * kl_S
            beside["kl"] = float((kl_S.detach() * pack.weights_S).sum())
        return (losses_S * pack.weights_S).sum(), beside

    def _logprobs(self, model: Any, pack: Pack) -> Tensor:
        head = Head.of(model, self.vocab)
        if head.softcap and self.part.temperature != 1:
            raise UserError("log-probabilities at a temperature other than 1 are not known for a head with a softcap")
        warm = replace(head, scale=head.scale / self.part.temperature)
        return token_logprobs(hidden_states(model, pack), warm, pack.targets_S)

    def _reference_logprobs(self, pack: Pack) -> Tensor:
        import torch

        with torch.no_grad():
            return self._logprobs(self.reference, pack)

    def _old(self, mine_S: Tensor, rows: Sequence[Row]) -> Tensor:
        """Log-probabilities under the policy that drew the answers: at the first update those of this very pass."""
        import torch

        if self.part.updates == 1:
            return mine_S.detach()
        lengths = [row.num_learnt for row in rows]
        for row, own in zip(rows, torch.split(mine_S.detach(), lengths), strict=True):
            if self.taught[row.id].old is None:
                self.taught[row.id].old = own.tolist()
        return torch.cat([mine_S.new_tensor(self.taught[row.id].old) for row in rows])

    def _advantages(self, rows: Sequence[Row], pack: Pack) -> Tensor:
        values = [value for row in rows for value in [self.taught[row.id].advantage] * row.num_learnt]
        return pack.weights_S.new_tensor(values)

    def operations(self, size: Size, rows: Sequence[Row]) -> float:
        """Drawing answers, those of flat groups too, and the reference's pass; what rewards compute is not counted."""
        drawing = size.forward(self.drawn)
        self.drawn.clear()
        return drawing + (size.forward(len(row.ids) for row in rows if row.weight > 0) if self.reference is not None else 0.0)

    def beside(self) -> Mapping[str, float]:
        """Rewards, lengths and counts of the answers that the step learnt from.

        Processes are averaged, so each says its own counts times their number, and its means by its share of the answers.
        """
        answers = processes.meant({"answers": float(self.first)}, processes.device())["answers"]
        share = self.first / answers if answers else 0.0
        return {name: value * (processes.count() if name in COUNTS else share) for name, value in self.seen.items()}

    def state(self) -> Mapping[str, Any]:
        """The answers that further updates will learn from; nothing where each update has its own."""
        if self.part.updates == 1:
            return {}
        rows = [[[row.id, row.ids, row.start, row.weight] for row in held] for held in self.held]
        taught = {name: [each.advantage, each.old] for name, each in self.taught.items()}
        return {"rows": rows, "taught": taught, "seen": self.seen, "first": self.first}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes these answers up."""
        if not state:
            return
        self.held = [[Row(i, tuple(ids), start, weight) for i, ids, start, weight in held] for held in state["rows"]]
        self.taught = {name: Taught(*each) for name, each in state["taught"].items()}
        self.seen, self.first = dict(state["seen"]), state["first"]


def summed(part: GroupFit, values: Sequence[float | None]) -> float | None:
    """Equation 3: the sum of the rewards times their weights; None where one that counts is not known."""
    counted = [(reward.weight, value) for reward, value in zip(part.rewards, values, strict=True) if reward.weight]
    known = [(weight, value) for weight, value in counted if value is not None]
    return sum(weight * value for weight, value in known) if len(known) == len(counted) else None


def names(part: GroupFit) -> list[str]:
    """What each reward is called in figures; a number behind a word that came before."""
    words = [reward.name or reward.kind for reward in part.rewards]
    return [f"{word}_{words[:i].count(word) + 1}" if word in words[:i] else word for i, word in enumerate(words)]


def _known(prompt: Prompt, answers: Sequence[Answer], totals: Sequence[float | None]) -> Group:
    held = [(answer, total) for answer, total in zip(answers, totals, strict=True) if total is not None]
    return Group(prompt, tuple(answer for answer, _ in held), tuple(total for _, total in held))


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return fmean(known) if known else 0.0


def told(points: Sequence[loop.Point]) -> dict[str, Any]:
    """Counts over the whole training, and a curve of each other figure: [step, value] pairs."""
    curves = sorted({name for point in points for name in point.figures if name not in COUNTS})
    thin = points[:: max(1, len(points) // 200)]
    counts = {name: int(sum(point.figures.get(name, 0) for point in points)) for name in COUNTS}
    return {
        **counts,
        "supervised_tokens": counts["learnt_tokens"],
        "policy_curves": {name: [[p.step, p.figures[name]] for p in thin if name in p.figures] for name in curves},
    }


def _even(passes: list[list[Row]], spare: list[Row]) -> list[list[Row]]:
    """As many passes on every process as the one with most has, one at least: they meet in every pass."""
    import torch
    from torch import distributed

    most = torch.tensor(max(1, len(passes)))
    if processes.count() > 1:
        most = most.to(processes.device())
        distributed.all_reduce(most, op=distributed.ReduceOp.MAX)
    return [*passes, *[spare] * (int(most) - len(passes))]
