"""Traces to edited traces, each with its parent and the edit that made it."""

from stillwise.parts import Part
from stillwise.rewrite.solution import ThinkSolution

PARTS: tuple[type[Part], ...] = (ThinkSolution,)
