"""Group relative policy optimisation: the student answers each problem many times and learns from the better answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from stillwise.arrows import Example, Tools, Trainer
from stillwise.train.grpo_fields import GroupFit


class GRPO(Trainer, GroupFit):
    """Policy gradient on the student's own answers, each measured against the others to the same problem.

    DeepSeekMath, arXiv 2402.03300, §4.1: no value model; the sum of the rewards minus its mean over the group is every token's
    advantage. The defaults are its numbers, and PPO's clip. Thinking with DistilQwen, §3.3, adds rewards from trained RV and
    CD models (``within``, equations 1 to 3). A group whose rewards are all equal teaches nothing: it is left out and counted,
    as is an answer that a reward could not be given to.
    """

    kind: ClassVar[str] = "grpo"
    learns_from: ClassVar[Literal["lessons", "pairs", "scores", "problems"]] = "problems"

    @model_validator(mode="after")
    def _weighed(self) -> GRPO:
        if not any(reward.weight for reward in self.rewards):
            raise ValueError("all rewards have weight 0, so no answer is better than another; give one of them a weight")
        return self

    def train(self, examples: Sequence[Example], student: Path, out: Path, tools: Tools) -> Mapping[str, Any]:
        """Writes the student, float32, at ``out``; returns losses, counts of groups and answers, and ``policy_curves``."""
        from stillwise.train.grpo_fit import train_policy

        return train_policy(self, examples, student, out, tools)
