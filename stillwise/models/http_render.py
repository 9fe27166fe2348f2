"""A served model's tokenizer and template, read from a folder: exact prompts, counts and spellings without its weights."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from stillwise.arrows import Ask
from stillwise.errors import UserError
from stillwise.models.opening import rendered
from stillwise.models.spellings import spellings
from stillwise.records import THINK_CLOSE, THINK_OPEN


@dataclass(frozen=True)
class Rendering:
    """Renders asks as the served model's own template does."""

    folder: Path
    _spellings: dict[tuple[str, ...], list[str]] = field(default_factory=dict, compare=False)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer; a UserError where there is none, or no template with it."""
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self.folder, trust_remote_code=False, local_files_only=True)
        except (ValueError, OSError, KeyError) as err:
            raise UserError(f"the tokenizer in {self.folder} cannot be loaded: {err}") from err
        if not tokenizer.chat_template:
            raise UserError(f"tokenizer folder {self.folder} has no chat template; add chat_template.jinja")
        return tokenizer

    def render(self, ask: Ask) -> tuple[str, str]:
        """The prompt that the chat template gives, and what it opens of the answer."""
        return rendered(self.tokenizer, ask)

    def count(self, text: str) -> int:
        """Tokens of a text, no special ones added."""
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    def spellings(self, words: tuple[str, ...]) -> list[str]:
        """The words' usual spellings."""
        if words not in self._spellings:
            self._spellings[words] = spellings(self.tokenizer, words)
        return self._spellings[words]

    def spelled(self, words: tuple[str, ...]) -> list[tuple[int, ...]]:
        """Token sequences of the words' usual spellings."""
        texts = self.spellings(words)
        return list(dict.fromkeys(tuple(self.tokenizer.encode(text, add_special_tokens=False)) for text in texts))

    @cached_property
    def tags_survive(self) -> bool:
        """Whether the thought's tags are ordinary text to a server: as special tokens they would be missing in raw answers."""
        ids = self.tokenizer.encode(THINK_OPEN + THINK_CLOSE, add_special_tokens=False)
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return THINK_OPEN in text and THINK_CLOSE in text

    @cached_property
    def end_tokens(self) -> list[int]:
        """The ids that end an answer: the generation configuration's, else the tokenizer's."""
        stated: Any = None
        for name in ("generation_config.json", "config.json"):
            path = self.folder / name
            if stated is None and path.is_file():
                stated = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
        stated = self.tokenizer.eos_token_id if stated is None else stated
        return list(stated) if isinstance(stated, list) else [int(stated)]
