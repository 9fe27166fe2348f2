"""A model's folder: found, refused with a reason, or described by a digest of everything in it that changes answers."""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from stillwise.errors import UserError, nearest
from stillwise.models.remote import fetched, is_address
from stillwise.records import digest

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+\Z")
_HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
ADAPTER_CONFIG = "adapter_config.json"
_TEXT_FILES = (
    *("tokenizer*", "vocab*", "merges*", "*.model", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template*", "additional_chat_templates/*"),
)
_ANSWER_FILES = (
    *("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json"),
    *_TEXT_FILES,
)


def model_folder(path_or_id: str) -> Path:
    """The local folder of a model: the path itself, or the local copy of a hub id (fetched when missing)."""
    path = _hub_copy(path_or_id) if is_hub_id(path_or_id) else local_path(path_or_id)
    check_folder(path)
    return path


def local_path(path: str) -> Path:
    """A path of this machine; what lies at an address (``s3://…``) is fetched."""
    return fetched(path) if is_address(path) else Path(path).expanduser()


def is_hub_id(path_or_id: str) -> bool:
    """Whether a word means a model of the hub: ``owner/name`` where no such path, nor a folder to hold it, is here."""
    path = Path(path_or_id).expanduser()
    return bool(_HUB_ID.match(path_or_id)) and not path.exists() and not path.parent.is_dir()


def cached_folder(name: str) -> Path | None:
    """The local copy of a hub id as it was last fetched, or None; nothing is fetched."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(_HUB_FILES), local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError, OSError):
        return None


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
        kind = "is a file, not a folder" if path.exists() else f"does not exist{_similar(path)}"
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
    if is_adapter(path):
        base_folder(path)
    missing = [name for name in _listed_shards(path) if not (path / name).is_file()]
    if missing:
        raise UserError(f"model folder {path} lacks {len(missing)} weight shard(s), {missing[0]} first; copy it again")
    damaged = [file.name for file in weight_files(path) if not _is_whole(file)]
    if damaged:
        raise UserError(f"model folder {path}: {damaged[0]} is damaged or was copied in part; copy it again")
    if lacking := _lacking_texts(path):
        raise UserError(f"model folder {path} has {' and '.join(lacking)}")


def _similar(path: Path) -> str:
    models = [config.parent.name for config in path.parent.glob("*/config.json")]
    return f" ({nearest(path.name, models)})" if models else ""


def _lacking_texts(path: Path) -> list[str]:
    lacking = []
    if not (path / "tokenizer.json").is_file() and not (path / "tokenizer.model").is_file():
        lacking.append("no tokenizer.json (save the tokenizer into it with save_pretrained)")
    if not (path / "chat_template.jinja").is_file() and not _json(path / "tokenizer_config.json").get("chat_template"):
        lacking.append("no chat template (add chat_template.jinja; an instruction-tuned model of the same family has one)")
    return lacking


def _json(path: Path) -> dict[str, Any]:
    """The object in a file, empty where there is no such file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as err:
        raise UserError(f"{path} is not JSON ({err}); copy the model again") from err
    return found if isinstance(found, dict) else {}


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a folder, by name."""
    return sorted(path.glob("*.safetensors"))


def _is_whole(file: Path) -> bool:
    """Whether a safetensors file's header can be read and its size is what the header says; no weights are read."""
    size = file.stat().st_size
    with file.open("rb") as held:
        length = int.from_bytes(held.read(8), "little")
        try:
            header: dict[str, Any] = json.loads(held.read(min(length, size)))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, AttributeError, TypeError, KeyError):
            return False
    return 8 + length + max(ends, default=0) == size


def _listed_shards(path: Path) -> list[str]:
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        return []
    try:
        return sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as err:
        raise UserError(f"{index} is not a safetensors index; copy the model again") from err


def is_adapter(path: Path) -> bool:
    """Whether a folder holds an adapter and not a model's weights."""
    return (path / ADAPTER_CONFIG).is_file()


def base_folder(path: Path) -> Path:
    """The folder with the weights that an adapter folder adapts; a folder with weights of its own is its own base."""
    if not is_adapter(path):
        return path
    base = Path(str(_json(path / ADAPTER_CONFIG).get("base_model_name_or_path", "")))
    if not (base / "config.json").is_file():
        raise UserError(
            f"the adapter {path} belongs to the weights in {base}, which are not there; put them back, or write where they are "
            f"into {ADAPTER_CONFIG} (base_model_name_or_path)"
        )
    return base


def folder_digest(path: Path) -> str:
    """A digest of every file that changes answers: weights, configuration, end tokens, tokenizer and template; an adapter's
    base included.

    A file's content is hashed once per process and change.
    """
    own = _digest_of(path, _ANSWER_FILES)
    return digest(own, folder_digest(base_folder(path))) if is_adapter(path) else own


def text_digest(path: Path) -> str:
    """A digest of a folder's tokenizer and chat template."""
    if not path.is_dir():
        raise UserError(f"tokenizer folder {path} does not exist{_similar(path)}; give the folder that holds tokenizer.json")
    return _digest_of(path, _TEXT_FILES)


def _digest_of(path: Path, patterns: tuple[str, ...]) -> str:
    files = sorted({file for pattern in patterns for file in path.glob(pattern) if file.is_file()})
    return digest([(file.relative_to(path).as_posix(), _file_hash(file)) for file in files])


def _file_hash(path: Path) -> str:
    stat = path.stat()
    return _hash_of(str(path.resolve()), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _hash_of(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
