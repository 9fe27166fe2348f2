"""The training loop of the micro models: rows of nearly equal length share a micro-batch, so nothing is wasted.

A step holds several micro-batches of different lengths and averages over all its learnt tokens. On CPU, attention is
computed plainly in bf16: at these lengths its backward pass is faster than the fused kernel's.
"""

# B rows, T positions, V vocabulary

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from stillwise.micro.corpus import Row

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Plan:
    """What one stage of training spends, and how fast it moves."""

    tokens: int
    peak: float
    final: float = 0.02
    """Share of the peak learning rate at the end of the cosine."""
    warmup: int = 60
    """Steps."""
    microbatch: int = 1536
    """Most tokens in one micro-batch, padding counted."""
    step: int = 3
    """Micro-batches per optimiser step."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids and labels of one row; a label of -100 is not learnt."""

    ids: list[int]
    labels: list[int]


def encode(rows: list[Row], tokenizer: Any) -> list[Encoded]:
    """Token ids and labels; the prompt and injected mistakes are not learnt, the end of the turn is."""
    ends = ["<|im_end|>" if row.prompt else "<|endoftext|>" for row in rows]
    bodies = ["".join(text for text, _ in row.script) for row in rows]
    texts = [row.prompt + body + end for row, body, end in zip(rows, bodies, ends, strict=True)]
    return [_label(row, found) for row, found in zip(rows, tokenizer.encode_batch(texts), strict=True)]


def _label(row: Row, found: Any) -> Encoded:
    start = len(row.prompt)
    muted: set[int] = set()
    for text, learnt in row.script:
        if not learnt:
            muted.update(range(start, start + len(text)))
        start += len(text)
    labels = [
        IGNORED if left < len(row.prompt) or not muted.isdisjoint(range(left, right)) else token
        for token, (left, right) in zip(found.ids, found.offsets, strict=True)
    ]
    return Encoded(found.ids, labels)


def batches(rows: Iterator[Row], tokenizer: Any, plan: Plan, seed: int) -> Iterator[list[list[Encoded]]]:
    """Endless optimiser steps, each a list of micro-batches of rows of nearly equal length."""
    rng = Random(f"batches {seed}")
    ready: list[list[Encoded]] = []
    while True:
        pool = sorted(encode([next(rows) for _ in range(768)], tokenizer), key=lambda row: len(row.ids))
        fresh: list[list[Encoded]] = []
        current: list[Encoded] = []
        for row in pool:
            if current and (len(current) + 1) * len(row.ids) > plan.microbatch:
                fresh.append(current)
                current = []
            current.append(row)
        ready += [*fresh, current]
        rng.shuffle(ready)
        while len(ready) >= plan.step:
            yield [ready.pop() for _ in range(plan.step)]


def _tensors(batch: list[Encoded], pad: int, device: str) -> tuple[Any, Any]:
    import torch

    longest = max(len(row.ids) for row in batch)
    ids_BT = torch.full((len(batch), longest), pad)
    labels_BT = torch.full((len(batch), longest), IGNORED)
    for place, row in enumerate(batch):
        ids_BT[place, : len(row.ids)] = torch.tensor(row.ids)
        labels_BT[place, : len(row.ids)] = torch.tensor(row.labels)
    return ids_BT.to(device), labels_BT.to(device)


def _loss_sum(model: Any, ids_BT: Any, labels_BT: Any) -> Any:
    import torch
    from torch.nn.functional import cross_entropy

    half = ids_BT.is_cuda or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    with torch.autocast(ids_BT.device.type, torch.bfloat16, enabled=half):
        logits_BTV = model(input_ids=ids_BT[:, :-1], use_cache=False).logits
    flat = logits_BTV.float().reshape(-1, logits_BTV.shape[-1])
    return cross_entropy(flat, labels_BT[:, 1:].reshape(-1), ignore_index=IGNORED, reduction="sum")


def rate(done: float, step: int, plan: Plan) -> float:
    """Learning rate: linear warm-up by steps, then a cosine over the share of tokens that is done."""
    cosine = plan.final + (1 - plan.final) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return plan.peak * min(1.0, (step + 1) / plan.warmup) * cosine


def train(
    model: Any, rows: Iterator[Row], tokenizer: Any, plan: Plan, seed: int, say: Callable[[str], None] = print
) -> dict[str, float]:
    """Train in place; returns tokens seen (prompts included), tokens learnt, seconds and the last loss."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device).train()
    model.set_attn_implementation("eager")
    pad = tokenizer.token_to_id("<|endoftext|>")
    optimiser = torch.optim.AdamW(model.parameters(), plan.peak, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    seen, learnt, smooth, start, told = 0, 0, 0.0, time.monotonic(), 0.0
    for step, microbatches in enumerate(batches(rows, tokenizer, plan, seed)):
        optimiser.param_groups[0]["lr"] = rate(seen / plan.tokens, step, plan)
        count = sum(label != IGNORED for batch in microbatches for row in batch for label in row.labels)
        total = 0.0
        for batch in microbatches:
            loss = _loss_sum(model, *_tensors(batch, pad, device)) / count
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        seen += sum(len(row.ids) for batch in microbatches for row in batch)
        learnt += count
        smooth = total if step == 0 else 0.95 * smooth + 0.05 * total
        spent = time.monotonic() - start
        if spent - told > 20 or seen >= plan.tokens:
            told = spent
            say(f"step {step} tokens {seen:,}/{plan.tokens:,} {seen / spent:,.0f} tok/s loss {smooth:.4f}")
        if seen >= plan.tokens:
            break
    model.to("cpu").eval()
    return {"tokens": seen, "learnt_tokens": learnt, "seconds": round(spent, 1), "loss": round(smooth, 4)}
