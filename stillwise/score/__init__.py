"""Traces to numbers. A score that cannot be computed is None with its reason, never 0."""

from stillwise.parts import Part
from stillwise.score.judged import Judged
from stillwise.score.likelihood import Likelihood
from stillwise.score.outcomes import PassRate, Variation
from stillwise.score.rethink import RethinkWords
from stillwise.score.shape import Length, Repetition, Structure

PARTS: tuple[type[Part], ...] = (RethinkWords, PassRate, Variation, Length, Structure, Repetition, Likelihood, Judged)

__all__ = ["PARTS", "Judged", "Length", "Likelihood", "PassRate", "Repetition", "RethinkWords", "Structure", "Variation"]
