"""Traces to numbers. A score that cannot be computed is None with its reason, never 0."""

from stillwise.parts import Part
from stillwise.score.judged import Judged
from stillwise.score.rethink import RethinkWords

PARTS: tuple[type[Part], ...] = (RethinkWords, Judged)

__all__ = ["PARTS", "Judged", "RethinkWords"]
