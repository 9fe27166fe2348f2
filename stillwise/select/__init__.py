"""Choosing among traces, and pairing them, by narrow columns only."""

from stillwise.parts import PartTable

PARTS = PartTable(
    __name__,
    first_correct="correct.FirstCorrect",
    common_subset="correct.CommonSubset",
    right_wrong="pairs.RightWrong",
    cogpo="pairs.CogPO",
    length_contrast="pairs.LengthContrast",
)
