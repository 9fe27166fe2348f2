"""Reward models: problem and answer in, one number in [0, 1] out.

A folder is an ordinary ``AutoModelForSequenceClassification`` with one label. What turns its logit into a score stands in its
``config.json`` under ``reward``: the unit of its training, the instruction after the question, the token that ends an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stillwise.arrows import user_message
from stillwise.errors import UserError
from stillwise.models.opening import split_opened
from stillwise.models.weights import check_folder

if TYPE_CHECKING:
    from torch import Tensor

BATCH_TOKENS = 32_768
"""Padded tokens of one forward pass at most."""
HELD = 4
"""Reward models kept loaded at once."""
FIELD = "reward"
"""Of ``config.json``."""

Link = Literal["linear", "logistic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardSettings:
    """How a reward model's logit is read; saved with the model, or its outputs mean nothing."""

    end: int
    """The token that stands after an answer; the logit is read at it."""
    link: Link = "linear"
    mean: float = 0.0
    deviation: float = 1.0
    """The score is ``mean + deviation * logit``: clipped to [0, 1] (linear), or its sigmoid (logistic)."""
    instruction: str = ""
    """Appended to the question, as in training."""

    def outward(self, logits_B: Tensor) -> Tensor:
        """Scores in [0, 1] of raw outputs."""
        values_B = self.mean + self.deviation * logits_B
        return values_B.sigmoid() if self.link == "logistic" else values_B.clamp(0.0, 1.0)

    def as_dict(self) -> dict[str, Any]:
        """What ``config.json`` holds."""
        return asdict(self)


def reward_ids(tokenizer: Any, user: str, answer: str, end: int) -> list[int]:
    """Tokens of a user's message in the model's template, the assistant's whole text (tags included), and the end token."""
    turn = [{"role": "user", "content": user}]
    prompt, _ = split_opened(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
    ids: list[list[int]] = tokenizer([prompt, answer.strip()], add_special_tokens=False)["input_ids"]
    return [*ids[0], *ids[1], end]


class RewardModel:
    """A loaded reward model."""

    def __init__(self, folder: Path) -> None:
        """Refuses a folder that holds no reward model of ours, and weights that are not safetensors."""
        import torch
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        check_folder(folder)
        disable_progress_bar()  # type: ignore[no-untyped-call]
        given: Any = {"local_files_only": True, "trust_remote_code": False}
        stated = getattr(AutoConfig.from_pretrained(str(folder), **given), FIELD, None)
        if not isinstance(stated, dict):
            raise UserError(
                f"{folder} holds no reward model: its config.json has no {FIELD!r}; train one with kind: reward_model"
            )
        self.settings = RewardSettings(**stated)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), **given)
        loaded: Any = AutoModelForSequenceClassification.from_pretrained(
            str(folder), dtype=torch.float32, use_safetensors=True, **given
        )
        self.model = loaded.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    @property
    def positions(self) -> int:
        """The longest text, in tokens, that the model can read."""
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 2**31)

    def values(self, asked: Sequence[tuple[str, str]]) -> list[float | None]:
        """One score for each (question, answer), in their order; None where both together are too long for the model."""
        user = [user_message(question, self.settings.instruction) for question, _ in asked]
        rows = [reward_ids(self.tokenizer, u, answer, self.settings.end) for u, (_, answer) in zip(user, asked, strict=True)]
        found: list[float | None] = [None] * len(rows)
        for places in batches([len(row) for row in rows], self.positions, BATCH_TOKENS):
            for place, value in zip(places, self._scores([rows[place] for place in places]), strict=True):
                found[place] = value
        return found

    def _scores(self, rows: Sequence[list[int]]) -> list[float]:
        import torch

        width, device, pad = max(map(len, rows)), self.model.device, self.model.config.pad_token_id
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        with torch.inference_mode():
            logits_B = self.model(input_ids=ids, attention_mask=mask).logits[:, 0].float()
        scores: list[float] = self.settings.outward(logits_B).tolist()
        return scores


def batches(lengths: Sequence[int], longest: int, budget: int) -> list[list[int]]:
    """Positions of the rows in batches of at most ``budget`` padded tokens, shortest first; longer than ``longest`` in none."""
    order = sorted((length, place) for place, length in enumerate(lengths) if length <= longest)
    found: list[list[int]] = []
    for length, place in order:
        if not found or length * (len(found[-1]) + 1) > budget:
            found.append([])
        found[-1].append(place)
    return found


def reward_model(folder: Path) -> RewardModel:
    """The reward model in a folder, loaded once while it stays as it is."""
    files = tuple((path.name, path.stat().st_mtime_ns) for path in sorted(folder.glob("*.safetensors")))
    return _loaded(folder, files)


@lru_cache(maxsize=HELD)
def _loaded(folder: Path, files: tuple[tuple[str, int], ...]) -> RewardModel:
    return RewardModel(folder)


def forget_reward_models() -> None:
    """Gives the memory of loaded reward models back."""
    _loaded.cache_clear()
