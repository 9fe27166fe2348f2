"""Choosing among traces, by narrow columns only."""

from stillwise.parts import Part
from stillwise.select.correct import CommonSubset, FirstCorrect

PARTS: tuple[type[Part], ...] = (FirstCorrect, CommonSubset)
