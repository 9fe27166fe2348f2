"""Examples and a student to a trained student."""

from stillwise.parts import Part
from stillwise.train.sft import SFT

PARTS: tuple[type[Part], ...] = (SFT,)
