"""Roles bound to models: openers for the executor, identities for fingerprints, and checks before any work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stillwise.errors import UserError
from stillwise.models.http_spec import HTTP_SCHEMES, Teacher
from stillwise.models.model import Model
from stillwise.models.open import WRITER, binding_folder, check_binding, gpus_of, open_model, split_binding, writer_identity
from stillwise.models.weights import folder_digest
from stillwise.records import digest
from stillwise.runtime.files import file_digest


@dataclass(frozen=True)
class OpenModel:
    """A picklable recipe for the model that a role is bound to."""

    binding: str
    threads: int

    def __call__(self) -> Model:
        return open_model(self.binding, threads=self.threads)

    @property
    def gpus(self) -> float:
        """GPUs of one copy, where there are any."""
        return gpus_of(self.binding)


def local_folder(binding: str) -> Path | None:
    """The folder of a local model, or of a hub id's local copy; None for a server, a script, or an id not fetched yet."""
    return binding_folder(binding)


def student_path(binding: str) -> Path:
    """What a trainer loads: a local folder, or the hub id as a path."""
    scheme, rest = split_binding(binding)
    if scheme not in ("transformers", "micro") or (scheme, rest) == ("micro", WRITER):
        raise UserError(f"the student {binding!r} cannot be trained: give a transformers folder or a hub id")
    return local_folder(binding) or Path(rest)


def identity(binding: str) -> str:
    """A digest of every file behind a binding that changes answers; a server and an id not fetched are their own words."""
    folder = local_folder(binding)
    scheme, rest = split_binding(binding)
    if folder is not None:
        # An engine's settings (its dtype above all) decide answers too.
        return digest(folder_digest(folder), rest.partition("?")[2]) if scheme == "vllm" else folder_digest(folder)
    if (scheme, rest) == ("micro", WRITER):
        return writer_identity()
    if scheme in HTTP_SCHEMES:
        return Teacher.of(binding).identity
    script = Path(rest)
    return digest(scheme, file_digest(script) if scheme == "scripted" and script.is_file() else rest)


def check_bindings(needed: Iterable[str], bound: Mapping[str, str]) -> None:
    """All roles without a model, and all bindings that cannot be opened, in one error.

    Models of the hub are fetched last, when nothing else is wrong: a typing error must not cost a download first.
    """
    roles = list(needed)
    given = {role: bound[role] for role in roles if role in bound}
    faults = [f"  role {role!r} has no model; give --{role} or a binding (--micro)" for role in roles if role not in bound]
    faults += _faults(given, fetch=False)
    faults = faults or _faults(given, fetch=True)
    if faults:
        raise UserError("\n".join([f"{len(faults)} fault(s) in the roles", *faults]))


def _faults(bound: Mapping[str, str], *, fetch: bool) -> list[str]:
    faults = []
    for role, binding in bound.items():
        try:
            check_binding(binding, fetch=fetch)
        except UserError as err:
            faults.append(f"  role {role!r}: {err}")
    return faults
