"""The decode loop: one fixed batch of requests served by a limited number of live rows.

Finished rows leave the computation: while requests wait, their slots are refilled; after that, the rows are compacted. What
happens when is a function of the batch and of what the model says, so an equal batch gives equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stillwise.models.bans import Guard
from stillwise.models.choose import Knobs, choose
from stillwise.models.pieces import token_pieces, vocabulary_size
from stillwise.models.window import PromptCache, WindowCache
from stillwise.records import Finish, Sampling

if TYPE_CHECKING:
    from torch import Tensor

# B slots, N rows of one forward or one draw, P prompt columns, V vocabulary

_PREFILL_TOKENS = 16384
"""Padded prompt tokens of one prefill forward at most, unless one prompt alone is longer."""


@dataclass
class Row:
    """One request on its way: the prompt's tokens, its settings, and what was generated."""

    prompt: list[int]
    sampling: Sampling
    limit: int
    """Tokens to generate at most: the request's own limit, or what the model's positions leave."""
    uniform: Iterator[float]
    guard: Guard | None = None
    tokens: list[int] = field(default_factory=list)
    tail: bytes = b""
    """The end of the decoded text, as long as the longest stop string needs."""
    finish: Finish | None = None

    @property
    def last(self) -> bool:
        """Whether the next token is the last that the limit allows."""
        return len(self.tokens) == self.limit - 1


@dataclass(frozen=True)
class Vocabulary:
    """What the loop needs to know of tokens."""

    pieces: Sequence[bytes]
    """One for each id that may be drawn; the output layer's rows beyond them are padding."""
    eos: frozenset[int]
    pad: int

    @classmethod
    def of(cls, tokenizer: Any, rows: int, eos: Iterable[int | None]) -> Vocabulary:
        """Of a tokenizer and an output layer of so many rows, with the ids that may end an answer."""
        pieces = token_pieces(tokenizer, min(rows, vocabulary_size(tokenizer)))
        ends = frozenset(i for i in eos if i is not None and i < len(pieces))
        return cls(pieces=pieces, eos=ends, pad=0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


@dataclass
class Loop:
    """Decodes rows in order of arrival with at most ``live`` of them in the computation."""

    model: Any
    vocabulary: Vocabulary
    rows: Sequence[Row]
    live: int

    def __post_init__(self) -> None:
        self._waiting = iter(range(len(self.rows)))
        self._left = len(self.rows)
        longest = max(len(row.prompt) for row in self.rows)
        slots = min(self.live, len(self.rows))
        self._cache = WindowCache(slots, longest, self.model.dtype, self.model.device)
        self._held: list[Row | None] = [None] * slots
        self._masks: dict[int, Tensor] = {}

    def run(self) -> None:
        """Fills every row's tokens and finish reason."""
        import torch

        with torch.inference_mode():
            while self._refill() or any(self._held):
                self._compact()
                if any(self._held):
                    self._step()

    def _refill(self) -> bool:
        """Admit waiting rows once an eighth of the slots is free; whether any was admitted."""
        free = [slot for slot, row in enumerate(self._held) if row is None]
        if not self._left or (len(free) < max(1, len(self._held) // 8) and len(free) < self._left):
            return False
        slots = free[: self._left]
        rows = [self.rows[next(self._waiting)] for _ in slots]
        self._left -= len(slots)
        for part in _parts(rows):
            self._prefill(slots[part], rows[part])
        return True

    def _prefill(self, slots: list[int], rows: list[Row]) -> None:
        import torch

        lengths = [len(row.prompt) for row in rows]
        width = max(lengths)
        padded = [[self.vocabulary.pad] * (width - len(row.prompt)) + row.prompt for row in rows]
        ids_NP = torch.tensor(padded, device=self.model.device)
        start_N = width - torch.tensor(lengths, device=self.model.device)
        prompts = PromptCache()
        logits_NV = self._forward(ids_NP, prompts, _prompt_mask(start_N, width, self.model.dtype), _positions(start_N, width))
        self._cache.admit(slots, lengths, prompts)
        for slot, row in zip(slots, rows, strict=True):
            self._held[slot] = row
        self._append(slots, logits_NV)

    def _forward(self, ids_NP: Tensor, cache: PromptCache | WindowCache, mask: Tensor, positions_NP: Tensor) -> Tensor:
        answer = self.model(
            input_ids=ids_NP,
            attention_mask=mask,
            position_ids=positions_NP,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits_NV: Tensor = answer.logits[:, -1, : len(self.vocabulary.pieces)]
        return logits_NV

    def _step(self) -> None:
        """One token for every live row; the slots between them are computed along and ignored."""
        import torch

        ids = [row.tokens[-1] if row else self.vocabulary.pad for row in self._held]
        positions = [len(row.prompt) + len(row.tokens) - 1 if row else 0 for row in self._held]
        here_2B = torch.tensor([ids, positions], device=self.model.device)
        logits_BV = self._forward(here_2B[0, :, None], self._cache, self._cache.mask, here_2B[1, :, None])
        living = [slot for slot, row in enumerate(self._held) if row]
        self._cache.advance(living)
        self._append(living, logits_BV if len(living) == len(self._held) else logits_BV[living])

    def _append(self, slots: list[int], logits_NV: Tensor) -> None:
        rows = [row for slot in slots if (row := self._held[slot])]
        self._forbid(rows, logits_NV)
        for slot, row, token in zip(slots, rows, self._chosen(rows, logits_NV), strict=True):
            if self._finished(row, token):
                self._held[slot] = None

    def _forbid(self, rows: list[Row], logits_NV: Tensor) -> None:
        import torch

        masks = [(n, mask) for n, row in enumerate(rows) if row.guard and (mask := row.guard.forbidden(row.last)) is not None]
        if not masks:
            return
        for _, mask_V in masks:
            if id(mask_V) not in self._masks:
                self._masks[id(mask_V)] = torch.from_numpy(mask_V).to(logits_NV.device)
        forbidden_NV = torch.stack([self._masks[id(mask_V)] for _, mask_V in masks])
        index_N = torch.tensor([n for n, _ in masks], device=logits_NV.device)
        logits_NV[index_N] = logits_NV[index_N].masked_fill(forbidden_NV, -torch.inf)

    def _chosen(self, rows: list[Row], logits_NV: Tensor) -> list[int]:
        import torch

        knobs = [(next(r.uniform), r.sampling.temperature, r.sampling.top_p, float(r.sampling.top_k)) for r in rows]
        uniform, temperature, top_p, top_k = torch.tensor(knobs, device=logits_NV.device).T
        chosen: list[int] = choose(logits_NV, uniform, Knobs(temperature, top_p, top_k.long())).tolist()
        return chosen

    def _finished(self, row: Row, token: int) -> bool:
        row.tokens.append(token)
        if row.guard:
            row.guard.append(token)
        if token in self.vocabulary.eos or (row.sampling.stop and self._stopped(row, token)):
            row.finish = Finish.STOP
        elif len(row.tokens) >= row.limit:
            row.finish = Finish.LENGTH
        return row.finish is not None

    def _stopped(self, row: Row, token: int) -> bool:
        text = row.tail + self.vocabulary.pieces[token]
        stops = [stop.encode() for stop in row.sampling.stop]
        row.tail = text[-max(map(len, stops)) :]
        return any(stop in text for stop in stops)

    def _compact(self) -> None:
        """Once no request waits and a sixteenth of the slots is dead, the living move together."""
        living = [slot for slot, row in enumerate(self._held) if row]
        dead = len(self._held) - len(living)
        if not self._left and living and dead and dead >= len(self._held) // 16:
            self._held = [self._held[slot] for slot in self._cache.compact(living)]


def _parts(rows: list[Row]) -> Iterator[slice]:
    """Slices of rows whose padded prompts stay under the limit of one prefill."""
    start, width = 0, 0
    for end, row in enumerate(rows):
        width = max(width, len(row.prompt))
        if end > start and width * (end + 1 - start) > _PREFILL_TOKENS:
            yield slice(start, end)
            start, width = end, len(row.prompt)
    yield slice(start, len(rows))


def _positions(start_N: Tensor, width: int) -> Tensor:
    import torch

    return (torch.arange(width, device=start_N.device) - start_N[:, None]).clamp(min=0)


def _prompt_mask(start_N: Tensor, width: int, dtype: Any) -> Tensor:
    """The additive mask [N, 1, P, P] of left-padded prompts; a padded query sees itself, so that no number is undefined."""
    import torch

    column_P = torch.arange(width, device=start_N.device)
    causal_PP = column_P[None, :] <= column_P[:, None]
    real_NP = column_P[None, :] >= start_N[:, None]
    seen_NPP = causal_PP & (real_NP[:, None, :] | torch.eye(width, dtype=torch.bool, device=start_N.device))
    least = torch.finfo(dtype).min
    return torch.zeros(seen_NPP.shape, dtype=dtype, device=start_N.device).masked_fill_(~seen_NPP, least)[:, None]
