"""Traces to numbers. A score that cannot be computed is None with its reason, never 0."""

from stillwise.parts import Part
from stillwise.score.rethink import RethinkWords

PARTS: tuple[type[Part], ...] = (RethinkWords,)

__all__ = ["PARTS", "RethinkWords"]
