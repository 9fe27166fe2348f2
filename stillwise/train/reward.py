"""Reward models: a causal language model that learns to say a judge's number, or which of two answers is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Example, Regression, Tools, Trainer
from stillwise.parts import Role, Scores
from stillwise.train.fields import Fit, RowOrder


class RewardTrainer(Trainer, Fit):
    """A sequence regressor from scored traces: f(problem, answer) in [0, 1], a judge's mark over its highest.

    Thinking with DistilQwen, §3.3: one such model for Reasoning Verbosity, one for Cognitive Difficulty. Some problems are held
    out with all their traces, and the saved model is measured on them: error, rank correlation, calibration.
    """

    kind: ClassVar[str] = "reward_model"
    learns_from: ClassVar[Literal["lessons", "pairs", "scores", "problems"]] = "scores"
    base: Role = "student"
    """The role whose weights it starts from; the head is new."""
    of: tuple[Scores, ...] = ()
    """The scoring steps that it learns from together; none takes the step's input."""
    objective: Regression = Field(default="mse", validate_default=True)
    """What an error costs; ``soft_bce`` makes the logit's sigmoid the score, the others a linear output, clipped to [0, 1]."""
    highest: float = Field(default=9.0, gt=0)
    """The judge's highest mark, by which scores are divided."""
    held_out: float = Field(default=0.1, gt=0, lt=1)
    """Share of the problems that nothing is learnt from (one at least)."""
    order: RowOrder = "shuffled"
    """``shuffled`` draws a new order for each epoch; ``as_given`` keeps the outputs one after the other."""

    def train(self, examples: Sequence[Example], student: Path, out: Path, tools: Tools) -> Mapping[str, Any]:
        """Writes an ``AutoModelForSequenceClassification`` folder and returns what `sft` does, and ``held_out``."""
        from stillwise.train.reward_fit import train_regressor

        return train_regressor(self, examples, student, out, tools)


class PairRewardTrainer(Trainer, Fit):
    """A reward model from pairs of a chosen and a rejected answer (Bradley and Terry 1952; arXiv 2203.02155, eq. 1).

    Its score is the sigmoid of the output in units of the training answers' deviation, their mean at 1/2: an order, not a mark.
    """

    kind: ClassVar[str] = "reward_pairs"
    learns_from: ClassVar[Literal["lessons", "pairs", "scores", "problems"]] = "pairs"
    base: Role = "student"
    """The role whose weights it starts from; the head is new."""
    margin: float = Field(default=0.0, ge=0)
    """By how much the chosen answer's output should exceed the other's."""
    held_out: float = Field(default=0.1, gt=0, lt=1)
    """Share of the problems that nothing is learnt from (one at least)."""
    order: RowOrder = "shuffled"
    """``shuffled`` draws a new order for each epoch; ``as_given`` keeps the outputs one after the other."""

    def train(self, examples: Sequence[Example], student: Path, out: Path, tools: Tools) -> Mapping[str, Any]:
        """Writes an ``AutoModelForSequenceClassification`` folder and returns what `sft` does, and ``held_out``."""
        from stillwise.train.reward_fit import train_ranker

        return train_ranker(self, examples, student, out, tools)
