"""Traces to edited traces, each with its parent and the edit that made it; and thoughts to their units."""

from stillwise.parts import PartTable

PARTS = PartTable(
    __name__,
    tailored="tailored.Tailored",
    think_solution="solution.ThinkSolution",
    fit_difficulty="fit.FitDifficulty",
    critique_rethink="fit.CritiqueRethink",
    by_difficulty="by_difficulty.ByDifficulty",
    socratic="socratic.Socratic",
    shortest_prefix="shortest.ShortestPrefix",
    chunked="chunks.Chunked",
    skip_chunks="chunks.SkipChunks",
    logical_units="segment.LogicalUnits",
    attempts="attempts.Attempts",
    first_solution="attempts.FirstSolution",
)
