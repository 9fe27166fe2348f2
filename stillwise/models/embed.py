"""Texts to vectors: the mean of an encoder's last hidden states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from stillwise.models.weights import model_folder


def embedded(model: str, texts: Sequence[str], batch: int, max_tokens: int) -> Any:
    """Vectors of length 1, float32, (texts, width): mean over a text's tokens, as the sentence-transformers models are read.

    ``model`` is a transformers folder or hub id with safetensors; no code of it is run. Longer texts are cut at ``max_tokens``.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = model_folder(model)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = AutoModel.from_pretrained(folder, trust_remote_code=False, use_safetensors=True).to(device).eval()
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    found = torch.empty((len(texts), int(encoder.config.hidden_size)))
    with torch.inference_mode():
        for places in _chunks(order, batch):
            found[places] = _means(encoder, tokenizer, [texts[place] for place in places], max_tokens).float().cpu()
    return found.numpy()


def _means(encoder: Any, tokenizer: Any, texts: list[str], max_tokens: int) -> Any:
    import torch

    held = tokenizer(texts, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt", padding_side="right")
    held = {name: held[name].to(encoder.device) for name in ("input_ids", "attention_mask")}
    states = encoder(**held).last_hidden_state.float()
    mask = held["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1).clamp(min=1), dim=-1)


def _chunks(order: Sequence[int], size: int) -> Iterator[list[int]]:
    for begin in range(0, len(order), size):
        yield list(order[begin : begin + size])
