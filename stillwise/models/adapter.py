"""A folder that holds a low-rank adapter: put onto its base, or merged into it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stillwise.errors import MissingExtra


def need_peft() -> None:
    """Refuses where the package is missing, naming the extra."""
    from importlib.util import find_spec

    if find_spec("peft") is None:
        raise MissingExtra("a LoRA adapter", "lora")


@contextmanager
def still() -> Iterator[None]:
    """Silences what peft asks of transformers under an old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield


def adapted(base: Any, folder: Path, *, trainable: bool = False) -> Any:
    """The base with the folder's adapter on, to be trained further; or, not trainable, with the adapter merged into it."""
    need_peft()
    from peft import PeftModel

    with still():
        model = PeftModel.from_pretrained(base, str(folder), is_trainable=trainable)
    # What was frozen beside the adapter learns again once the adapter is part of it.
    return model if trainable else model.merge_and_unload().requires_grad_(True)
