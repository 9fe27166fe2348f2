"""The fields that every trainer of a causal language model has."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from pydantic import Field, model_validator

from stillwise.parts import Fields

Schedule = Literal["cosine", "linear", "constant"]
Optimiser = Literal["fresh", "kept"]
RowOrder = Literal["as_given", "shuffled"]


class Lora(Fields):
    """A low-rank adapter instead of all weights (arXiv 2106.09685)."""

    kind: Literal["lora"] = "lora"
    """The sort of adapter."""
    rank: int = Field(default=16, ge=1)
    """Of the two matrices whose product is learnt beside each target."""
    alpha: int = Field(default=32, ge=1)
    """The product is multiplied by alpha / rank."""
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Names of the layers that get one (``q_proj``, …); ``all-linear`` means all linear ones but the output layer."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an adapter's inputs that is set to 0 in training."""
    merge: bool = False
    """Adds the adapter to the weights at the end and saves those; otherwise the adapter is saved beside its base's address."""

    @model_validator(mode="after")
    def _possible(self) -> Lora:
        if find_spec("peft") is None:
            raise ValueError("a LoRA adapter needs the extra 'lora': pip install 'stillwise[lora]'")
        return self


class Across(Fields):
    """How a student is compared with a teacher of another tokenizer."""

    kind: Literal["alm", "uld"] = "alm"
    """``alm``: the likelihoods of equal stretches of text (arXiv 2503.20083); ``uld``: sorted probabilities where both have
    read the same bytes (arXiv 2402.12030)."""
    temperature: float = Field(default=100.0, gt=0)
    """Of ``alm``: likelihoods are compared to the power of 1 / temperature, and the loss is multiplied by it again."""


class Fit(Fields):
    """How long, in which order and how fast a student is trained."""

    epochs: int = Field(default=2, ge=1)
    """How often each example is seen."""
    steps: int | None = Field(default=None, ge=1)
    """Optimiser steps; overrides ``epochs`` and repeats or cuts the examples as needed (baselines of equal length)."""
    length: float = Field(default=1.0, gt=0)
    """Times the optimiser steps: 0.5 ends half way, 2 goes on for as long again (methods compared at equal cost)."""
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
    """Longer rows, in tokens, are dropped and counted: a cut row would teach to go on without an end."""
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
    adapter: Lora | None = None
    """A low-rank adapter is trained (``{kind: lora, rank: 16}``), and the other weights stay; None trains all weights."""
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


KeepFrom = Literal["start", "middle", "end"]


class Supervised(Fields):
    """Which tokens of a row are learnt, and how much of the row there is."""

    span_weights: SpanWeights = SpanWeights()
    """Tokens weighed by span (``prompt``, ``thinking``, ``solution``); the loss is divided by the summed weights."""
    keep: float = Field(default=1.0, gt=0, le=1)
    """The share of each row's tokens, prompt included, that is trained on; the others are not even read."""
    keep_from: KeepFrom = "start"
    """Where the kept tokens stand in the row."""
    too_long: Literal["drop", "cut"] = "drop"
    """``cut`` trains on the first ``max_length`` tokens of a longer row and counts it; that teaches to go on without an end."""
