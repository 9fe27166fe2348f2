"""Roles bound to models: openers for the executor, identities for fingerprints, and checks before any work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from stillwise import micro
from stillwise.errors import UserError, nearest
from stillwise.models.model import Model
from stillwise.records import digest
from stillwise.runtime.files import file_digest

SCHEMES = ("transformers", "micro", "scripted", "vllm", "http", "https")
_IDENTITY = ("*.safetensors", "config.json", "tokenizer*", "chat_template*", "vocab*", "merges*", "special_tokens_map.json")


@dataclass(frozen=True)
class OpenModel:
    """A picklable recipe for the model that a role is bound to."""

    binding: str
    threads: int

    def __call__(self) -> Model:
        from stillwise.models.open import open_model

        return open_model(self.binding, threads=self.threads)


def split_binding(binding: str) -> tuple[str, str]:
    """``scheme:rest``; a bare path or hub id is ``transformers``."""
    scheme, colon, rest = binding.partition(":")
    if not colon or scheme not in SCHEMES:
        if colon and "/" not in scheme and "." not in scheme and not Path(binding).exists():
            raise UserError(f"model {binding!r}: no back end is called {scheme!r}; {nearest(scheme, SCHEMES)}")
        return "transformers", binding
    return scheme, rest


def local_folder(binding: str) -> Path | None:
    """The folder of a local model; None for a server or a hub id."""
    scheme, rest = split_binding(binding)
    if scheme == "micro":
        return micro.path(rest)
    if scheme == "transformers" and (Path(rest).is_dir() or rest.startswith((".", "/", "~"))):
        return Path(rest).expanduser()
    return None


def student_path(binding: str) -> Path:
    """What a trainer loads: a local folder, or the hub id as a path."""
    scheme, rest = split_binding(binding)
    if scheme not in ("transformers", "micro"):
        raise UserError(f"the student {binding!r} cannot be trained: give a transformers folder or a hub id")
    return local_folder(binding) or Path(rest)


@lru_cache(maxsize=256)
def _file_identity(path: str, size: int, mtime_ns: int) -> str:
    return file_digest(Path(path))


def identity(binding: str) -> str:
    """A digest of the weights, configuration, tokenizer and template behind a binding; a server is its own word."""
    folder = local_folder(binding)
    if folder is None:
        scheme, rest = split_binding(binding)
        path = Path(rest)
        return digest(scheme, file_digest(path) if path.is_file() else rest)
    files = sorted({path for pattern in _IDENTITY for path in folder.glob(pattern) if path.is_file()})
    return digest([(p.name, _file_identity(str(p), p.stat().st_size, p.stat().st_mtime_ns)) for p in files])


def check_bindings(needed: Iterable[str], bound: Mapping[str, str]) -> None:
    """All roles without a model, and all bindings that cannot be opened, in one error."""
    faults = [f"  role {role!r} has no model; give --{role} or a binding (--micro)" for role in needed if role not in bound]
    for role in needed:
        if role in bound and (fault := _fault(bound[role])):
            faults.append(f"  role {role!r}: {fault}")
    if faults:
        raise UserError("\n".join([f"{len(faults)} fault(s) in the roles", *faults]))


def _fault(binding: str) -> str | None:
    try:
        folder = local_folder(binding)
    except UserError as err:
        return str(err)
    return None if folder is None else folder_fault(folder)


def folder_fault(folder: Path) -> str | None:
    """What keeps a folder from being a model that can be loaded safely, or None."""
    if not folder.is_dir():
        near = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
        return f"no such folder: {folder}; {nearest(folder.name, near)}"
    if not (folder / "config.json").is_file():
        return f"{folder} has no config.json; a transformers folder is needed"
    if not list(folder.glob("*.safetensors")):
        return f"{folder} has no *.safetensors; weights in other formats are not loaded, convert them first"
    if not (folder / "chat_template.jinja").is_file() and "chat_template" not in _tokenizer_config(folder):
        return f"{folder} has no chat template; add chat_template.jinja or 'chat_template' in tokenizer_config.json"
    return None


def _tokenizer_config(folder: Path) -> str:
    path = folder / "tokenizer_config.json"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
