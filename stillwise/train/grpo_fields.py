"""The fields of group relative policy optimisation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stillwise.arrows import Reward
from stillwise.parts import Role
from stillwise.train.fields import Fit, RowOrder, Schedule
from stillwise.train.losses.policy import Scaling

Pooling = Literal["sequence", "token", "constant"]


class GroupFit(Fit):
    """How groups of answers are drawn, valued and learnt from."""

    student: Role = "student"
    """The role whose weights are trained."""
    rewards: tuple[Reward, ...] = Field(default=("formatted", "accurate"), validate_default=True, min_length=1)
    """What an answer is worth: the sum of these, each times its weight (equation 3)."""
    group_size: int = Field(default=64, ge=2)
    """Answers to each problem."""
    problems_per_step: int = Field(default=16, ge=1)
    """Problems answered before an update; it takes the place of ``batch_tokens``."""
    updates: int = Field(default=1, ge=1)
    """Optimiser steps on the same answers (the paper's mu); from the second on the ratio is clipped."""
    refills: int = Field(default=0, ge=0)
    """How often groups without spread are replaced by other problems before the update (dynamic sampling, arXiv 2503.14476,
    §3.2); 0 leaves them out."""
    scaling: Scaling = "group"
    """What advantages are divided by: the deviation of their ``group``, of the ``batch``, or ``none`` (Dr. GRPO)."""
    pooling: Pooling = "sequence"
    """Mean over each answer's tokens, then over answers (``sequence``); over all tokens (``token``, DAPO); sum over
    ``max_tokens`` of each answer (``constant``, Dr. GRPO)."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    """How far below 1 the ratio to the sampling policy counts."""
    clip_high: float = Field(default=0.2, gt=0)
    """How far above 1; more than ``clip_low`` is DAPO's clip-higher."""
    beta: float = Field(default=0.04, ge=0)
    """Weight of the KL from the student as it was before the first step; 0 keeps no such copy."""
    corrected_kl: bool = False
    """Multiplies the KL by the ratio to the sampling policy, so that its gradient is unbiased (arXiv 2512.02556)."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the sampling and of the log-probabilities; nothing is cut off the distribution."""
    max_tokens: int = Field(default=1024, ge=1)
    """Of an answer; a longer one is cut off."""
    epochs: int = Field(default=1, ge=1)
    """How often each problem is answered by a whole group."""
    learning_rate: float = Field(default=1e-6, gt=0)
    """The highest learning rate."""
    schedule: Schedule = "constant"
    """How the learning rate falls after the warm-up."""
    warmup_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps in which the rate rises from 0."""
    order: RowOrder = "shuffled"
    """``shuffled`` draws a new order of the problems for each epoch; ``as_given`` keeps theirs."""
