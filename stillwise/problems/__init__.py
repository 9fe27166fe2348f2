"""Where problems come from: files, datasets, generators. A row that gives no problem is a Failure with its reason."""

from stillwise.parts import Part
from stillwise.problems.file import File
from stillwise.problems.gym import Gym, Micro
from stillwise.problems.hub import Hub
from stillwise.problems.resolve import resolve

PARTS: tuple[type[Part], ...] = (File, Hub, Gym, Micro)

__all__ = ["PARTS", "File", "Gym", "Hub", "Micro", "resolve"]
