"""Prompts as packaged text files with a version in their name: ``verbosity-1.txt``. A changed text is a new version."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from string import Template
from typing import Any

from stillwise.errors import UserError, nearest

STUDENT = "a language model of a few billion parameters"
"""How a student is named to a teacher or judge, unless the recipe says more."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One text with ``$name`` places; values are put in as they are and never read as places themselves."""

    name: str
    text: str

    def filled(self, **values: str) -> str:
        """The text with every place filled. Raises KeyError where a place has no value."""
        return Template(self.text).substitute(values)


@lru_cache(maxsize=64)
def packaged(package: str, name: str) -> Prompt:
    """The prompt ``prompts/NAME.txt`` of a package. Raises UserError that names the nearest one."""
    folder = files(package) / "prompts"
    file = folder / f"{name}.txt"
    if not file.is_file():
        known = sorted(each.name.removesuffix(".txt") for each in folder.iterdir() if each.name.endswith(".txt"))
        raise UserError(f"no prompt {name!r}; {nearest(name, known)}")
    return Prompt(name, file.read_text(encoding="utf-8").strip())


def excerpt(text: str, max_chars: int) -> str:
    """The text, or where it is longer its first and last half of ``max_chars`` with the cut stated between them."""
    if len(text) <= max_chars:
        return text
    half = max_chars // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


def schema(**properties: Mapping[str, Any]) -> str:
    """The JSON schema, as text, of an object with exactly these properties."""
    shape = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return json.dumps(shape, sort_keys=True)


class _SaidTwice(ValueError):
    """An object has two values under one key."""


def _said_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _SaidTwice
    return found


def only_object(text: str) -> Mapping[str, Any] | None:
    """The one JSON object that a text holds; None where there is none, more than one, or one that says a thing twice."""
    found: list[Mapping[str, Any]] = []
    decoder, place = json.JSONDecoder(object_pairs_hook=_said_once), text.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except _SaidTwice:
            return None
        except (ValueError, RecursionError):
            end = place + 1
        else:
            found += [value] if isinstance(value, dict) else []
        place = text.find("{", end)
    return found[0] if len(found) == 1 else None
