"""Putting selected traces into an order of lessons, stage by stage."""

from stillwise.curriculum.stages import Single, Stages
from stillwise.parts import Part

PARTS: tuple[type[Part], ...] = (Stages, Single)
