"""Traces to verdicts. A verdict says how the answer was found and what compared it; six outcomes, never a bare boolean."""

from stillwise.parts import Part
from stillwise.verify.dispatch import ByAnswerKind
from stillwise.verify.gym import Gym
from stillwise.verify.maths import Maths
from stillwise.verify.text import Choice, Text

PARTS: tuple[type[Part], ...] = (ByAnswerKind, Maths, Gym, Text, Choice)

__all__ = ["PARTS", "ByAnswerKind", "Choice", "Gym", "Maths", "Text"]
