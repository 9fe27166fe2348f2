"""The fields that every trainer of a causal language model has."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from stillwise.parts import Fields

Schedule = Literal["cosine", "linear", "constant"]
Optimiser = Literal["fresh", "kept"]
RowOrder = Literal["as_given", "shuffled"]


class Fit(Fields):
    """How long, in which order and how fast a student is trained."""

    epochs: int = Field(default=2, ge=1)
    """How often each example is seen."""
    steps: int | None = Field(default=None, ge=1)
    """Optimiser steps; overrides ``epochs`` and repeats or cuts the examples as needed (baselines of equal length)."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """The highest learning rate."""
    schedule: Schedule = "cosine"
    """How the learning rate falls after the warm-up, to 0 at the last step (``constant`` stays)."""
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the rate rises from 0. The paper is silent; LLaMA-Factory's examples use 0.1."""
    batch_tokens: int = Field(default=32768, ge=1)
    """The most tokens, prompts included, in one optimiser step; the paper leaves the batch size open."""
    micro_batch_tokens: int = Field(default=16384, ge=1)
    """The most tokens in one forward pass; a smaller number needs less memory and changes results by rounding only."""
    max_length: int = Field(default=16384, ge=2)
    """Longer rows, in tokens, are dropped and counted, never cut: a cut row would teach to go on without an end."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decay of matrices (not of biases and norms)."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    order: RowOrder = "as_given"
    """``as_given`` keeps the curriculum's order in every epoch; ``shuffled`` draws a new one for each epoch."""
    packing: bool = True
    """Rows packed into one sequence, isolated from each other; false gives every row its own forward pass."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward and backward pass; the trained weights are float32 in both."""
    gradient_checkpointing: bool = False
    """Recomputes activations in the backward pass: less memory, about a third more time."""


class SpanWeights(Fields):
    """How much a token counts by where it stands; an example's own weight is multiplied in."""

    prompt: float = Field(default=0.0, ge=0)
    """The question and the template around it (but its first token, which nothing precedes)."""
    thinking: float = Field(default=1.0, ge=0)
    """The thought with its tags."""
    solution: float = Field(default=1.0, ge=0)
    """What follows the thought (all of an answer without one) and the token that ends the turn."""

    @model_validator(mode="after")
    def _some(self) -> SpanWeights:
        if not self.prompt + self.thinking + self.solution:
            raise ValueError("all weights are 0, so nothing would be learnt; give one of them a weight")
        return self

    @property
    def even(self) -> bool:
        """Whether the answer is learnt evenly and the prompt not at all."""
        return (self.prompt, self.thinking, self.solution) == (0, 1, 1)
