"""The fields of reward models' trainers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from stillwise.arrows import Regression
from stillwise.parts import Role, Scores
from stillwise.train.fields import Fit, RowOrder


class HeldOut(Fit):
    """What a reward model starts from, and what it is measured on."""

    if TYPE_CHECKING:
        # Every trainer has it from its arrow.
        instruction: str
    base: Role = "student"
    """The role whose weights it starts from; the head is new."""
    held_out: float = Field(default=0.1, gt=0, lt=1)
    """Share of the problems that nothing is learnt from (one at least)."""
    order: RowOrder = "shuffled"
    """``shuffled`` draws a new order for each epoch; ``as_given`` keeps the outputs one after the other."""


class Marks(HeldOut):
    """Learning a judge's marks."""

    of: tuple[Scores, ...] = ()
    """The scoring steps that it learns from together; none takes the step's input."""
    objective: Regression = Field(default="mse", validate_default=True)
    """What an error costs; ``soft_bce`` makes the logit's sigmoid the score, the others a linear output, clipped to [0, 1]."""
    highest: float = Field(default=9.0, gt=0)
    """The judge's highest mark, by which scores are divided."""


class Ranks(HeldOut):
    """Learning which of two answers is better."""

    margin: float = Field(default=0.0, ge=0)
    """By how much the chosen answer's output should exceed the other's."""
