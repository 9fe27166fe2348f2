"""A student's folder: loaded from safetensors in float32, and written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stillwise.errors import UserError
from stillwise.models.adapter import adapted
from stillwise.models.pieces import vocabulary_size
from stillwise.models.weights import base_folder, check_folder, is_adapter
from stillwise.runtime.files import disk_errors, sync_folder
from stillwise.train import processes
from stillwise.train.adapters import merged, save_adapter

COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
)
"""What a student inherits byte for byte; its README and licence speak of other weights and stay behind."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' own messages and bars off the screen; what was set before is set again afterwards."""
    from transformers.utils import logging as hf_logging

    logging: Any = hf_logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_tokenizer(student: Path) -> Any:
    """The student's tokenizer; refused without a chat template, for a student is asked through its own."""
    from transformers import AutoTokenizer

    check_folder(student)
    tokenizer = AutoTokenizer.from_pretrained(str(student), local_files_only=True)
    if not tokenizer.chat_template:
        raise UserError(
            f"student folder {student} has no chat template; add chat_template.jinja (a base model's instruct sibling has one)"
        )
    _check_vocabulary(student, tokenizer)
    return tokenizer


def _check_vocabulary(student: Path, tokenizer: Any) -> None:
    """Refuses a tokenizer with ids for which the weights have no row: tokens were added and the embeddings not resized."""
    from transformers import AutoConfig

    rows = AutoConfig.from_pretrained(str(student), local_files_only=True).get_text_config().vocab_size
    highest = vocabulary_size(tokenizer) - 1
    if highest >= rows:
        raise UserError(
            f"the tokenizer in {student} has ids up to {highest} ({tokenizer.convert_ids_to_tokens(highest)!r}), and its "
            f"weights {rows} rows: resize the embeddings (resize_token_embeddings), or take the tokenizer that belongs to them"
        )


def load_model(student: Path, attention: str | None, trainable: bool = False) -> Any:
    """The student in float32, with this attention or (None) the architecture's default one.

    An adapter folder comes merged into its base, or with ``trainable`` with its adapter on and the base frozen.
    """
    model = _load_whole(base_folder(student))
    if is_adapter(student):
        model = adapted(model, student, trainable=trainable)
    if attention:
        if not getattr(model, "_supports_attention_backend", False):
            raise UserError(f"rows cannot be packed for a {model.config.model_type} student; set packing: false on the trainer")
        model.set_attn_implementation(attention)
    return model


def _load_whole(student: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(str(student), dtype=torch.float32, use_safetensors=True, local_files_only=True)


def recompute_activations(model: Any) -> None:
    """Trades time for memory: activations are computed again in the backward pass."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


@contextmanager
def whole_folder(out: Path, each: bool = False) -> Iterator[Path]:
    """A temporary folder beside ``out`` that takes its name when the block ends well; otherwise it leaves no trace.

    Of several processes that train together the first one writes, and what the others write is thrown away; with ``each``
    every process writes its own.
    """
    if processes.rank() > 0 and not each:
        with tempfile.TemporaryDirectory() as nowhere:
            yield Path(nowhere)
        return
    if out.exists():
        raise UserError(f"{out} exists already and is not overwritten; remove it or choose another folder")
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            yield aside
            aside.chmod(0o755)
            _sync_files(aside)
            aside.rename(out)
            sync_folder(out.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _sync_files(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def save_student(model: Any, source: Path, folder: Path, end: int) -> None:
    """Float32 weights (or an adapter alone), the source's tokenizer and template, and generation settings that know the end
    token."""
    from stillwise.train.loop import WHOLE

    state, model = WHOLE.get(model), merged(model)
    if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
        save_adapter(model, source, folder, state)
    else:
        model.save_pretrained(str(folder), state_dict=state)
    for name in COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    generation = source / "generation_config.json"
    settings = json.loads(generation.read_text(encoding="utf-8")) if generation.is_file() else {}
    settings["eos_token_id"] = _with_end(settings.get("eos_token_id", model.config.eos_token_id), end)
    (folder / generation.name).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _with_end(known: int | list[int] | None, end: int) -> int | list[int]:
    ids = [known] if isinstance(known, int) else list(known or [])
    ids = ids if end in ids else [end, *ids]
    return ids[0] if len(ids) == 1 else ids
