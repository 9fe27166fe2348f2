"""The student's own answers while it is trained: what on-policy distillation learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from stillwise.records import derive_seed
from stillwise.train import processes
from stillwise.train.render import Row


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """Which optimiser steps learn from the student's own answers, and how these are drawn."""

    share: float
    """The probability that a step does (GKD's lambda); 1 is purely on-policy."""
    temperature: float
    max_tokens: int
    end: int
    pad: int
    seed: int
    vocab: int | None = None
    """Ids from here on are padding of the output layer, and are never drawn; None draws all."""

    def wanted(self, step: int) -> bool:
        """Whether this step is on-policy; the same in every run of one seed."""
        return Random(derive_seed(self.seed, "on_policy", step)).random() < self.share

    def of(self, model: Any, rows: Sequence[Row], step: int) -> list[Row]:
        """The rows with the student's present answers in place of their targets, up to and with the end token.

        Drawn from the whole distribution (no top-k, no top-p) without touching the global generators; an answer that did not
        end is as long as allowed and has no end token.
        """
        # Several processes draw for different prompts, so each has numbers of its own.
        own = [processes.rank()] if processes.count() > 1 else []
        answers = _answers(self, model, [row.ids[: row.start] for row in rows], derive_seed(self.seed, "rollout", step, *own))
        pairs = zip(rows, answers, strict=True)
        return [replace(row, ids=(*row.ids[: row.start], *answer), weights=()) for row, answer in pairs]


def _answers(settings: Rollouts, model: Any, prompts: Sequence[tuple[int, ...]], seed: int) -> list[list[int]]:
    import torch

    width, rows = max(map(len, prompts)), len(model.get_output_embeddings().weight)
    ids = torch.tensor([[settings.pad] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    attention, training = model.config._attn_implementation, model.training
    # Packed attention takes no mask and no cache.
    model.set_attn_implementation("sdpa")
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(seed)
            found = model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                temperature=settings.temperature,
                top_k=0,
                top_p=1.0,
                max_new_tokens=settings.max_tokens,
                eos_token_id=settings.end,
                pad_token_id=settings.pad,
                use_cache=True,
                suppress_tokens=list(range(settings.vocab or rows, rows)) or None,
            )
    finally:
        model.set_attn_implementation(attention)
        model.train(training)
    return [_until(row, settings.end) for row in found[:, width:].tolist()]


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end) + 1] if end in ids else ids
