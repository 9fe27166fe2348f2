"""Choosing among traces, and pairing them, by narrow columns only."""

from stillwise.parts import PartTable

PARTS = PartTable(
    __name__,
    first_correct="correct.FirstCorrect",
    common_subset="correct.CommonSubset",
    all_correct="kept.AllCorrect",
    every="kept.Every",
    by_score="ranked.ByScore",
    target_aware="target_aware.TargetAware",
    suited_length="suited_length.SuitedLength",
    right_wrong="pairs.RightWrong",
    cogpo="pairs.CogPO",
    length_contrast="pairs.LengthContrast",
    mixture="mixture.Mixture",
    over_parent="rewritten.OverParent",
)
