"""YAML with line numbers, and the collecting of faults."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stillwise.errors import Fault, RecipeError, UserError, nearest

Place = tuple[str | int, ...]

STEP_DEPTH = 3
"""A step's place is ``steps``, its number and its arrow; in a block of rounds as much again behind the block's."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def name_fault(name: object) -> str | None:
    """What is wrong with a name that becomes a folder or file name; None where it can be one."""
    plain = isinstance(name, (str, int)) and not isinstance(name, bool)
    if plain and _NAME.fullmatch(str(name)):
        return None
    return f"{name!r} cannot be a name: use letters, digits, '_', '.' and '-', a letter or digit first"


def _cycle(node: yaml.Node, above: tuple[int, ...] = ()) -> yaml.Node | None:
    """A node that contains itself through an alias."""
    if id(node) in above:
        return node
    if not isinstance(node, yaml.CollectionNode):
        return None
    pairs = isinstance(node, yaml.MappingNode)
    children = [child for pair in node.value for child in pair] if pairs else node.value
    return next((found for child in children if (found := _cycle(child, (*above, id(node)))) is not None), None)


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
    written: dict[Place, tuple[Document, Place]] = field(default_factory=dict)
    """Places whose value another document wrote (a binding, the command line), and where it says so."""

    def fault(self, place: Place, what: str) -> None:
        """Note a fault once, where its value was written; the line is that of the place or of its nearest parent."""
        writer = self._writer(place)
        if writer is not None:
            writer[0].fault(writer[1], what)
            return
        line = next((self.lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in self.lines), None)
        found = Fault(where=".".join(map(str, place)) or "file", line=line, what=what)
        if found not in self.faults:
            self.faults.append(found)

    def _writer(self, place: Place) -> tuple[Document, Place] | None:
        above = next((place[:n] for n in range(len(place), 0, -1) if place[:n] in self.written), None)
        if above is not None:
            return self.written[above]
        # An unknown kind, or a field of something that has none, is found at the parent of what was written.
        inside = len(place) > STEP_DEPTH * (1 + (place[STEP_DEPTH : STEP_DEPTH + 1] == ("steps",)))
        below = [at for at in self.written if at[:-1] == place and (at[-1] == "kind" or inside)]
        return self.written[below[-1]] if below else None

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
        raise_all(self)


def raise_all(*documents: Document) -> None:
    """One error with the faults of all documents, each under its own path; nothing where there is none."""
    errors = [RecipeError(document.path, document.faults) for document in documents if document.faults]
    if not errors:
        return
    error = RecipeError(errors[0].path, [fault for each in errors for fault in each.faults])
    error.args = ("\n".join(map(str, errors)),)
    raise error


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


def parse_value(text: str) -> tuple[Any, yaml.Node | None]:
    """The value of a YAML text and its node; raises YAMLError for whatever is not a finite value."""
    try:
        loader = _SafeLoader(text)
        node = loader.get_single_node()
        inside = _cycle(node) if node is not None else None
        if inside is not None:
            raise yaml.MarkedYAMLError(problem="an alias that contains itself", problem_mark=inside.start_mark)
        return (loader.construct_document(node) if node is not None else None), node
    except ValueError as err:
        raise yaml.MarkedYAMLError(problem=str(err)) from err
    except RecursionError as err:
        raise yaml.MarkedYAMLError(problem="nested too deeply") from err


def parse_document(text: str, path: str) -> Document:
    """The text as data with lines; faults of syntax are raised at once, for nothing else can be known."""
    try:
        data, node = parse_value(text)
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
