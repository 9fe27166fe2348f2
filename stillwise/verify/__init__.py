"""Traces to verdicts. A verdict says how the answer was found and what compared it; six outcomes, never a bare boolean."""

from stillwise.parts import PartTable

PARTS = PartTable(
    __name__,
    by_answer_kind="dispatch.ByAnswerKind",
    maths="maths.Maths",
    gym_scorer="gym.Gym",
    text="text.Text",
    choice="choice.Choice",
    code="code.Code",
    roles="roles.Roles",
    judge="judge.Judge",
    majority="majority.Majority",
)
