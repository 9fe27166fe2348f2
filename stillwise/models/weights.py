"""A model's folder: found, refused with a reason, or described by a digest of everything in it that changes answers."""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path

from stillwise.errors import UserError
from stillwise.records import digest

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+\Z")
_HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
_SMALL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "tokenizer.model")


def model_folder(path_or_id: str) -> Path:
    """The local folder of a model: the path itself, or the local copy of a hub id (fetched when missing)."""
    path = Path(path_or_id).expanduser()
    if not path.is_dir() and not path.exists() and _HUB_ID.match(path_or_id) and not path.parent.is_dir():
        path = _hub_copy(path_or_id)
    check_folder(path)
    return path


def _hub_copy(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(_HUB_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as err:
        raise UserError(
            f"model {name!r} is neither a folder here nor could it be fetched from the hub ({type(err).__name__}); "
            "give the path of a local transformers folder, or connect to the hub once"
        ) from err


def check_folder(path: Path) -> None:
    """Refuses a folder that cannot be loaded safely and whole: what is missing, where, and what to do."""
    if not path.is_dir():
        kind = "is a file, not a folder" if path.exists() else "does not exist"
        raise UserError(f"model folder {path} {kind}; give the folder that holds config.json and *.safetensors")
    if not (path / "config.json").is_file():
        raise UserError(f"model folder {path} has no config.json; give a transformers folder (save_pretrained writes one)")
    if not weight_files(path):
        found = sorted(p.name for p in path.glob("*.bin"))
        other = f" ({found[0]} is not loaded: pickled weights can run code)" if found else ""
        raise UserError(
            f"model folder {path} has no *.safetensors weights{other}; save the model with save_pretrained, "
            "which writes safetensors"
        )
    missing = [name for name in _listed_shards(path) if not (path / name).is_file()]
    if missing:
        raise UserError(f"model folder {path} lacks {len(missing)} weight shard(s), {missing[0]} first; copy it again")
    if not (path / "tokenizer.json").is_file() and not (path / "tokenizer.model").is_file():
        raise UserError(f"model folder {path} has no tokenizer.json; save the tokenizer into it with save_pretrained")


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a folder, by name."""
    return sorted(path.glob("*.safetensors"))


def _listed_shards(path: Path) -> list[str]:
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        return []
    try:
        return sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as err:
        raise UserError(f"{index} is not a safetensors index; copy the model again") from err


def folder_digest(path: Path) -> str:
    """A digest of weights, configuration, tokenizer and template; file contents are hashed once per process and change."""
    files = [*weight_files(path), *(path / name for name in _SMALL_FILES if (path / name).is_file())]
    return digest([(file.name, _file_hash(file)) for file in files])


def _file_hash(path: Path) -> str:
    stat = path.stat()
    return _hash_of(str(path.resolve()), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _hash_of(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
