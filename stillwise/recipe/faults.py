"""YAML with line numbers, and the collecting of faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stillwise.errors import Fault, RecipeError, UserError, nearest

Place = tuple[str | int, ...]


def _lines(node: yaml.Node, at: Place = ()) -> dict[Place, int]:
    table: dict[Place, int] = {at: node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            table |= _lines(value, (*at, key.value))
            table[(*at, key.value)] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            table |= _lines(value, (*at, i))
    return table


def _twice(node: yaml.Node, at: Place = ()) -> list[Place]:
    found: list[Place] = []
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        found += [(*at, key) for key in dict.fromkeys(keys) if keys.count(key) > 1]
        for key, value in node.value:
            found += _twice(value, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            found += _twice(value, (*at, i))
    return found


@dataclass
class Document:
    """A YAML file's data, the line of every place in it, and the faults found so far."""

    path: str
    data: Any
    lines: dict[Place, int]
    faults: list[Fault] = field(default_factory=list)

    def fault(self, place: Place, what: str) -> None:
        """Note a fault; the line is that of the place or of its nearest parent that has one."""
        line = next((self.lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in self.lines), None)
        self.faults.append(Fault(where=".".join(map(str, place)) or "file", line=line, what=what))

    def validation(self, err: ValidationError, at: Place, known: Sequence[str] = ()) -> None:
        """Note every fault of a pydantic error that happened below a place."""
        for item in err.errors():
            place = (*at, *item["loc"])
            if item["type"] == "extra_forbidden":
                self.fault(place, f"unknown key {item['loc'][-1]!r}; {nearest(str(item['loc'][-1]), known)}")
            else:
                self.fault(place, item["msg"].removeprefix("Value error, "))

    def raise_faults(self) -> None:
        """All faults at once, or nothing."""
        if self.faults:
            raise RecipeError(self.path, self.faults)


# libyaml's loader builds the same safe values ten times as fast, which a command that must be instant notices.
_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_document(path: Path) -> Document:
    """The file as data; a syntax error, a key written twice and a missing file are clear errors."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise UserError(f"no such file: {path}; {nearest(path.name, near)}") from None
    except (OSError, UnicodeDecodeError) as err:
        raise UserError(f"cannot read {path}: {err}") from err
    return parse_document(text, str(path))


def parse_document(text: str, path: str) -> Document:
    """The text as data with lines; faults of syntax are raised at once, for nothing else can be known."""
    try:
        loader = _SafeLoader(text)
        node = loader.get_single_node()
        data = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        line = mark.line + 1 if mark else None
        raise RecipeError(path, [Fault("file", line, f"not valid YAML: {getattr(err, 'problem', err)}")]) from None
    document = Document(path, data, _lines(node) if node is not None else {})
    for place in _twice(node) if node is not None else []:
        document.fault(place, "written twice")
    if not isinstance(data, dict):
        document.fault((), "needs a mapping with the keys paper, about, roles and steps")
        document.raise_faults()
    return document
