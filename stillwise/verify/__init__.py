"""Traces to verdicts. A verdict says how the answer was found and what compared it; six outcomes, never a bare boolean."""

from stillwise.parts import Part
from stillwise.verify.choice import Choice
from stillwise.verify.code import Code
from stillwise.verify.dispatch import ByAnswerKind
from stillwise.verify.gym import Gym
from stillwise.verify.judge import Judge
from stillwise.verify.majority import Majority
from stillwise.verify.maths import Maths
from stillwise.verify.roles import Roles
from stillwise.verify.text import Text

PARTS: tuple[type[Part], ...] = (ByAnswerKind, Maths, Gym, Text, Choice, Code, Roles, Judge, Majority)

__all__ = ["PARTS", "ByAnswerKind", "Choice", "Code", "Gym", "Judge", "Majority", "Maths", "Roles", "Text"]
