"""White-box distillation from a teacher with another tokenizer: both read one answer, and are compared where it is cut alike.

The teacher reads the answer behind its own template. A group is the shortest stretch of bytes that both tokenisations cut at
both ends; what only one template writes (an opened thought) is in no group, and the two end tokens make one.

Dimensions: S the student's supervised tokens, Q the teacher's, G groups, H hidden width, V vocabulary.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from stillwise.arrows import Example
from stillwise.train import loop
from stillwise.train.alignment import Group, aligned, byte_table, token_bytes
from stillwise.train.fields import Across
from stillwise.train.flops import Size
from stillwise.train.losses.cross_entropy import cross_entropy, token_logprobs
from stillwise.train.losses.cross_tokenizer import alm, uld
from stillwise.train.losses.divergence import log_probs
from stillwise.train.losses.head import BlockLoss, Head, TokenLoss, weighted_sum
from stillwise.train.losses.mix import Hidden
from stillwise.train.packing import Pack, hidden_states
from stillwise.train.render import Row, render
from stillwise.train.signals.source import Live

if TYPE_CHECKING:
    from torch import Tensor

END = b"\xff end"
"""Stands for either side's end token; no text holds this byte."""


@dataclass(frozen=True, slots=True)
class Twin:
    """The teacher's reading of a row, and the groups of both sides' supervised tokens, each counted from its own first one."""

    theirs: Row
    groups: tuple[Group, ...]


def twins(
    rows: Sequence[Row], examples: Sequence[Example], student: Any, teacher: Any
) -> tuple[dict[str, Twin], dict[str, str]]:
    """A twin for each row, and ``not_aligned`` for rows whose texts differ in bytes (a tokenizer that changes text)."""
    wanted = {row.id: row for row in rows}
    held = [example for example in examples if example.id in wanted]
    whole = {row.id: row for row in render(held, student, sys.maxsize).rows}
    theirs = {row.id: row for row in render(held, teacher, sys.maxsize).rows}
    tables = byte_table(student), byte_table(teacher)
    found: dict[str, Twin] = {}
    for name, row in wanted.items():
        other = theirs.get(name)
        groups = None if other is None else _groups(_pieces(whole[name], tables[0]), _pieces(other, tables[1]))
        if other is not None and groups is not None:
            found[name] = Twin(other, _within(row, whole[name].start, groups))
    return found, {name: "not_aligned" for name in wanted if name not in found}


def _pieces(row: Row, table: Mapping[int, bytes]) -> list[bytes]:
    return [*token_bytes(table, row.ids[row.start : -1]), END]


def _groups(ours: list[bytes], theirs: list[bytes]) -> list[Group] | None:
    """Groups of the text that both have; None where neither text is the other's end."""
    mine, yours = b"".join(ours), b"".join(theirs)
    if not (mine.endswith(yours) or yours.endswith(mine)):
        return None
    # What the shorter side's template wrote already stands there as one token, whose group is left out.
    ahead = mine[: max(0, len(mine) - len(yours))], yours[: max(0, len(yours) - len(mine))]
    pads = int(bool(ahead[1])), int(bool(ahead[0]))
    found = aligned([ahead[1], *ours][1 - pads[0] :], [ahead[0], *theirs][1 - pads[1] :])
    moved = [_moved(group, -pads[0], -pads[1]) for group in found]
    return [group for group in moved if group.ours[0] >= 0 and group.theirs[0] >= 0]


def _moved(group: Group, ours: int, theirs: int) -> Group:
    (a, b), (c, d) = group.ours, group.theirs
    return Group((a + ours, b + ours), (c + theirs, d + theirs))


def _within(row: Row, answer: int, groups: Sequence[Group]) -> tuple[Group, ...]:
    """The groups that the row's supervised tokens hold whole, counted from the first of these."""
    moved = [_moved(group, answer - row.start, 0) for group in groups]
    return tuple(group for group in moved if group.ours[0] >= 0 and group.ours[1] <= row.num_learnt)


@dataclass(frozen=True, kw_only=True)
class AcrossCost(loop.Cost):
    """Cross-entropy of the student's tokens, and what its groups differ in from the teacher's, by their shares.

    A group weighs as much as its tokens do in the cross-entropy.
    """

    teacher: Live
    teacher_size: Size
    across: Across
    twins: Mapping[str, Twin]
    share: float
    vocab: int

    def operations(self, size: Size, rows: Sequence[Row]) -> float:
        """The teacher's pass over its own rows."""
        return float(self.teacher_size.forward(len(self.twins[row.id].theirs.ids) for row in rows))

    def weight(self, rows: Sequence[Row], pack: Pack) -> Tensor:
        """The summed weight of the tokens."""
        return pack.weights_S.sum()

    def total(self, model: Any, rows: Sequence[Row], pack: Pack) -> tuple[Tensor, Mapping[str, float]]:
        """The weighted sum of (1 - share) cross-entropy + share times the groups' loss; both parts beside it, unshared."""
        groups = self._groups(rows)
        theirs = [self.twins[row.id].theirs for row in rows]
        heard = self.teacher.signals(theirs)
        assert isinstance(heard, Hidden)
        head, hidden_SH = Head.of(model, self.vocab), hidden_states(model, pack)
        weights_G = _sums(pack.weights_S, [group.ours for group in groups])
        if self.across.kind == "uld":
            nll = cross_entropy(hidden_SH, head, pack.targets_S, pack.weights_S)[0]
            apart = _uld_sum(hidden_SH, head, heard, groups, weights_G)
        else:
            logprobs_S = token_logprobs(hidden_SH, head, pack.targets_S)
            nll = -(pack.weights_S * logprobs_S).sum()
            apart = (weights_G * self._alm(logprobs_S, theirs, heard, groups)).sum()
        beside = {"nll": float(nll.detach()), "divergence": float(apart.detach())}
        return (1 - self.share) * nll + self.share * apart, beside

    def _groups(self, rows: Sequence[Row]) -> list[Group]:
        """The groups of all rows, counted from the first row's first supervised token on each side."""
        held = [self.twins[row.id] for row in rows]
        ours = accumulate((row.num_learnt for row in rows), initial=0)
        theirs = accumulate((twin.theirs.num_learnt for twin in held), initial=0)
        return [_moved(group, a, b) for twin, a, b in zip(held, ours, theirs, strict=False) for group in twin.groups]

    def _alm(self, logprobs_S: Tensor, theirs: Sequence[Row], heard: Hidden, groups: Sequence[Group]) -> Tensor:
        import torch

        targets_Q = torch.tensor([token for row in theirs for token in row.ids[row.start :]], device=logprobs_S.device)
        with torch.no_grad():
            logprobs_Q = token_logprobs(heard.hidden_NH, heard.head, targets_Q)
        one = _sums(logprobs_Q, [group.theirs for group in groups])
        other = _sums(logprobs_S, [group.ours for group in groups])
        return self.across.temperature * alm(one, other, self.across.temperature)


def _sums(values: Tensor, bounds: Sequence[tuple[int, int]]) -> Tensor:
    """Sums (G,) over half-open ranges that do not overlap."""
    import torch

    places = torch.tensor([at for begin, end in bounds for at in range(begin, end)], dtype=torch.long, device=values.device)
    owners = [number for number, (begin, end) in enumerate(bounds) for _ in range(begin, end)]
    return values.new_zeros(len(bounds)).index_add(
        0, torch.tensor(owners, dtype=torch.long, device=values.device), values[places]
    )


def _uld_sum(hidden_SH: Tensor, head: Head, heard: Hidden, groups: Sequence[Group], weights_G: Tensor) -> Tensor:
    """Weighted sum over groups of the distance between the distributions at their first tokens: both have read equal bytes."""
    ours = [group.ours[0] for group in groups]
    theirs = [group.theirs[0] for group in groups]
    return weighted_sum(hidden_SH[ours], head, _uld_loss(heard.hidden_NH[theirs], heard.head), weights_G)[0]


def _uld_loss(hidden_GH: Tensor, head: Head) -> TokenLoss:
    full = head.detached().in_full()

    def chunk(part: slice) -> BlockLoss:
        raw_CV = full.raw(hidden_GH[part].detach())
        return lambda logits_BV, rows: uld(log_probs(full.shaped(raw_CV[rows])), log_probs(logits_BV))

    return chunk
