"""Problems to traces: the paradigms in which a model is asked, and the samplers that draw answers."""

from stillwise.parts import PartTable

PARTS = PartTable(
    __name__,
    think="paradigms.Think",
    no_rethink="paradigms.NoRethink",
    no_think="paradigms.NoThink",
    instruct="paradigms.Instruct",
    rejection="rejection.Rejection",
    all="rejection.All",
    in_turns="turns.InTurns",
    by_student="chosen.ByStudent",
    varied="varied.Varied",
    until_enough="enough.UntilEnough",
)
