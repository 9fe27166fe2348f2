"""A model from a binding: the one place that knows which back end answers to which scheme."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stillwise.errors import MissingExtra, UserError, nearest
from stillwise.models.http_spec import HTTP_SCHEMES, Teacher
from stillwise.models.model import Model
from stillwise.models.weights import cached_folder, check_folder, is_hub_id, local_path, model_folder
from stillwise.records import digest

SCHEMES = ("transformers", "micro", "vllm", "scripted", "http", "https", "openai", "teacher")
WEIGHTS = ("transformers", "vllm")
"""Schemes of a folder of weights, or of a hub id."""
WRITER = "writer"
"""Of the embedded world, but no model: ``micro:writer`` is a program."""
BATCH_TOKENS = 131_072
"""Tokens that the local back end's cache may hold at once (prompt and answer of all live rows)."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+_-]+):(.*)\Z", re.DOTALL)


def open_model(
    binding: str, *, threads: int, batch_tokens: int = BATCH_TOKENS, dtype: str = "float32", device: str = "auto"
) -> Model:
    """The model of ``transformers:PATH_OR_ID`` (or a bare path), ``vllm:PATH_OR_ID``, ``micro:NAME``, ``scripted:FILE.jsonl``.

    Or of a server: ``http://HOST/v1#MODEL``, ``openai:MODEL`` and ``teacher:FILE.yaml``.
    """
    scheme, rest = split_binding(binding)
    if scheme in HTTP_SCHEMES:
        from stillwise.models.http import HttpModel

        return HttpModel(Teacher.of(binding), binding)
    if scheme == "vllm":
        if find_spec("vllm") is None:
            raise MissingExtra(f"model {binding!r}", "vllm")
        from stillwise.models.vllm import VllmModel
        from stillwise.models.vllm_place import Place

        return VllmModel(Place.of(rest))
    if scheme == "scripted":
        from stillwise.models.scripted import scripted_model

        return scripted_model(Path(rest), binding)
    if scheme == "micro" and rest == WRITER:
        return micro_writer(binding)
    from stillwise.models.transformers import TransformersModel

    path = str(_micro_folder(rest)) if scheme == "micro" else rest
    return TransformersModel(path, threads=threads, batch_tokens=batch_tokens, dtype=dtype, device=device)


def check_binding(binding: str, *, fetch: bool) -> None:
    """Refuses a binding that cannot be opened, loading no weights; a hub id is looked at only if it may be fetched."""
    scheme, rest = split_binding(binding)
    if scheme == "vllm" and find_spec("vllm") is None:
        raise MissingExtra(f"model {binding!r}", "vllm")
    if scheme in HTTP_SCHEMES:
        teacher = Teacher.of(binding)
        teacher.key()
        teacher.identity  # noqa: B018 -- the tokenizer's folder is looked at
    elif scheme == "scripted":
        from stillwise.models.scripted import scripted_model

        scripted_model(Path(rest), binding)
    elif scheme in WEIGHTS and is_hub_id(weights_of(scheme, rest)):
        if fetch:
            model_folder(weights_of(scheme, rest))
    elif folder := binding_folder(binding):
        check_folder(folder)


def binding_folder(binding: str) -> Path | None:
    """The folder of a local model, or of a hub id's local copy; None for a server, a script, an id not fetched yet, and the
    embedded writer, which is a program."""
    scheme, rest = split_binding(binding)
    if scheme == "micro":
        return None if rest == WRITER else _micro_folder(rest)
    if scheme not in WEIGHTS:
        return None
    path = weights_of(scheme, rest)
    return cached_folder(path) if is_hub_id(path) else local_path(path)


def weights_of(scheme: str, rest: str) -> str:
    """The path or hub id of a binding of weights; raises UserError for settings of an engine that there are not."""
    if scheme != "vllm":
        return rest
    from stillwise.models.vllm_place import Place

    return Place.of(rest).path


def gpus_of(binding: str) -> float:
    """GPUs that one copy of a model of weights takes where there are any."""
    scheme, rest = split_binding(binding)
    if scheme != "vllm":
        return 1.0
    from stillwise.models.vllm_place import Place

    return float(Place.of(rest).settings.tensor_parallel_size)


def split_binding(binding: str) -> tuple[str, str]:
    """(scheme, rest); a bare path or hub id is the transformers back end's, an unknown scheme a UserError."""
    found = _SCHEME.match(binding)
    if not found or Path(binding).exists():
        return "transformers", binding
    scheme, rest = found.groups()
    if scheme not in SCHEMES:
        raise UserError(f"model {binding!r}: no back end is called {scheme!r}; {nearest(scheme, SCHEMES)}")
    if not rest:
        raise UserError(f"model {binding!r}: nothing stands after '{scheme}:'")
    return scheme, rest


def micro_writer(binding: str) -> Model:
    """The embedded writer behind the interface of a model; it counts tokens as the embedded models do."""
    from stillwise.micro import writer
    from stillwise.models.scripted import ScriptedModel

    def count(text: str) -> int:
        return len(_micro_tokenizer().encode(text, add_special_tokens=False).ids)

    return ScriptedModel(lambda request: writer.write(request.ask.user), name=binding, revision=writer_identity(), count=count)


def writer_identity() -> str:
    """A digest of what the embedded writer writes: its name and its version."""
    from stillwise.micro.writer import VERSION

    return digest("micro", WRITER, VERSION)


@cache
def _micro_tokenizer() -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(_micro_folder("reasoner") / "tokenizer.json"))


def _micro_folder(name: str) -> Path:
    """The shipped checkpoints are data of the package; their folder is read, no code of it is needed."""
    folder = Path(__file__).parents[1] / "micro" / "models"
    known = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if name not in known:
        raise UserError(f"no micro model is called {name!r}; {nearest(name, [*known, WRITER])}")
    return folder / name
