"""Traces to numbers. A score that cannot be computed is None with its reason, never 0."""

from stillwise.parts import PartTable

PARTS = PartTable(
    __name__,
    rethink_words="rethink.RethinkWords",
    pass_rate="outcomes.PassRate",
    variation="outcomes.Variation",
    apart="apart.Apart",
    thoroughness="thorough.Thoroughness",
    length="shape.Length",
    structure="shape.Structure",
    repetition="shape.Repetition",
    verbosity_by_length="verbosity.VerbosityByLength",
    after_first="verbosity.AfterFirst",
    likelihood="likelihood.Likelihood",
    judged="judged.Judged",
    given="given.Given",
    reward="reward.RewardScore",
)
