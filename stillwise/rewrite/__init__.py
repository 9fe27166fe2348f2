"""Traces to edited traces, each with its parent and the edit that made it; and thoughts to their units."""

from stillwise.parts import Part
from stillwise.rewrite.fit import CritiqueRethink, FitDifficulty
from stillwise.rewrite.segment import LogicalUnits
from stillwise.rewrite.solution import ThinkSolution

PARTS: tuple[type[Part], ...] = (ThinkSolution, FitDifficulty, CritiqueRethink, LogicalUnits)
