"""A model asked without a run around it: no journal, no other process, everything at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from stillwise.arrows import Ask, Completion, OnBatch, Request
from stillwise.models.model import Model

M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Direct(Generic[M]):
    """Implements ``arrows.Caller`` over a model of this process."""

    model: M

    @property
    def revision(self) -> str:
        """The model's revision."""
        return self.model.revision

    def render(self, ask: Ask) -> tuple[str, str]:
        """The rendered prompt and what the template opens of the answer."""
        return self.model.render(ask)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text by the model's tokenizer."""
        return self.model.count_tokens(text)

    def complete(self, requests: Sequence[Request], on_batch: OnBatch) -> list[Completion]:
        """One completion for each request, in order."""
        answers = self.model.generate(requests) if requests else []
        on_batch(range(len(requests)), answers)
        return answers
