"""How the tokens of a role's answers are drawn: the fields that every part has which asks a model for text."""

from __future__ import annotations

from pydantic import Field

from stillwise.parts import Fields
from stillwise.records import Sampling


class Decoding(Fields):
    """How a part's role draws its tokens. What differs elsewhere is a default, with what a cut answer means there."""

    temperature: float = Field(default=0.6, ge=0, allow_inf_nan=False)
    """0 is greedy."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Nucleus of the distribution that is drawn from."""
    max_tokens: int = Field(default=16384, ge=1)
    """A longer answer is truncated, never correct."""

    @property
    def sampling(self) -> Sampling:
        """The same as records have it."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)
