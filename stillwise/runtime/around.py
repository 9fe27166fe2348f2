"""What a caller has that stands round another one: everything but the asking is the inner one's."""

from __future__ import annotations

from dataclasses import dataclass

from stillwise.arrows import Ask, Caller, Together


@dataclass(frozen=True)
class Around:
    """Passes on what ``arrows.Caller`` says of its model."""

    inner: Caller

    @property
    def revision(self) -> str:
        """The model's revision."""
        return self.inner.revision

    def render(self, ask: Ask) -> tuple[str, str]:
        """The rendered prompt and what the template opens of the answer."""
        return self.inner.render(ask)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text by the model's tokenizer."""
        return self.inner.count_tokens(text)

    @property
    def together(self) -> int:
        """As many as the inner caller says."""
        return self.inner.together if isinstance(self.inner, Together) else 1
