"""Supervised fine-tuning on the assistant's tokens."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from stillwise.arrows import Example, Tools, Trainer
from stillwise.parts import Role
from stillwise.records import derive_seed
from stillwise.train.fields import Fit, Optimiser, Supervised

if TYPE_CHECKING:
    from stillwise.train.render import Rendered, Row


class SFT(Trainer, Fit, Supervised):
    """Cross-entropy on the assistant's tokens, the end of sequence included.

    Teach Small Models to Reason by Curriculum Distillation, §4.1.
    """

    kind: ClassVar[str] = "sft"
    student: Role = "student"
    """The role whose weights are trained."""
    optimiser: Optimiser = "fresh"
    """``kept``: each stage goes on with the moments of AdamW of the stage before; ``fresh``: each begins with none."""

    def train(self, examples: Sequence[Example], student: Path, out: Path, tools: Tools) -> Mapping[str, Any]:
        """Writes the student, float32, at ``out`` and returns rows, drops, tokens, losses and the loss curve.

        Durations stand under ``timing``, apart from everything that equal runs repeat byte for byte.
        """
        from stillwise.models.pieces import vocabulary_size
        from stillwise.train import folder
        from stillwise.train.fit import figures, fitted, load_student
        from stillwise.train.loop import TokenCost
        from stillwise.train.moments import moments
        from stillwise.train.render import end_token

        began = time.monotonic()
        with folder.quiet(), folder.whole_folder(out) as aside:
            tokenizer = folder.load_tokenizer(student)
            rendered = _rendered(self, examples, tokenizer)
            steps = _steps(self, rendered, derive_seed(tools.seed, tools.step))
            model = load_student(self, student, rendered.rows[:2], derive_seed(tools.seed, tools.step))
            cost = TokenCost(vocab=vocabulary_size(tokenizer))
            points = fitted(self, model, steps, tools, cost, self.kind, moments=moments(self.optimiser, student, out))
            folder.save_student(model, student, aside, end_token(tokenizer))
        return figures(rendered, steps, points, time.monotonic() - began)


def _rendered(part: SFT, examples: Sequence[Example], tokenizer: Any) -> Rendered:
    from stillwise.train.excerpt import supervised

    return supervised(part, part.max_length, examples, tokenizer)


def _steps(part: SFT, rendered: Rendered, seed: int) -> list[list[list[Row]]]:
    from stillwise.train.fit import planned, require_rows

    require_rows(rendered.rows, rendered.dropped)
    return planned(part, [[row] for row in rendered.rows], seed)
