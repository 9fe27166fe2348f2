"""A small batched sampler for the micro models: rows of equal prompt length, one cache, finished rows dropped."""

# B rows, T positions, V vocabulary

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

RETHINK = ("alternatively", "another", "but", "hmm", "verify", "wait")
BATCH = 256
"""Most rows computed at once."""
_WORD = frozenset(string.ascii_letters + string.digits + "_")


@dataclass(frozen=True, slots=True)
class Sample:
    """One generated text, without the prefilled part, and its number of tokens (the end of turn included)."""

    text: str
    tokens: int
    finished: bool


@dataclass(slots=True)
class WordBan:
    """Forbids every token that would complete a banned whole word and its boundary, in any case."""

    pieces: list[str]
    words: frozenset[str]
    _rows: dict[str, Any] = field(default_factory=dict)

    def mask_V(self, state: str) -> Any:
        """True where a token may not follow the unfinished word `state`."""
        import torch

        if state not in self._rows:
            bad = [self._completes(state + piece) for piece in self.pieces]
            self._rows[state] = torch.tensor(bad)
        return self._rows[state]

    def _completes(self, text: str) -> bool:
        word = ""
        for char in text.lower():
            if char in _WORD:
                word += char
            elif word in self.words:
                return True
            else:
                word = ""
        return False

    def after(self, state: str, token: int) -> str:
        """The unfinished word after one more token."""
        text = (state + self.pieces[token]).lower()
        start = len(text)
        while start and text[start - 1] in _WORD:
            start -= 1
        return text[start:][:20]


def sample(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    seed: int,
    banned: Sequence[str] = (),
    temperature: float = 0.6,
    top_p: float = 0.95,
    max_tokens: int = 1000,
) -> list[Sample]:
    """One continuation of each rendered prompt, in the order given; temperature 0 is greedy."""
    import torch

    encoded = [tokenizer.encode(text).ids for text in prompts]
    groups: dict[int, list[int]] = {}
    for place, ids in enumerate(encoded):
        groups.setdefault(len(ids), []).append(place)
    pieces = [tokenizer.decode([token], skip_special_tokens=False) for token in range(tokenizer.get_vocab_size())]
    ban = WordBan(pieces, frozenset(banned)) if banned else None
    generator = torch.Generator().manual_seed(seed)
    out: dict[int, Sample] = {}
    for _, places in sorted(groups.items()):
        for first in range(0, len(places), BATCH):
            part = places[first : first + BATCH]
            texts = _batch(model, [encoded[p] for p in part], generator, ban, temperature, top_p, max_tokens)
            end = tokenizer.token_to_id("<|im_end|>")
            for place, ids in zip(part, texts, strict=True):
                finished = ids[-1] == end
                text = tokenizer.decode(ids[:-1] if finished else ids, skip_special_tokens=True)
                out[place] = Sample(text, len(ids), finished)
    return [out[place] for place in range(len(prompts))]


def _batch(
    model: Any, rows: list[list[int]], generator: Any, ban: WordBan | None, temperature: float, top_p: float, most: int
) -> list[list[int]]:
    import torch
    from transformers import DynamicCache

    end = model.config.eos_token_id
    made: list[list[int]] = [[] for _ in rows]
    states = ["" for _ in rows]
    alive = list(range(len(rows)))
    cache: Any = DynamicCache()
    ids_BT = torch.tensor(rows)
    with torch.inference_mode():
        for _ in range(most):
            logits_BV = model(input_ids=ids_BT, past_key_values=cache, logits_to_keep=1).logits[:, -1].float()
            if ban:
                logits_BV[torch.stack([ban.mask_V(states[row]) for row in alive])] = -torch.inf
            picks = _pick(logits_BV, generator, temperature, top_p)
            keep = []
            for place, (row, token) in enumerate(zip(alive, picks.tolist(), strict=True)):
                made[row].append(token)
                if ban:
                    states[row] = ban.after(states[row], token)
                if token != end:
                    keep.append(place)
            if not keep:
                break
            if len(keep) < len(alive):
                alive = [alive[place] for place in keep]
                kept = torch.tensor(keep)
                cache.batch_select_indices(kept)
                picks = picks[kept]
            ids_BT = picks[:, None]
    return made


def _pick(logits_BV: Any, generator: Any, temperature: float, top_p: float) -> Any:
    import torch

    if temperature == 0:
        return logits_BV.argmax(-1)
    sorted_BV, order_BV = torch.softmax(logits_BV / temperature, -1).topk(min(16, logits_BV.shape[-1]), -1)
    before_BV = sorted_BV.cumsum(-1) - sorted_BV
    kept_BV = sorted_BV.masked_fill(before_BV >= top_p, 0.0)
    return order_BV.gather(1, torch.multinomial(kept_BV, 1, generator=generator))[:, 0]
