"""Reward models: a causal language model that learns to say a judge's number, or which of two answers is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from stillwise.arrows import Example, Tools, Trainer
from stillwise.train.reward_fields import Marks, Ranks


class RewardTrainer(Trainer, Marks):
    """A sequence regressor from scored traces: f(problem, answer) in [0, 1], a judge's mark over its highest.

    Thinking with DistilQwen, §3.3: one such model for Reasoning Verbosity, one for Cognitive Difficulty. Some problems are held
    out with all their traces, and the saved model is measured on them: error, rank correlation, calibration.
    """

    kind: ClassVar[str] = "reward_model"
    learns_from: ClassVar[Literal["lessons", "pairs", "scores", "problems"]] = "scores"

    def train(self, examples: Sequence[Example], student: Path, out: Path, tools: Tools) -> Mapping[str, Any]:
        """Writes an ``AutoModelForSequenceClassification`` folder and returns what `sft` does, and ``held_out``."""
        from stillwise.train.reward_fit import train_regressor

        return train_regressor(self, examples, student, out, tools)


class PairRewardTrainer(Trainer, Ranks):
    """A reward model from pairs of a chosen and a rejected answer (Bradley and Terry 1952; arXiv 2203.02155, eq. 1).

    Its score is the sigmoid of the output in units of the training answers' deviation, their mean at 1/2: an order, not a mark.
    """

    kind: ClassVar[str] = "reward_pairs"
    learns_from: ClassVar[Literal["lessons", "pairs", "scores", "problems"]] = "pairs"

    def train(self, examples: Sequence[Example], student: Path, out: Path, tools: Tools) -> Mapping[str, Any]:
        """Writes an ``AutoModelForSequenceClassification`` folder and returns what `sft` does, and ``held_out``."""
        from stillwise.train.reward_fit import train_ranker

        return train_ranker(self, examples, student, out, tools)
