"""Choosing among traces, and pairing them, by narrow columns only."""

from stillwise.parts import Part
from stillwise.select.correct import CommonSubset, FirstCorrect
from stillwise.select.pairs import CogPO, LengthContrast, RightWrong

PARTS: tuple[type[Part], ...] = (FirstCorrect, CommonSubset, RightWrong, CogPO, LengthContrast)
