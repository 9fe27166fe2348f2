"""The model protocol: a plan of fixed batches, and one call that runs a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stillwise.arrows import Ask, Completion, Request


class Model(Protocol):
    """A language model that answers requests in fixed batches.

    The unit of local generation is a fixed batch: floating-point results move with batch composition, so a batch is
    planned from the requests alone, journalled and repeated whole.
    """

    @property
    def name(self) -> str:
        """The binding as the user wrote it, for tables."""

    @property
    def revision(self) -> str:
        """A digest of everything that changes answers: weights, tokenizer, template, back end, dtype, threads."""

    def plan(self, requests: Sequence[Request]) -> list[tuple[int, ...]]:
        """Positions of the requests, grouped into batches; a pure function of the requests."""

    def generate(self, batch: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order."""

    def render(self, ask: Ask) -> tuple[str, str]:
        """The prompt string that the template gives, and what it opens of the answer (``<think>`` or nothing)."""

    def count_tokens(self, text: str) -> int:
        """How many tokens the model's tokenizer makes of a text (no special tokens added)."""
