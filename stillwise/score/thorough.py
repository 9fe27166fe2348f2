"""How much a trace explains, checks, explores and connects, by its words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Scorer, Tools
from stillwise.records import Problem, Score, Trace

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
CHECKS = frozenset({"check", "verify", "confirm", "recheck"})
EXPLORES = frozenset({"perhaps", "maybe", "might", "could", "alternatively"})
CONNECTS = frozenset({"therefore", "since", "because", "thus", "hence", "so", "then"})


class Thoroughness(Scorer):
    """A rule-based quality of a trace, from 0 to 1: detail, self-checks, exploration and connectives (LIMO, §3.2).

    The paper names the four traits, some of their words and their weights. A trait counts x / (x + half): detail by words in
    all, the others by how often their words come in a hundred words.
    """

    kind: ClassVar[str] = "thoroughness"
    weights: tuple[float, float, float, float] = (0.3, 0.2, 0.25, 0.25)
    """Of detail, self-checks, exploration and connectives."""
    half_words: float = Field(default=1000.0, gt=0)
    """So many words are half of all detail."""
    half_density: float = Field(default=1.0, gt=0)
    """So many words of a kind in a hundred are half of a trait."""

    def score(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> list[Score]:
        """One score for each trace; None for a trace without words."""
        return [self.of(trace.text) for trace in traces]

    def of(self, text: str) -> Score:
        """The score of one text; the detail holds the four traits."""
        words = [word.casefold() for word in _WORD.findall(text)]
        if not words:
            return Score(name=self.kind, value=None, detail="no words")
        dense = [100 * sum(word in kind for word in words) / len(words) for kind in (CHECKS, EXPLORES, CONNECTS)]
        traits = [len(words) / (len(words) + self.half_words), *(each / (each + self.half_density) for each in dense)]
        value = sum(weight * trait for weight, trait in zip(self.weights, traits, strict=True)) / sum(self.weights)
        return Score(name=self.kind, value=value, detail=" ".join(f"{trait:.2f}" for trait in traits))
