"""Putting selected traces into an order of lessons, stage by stage."""

from stillwise.parts import PartTable

PARTS = PartTable(
    __name__,
    stages="stages.Stages",
    single="stages.Single",
    competence="competence.Competence",
)
