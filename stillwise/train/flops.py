"""Floating-point operations of transformers, counted from sizes: to compare trainings, not to time them.

A forward pass takes 2 operations for each weight that multiplies and token (Kaplan et al., arXiv 2001.08361, §2.1; the input
embedding only looks up), and 4·layers·width for each pair of a token and one that it attends to. Backward takes twice that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

BACKWARD = 2


@dataclass(frozen=True)
class Size:
    """A model's size: what its forward pass costs."""

    weights: int
    """Weights that multiply: all but the input embedding (a head tied to it multiplies)."""
    layers: int
    width: int

    def forward(self, lengths: Iterable[int]) -> int:
        """Operations of forward passes over sequences of these lengths, causal."""
        return sum(2 * self.weights * n + 2 * self.layers * self.width * n * n for n in lengths)


def size_of(config: Mapping[str, Any], num_weights: int) -> Size:
    """The size of a model with this ``config.json`` and so many stored weights (tied ones once)."""
    inner: Mapping[str, Any] = config.get("text_config") or config
    width = int(inner["hidden_size"])
    embedding = 0 if inner.get("tie_word_embeddings", config.get("tie_word_embeddings")) else int(inner["vocab_size"]) * width
    return Size(weights=num_weights - embedding, layers=int(inner["num_hidden_layers"]), width=width)


def size_of_model(model: Any) -> Size:
    """The size of a loaded model."""
    return size_of(model.config.to_dict(), sum(weight.numel() for weight in model.parameters()))
