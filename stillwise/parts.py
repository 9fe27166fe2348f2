"""Part, Catalogue and the two field marks: the only framework code.

A part is a frozen value. Its fields are what a recipe may set, its defaults are what the paper published, its one method is
the work. A class without ``kind`` is an arrow (abstract); a class with ``kind`` is final. A field whose type is an arrow is
filled from a mapping with ``kind`` (or from the bare kind), looked up in the catalogue of the validation context.
"""

from __future__ import annotations

import importlib
import importlib.util
from abc import ABC
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import ModuleType
from typing import Annotated, Any, ClassVar, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from stillwise.errors import UserError, nearest
from stillwise.records import digest

BUILTIN_FOLDERS = ("sample", "verify", "rewrite", "select", "curriculum", "train", "evaluate", "problems", "score")
"""In the order in which kinds are looked for: what a recipe's steps seldom name comes last and is often not imported."""
ENTRY_POINT_GROUP = "stillwise.parts"

V = TypeVar("V")


class _RoleMark:
    """Marks a string field that names a model role."""


class _InputMark:
    """Marks a string field that names an earlier step's output."""


class _ScoresMark:
    """Marks an input that is a scoring step's output."""


Role = Annotated[str, _RoleMark]
Input = Annotated[str, _InputMark]
Scores = Annotated[str, _InputMark, _ScoresMark]


class Fields(BaseModel):
    """A frozen group of fields inside a part (no behaviour of its own)."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)


class Part(Fields, ABC):
    """Base of everything that a recipe can name."""

    kind: ClassVar[str]
    revision: ClassVar[int] = 1
    """Raised by hand when the behaviour changes; part of the fingerprint."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        for base in cls.__mro__[1:]:
            if isinstance(base, type) and issubclass(base, Part) and "kind" in vars(base):
                raise TypeError(f"{cls.__name__} subclasses {base.__name__}, which is final; wrap it instead")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        if "kind" in vars(cls):
            return handler(source)
        return core_schema.with_info_plain_validator_function(cls._pick)

    @classmethod
    def _pick(cls, value: Any, info: ValidationInfo) -> Part:
        if isinstance(value, cls):
            return value
        spec = {"kind": value} if isinstance(value, str) else value
        if not isinstance(spec, Mapping) or not isinstance(spec.get("kind"), str):
            raise PydanticCustomError(
                "no_kind", "needs the name of a {arrow}, or a mapping with 'kind'", {"arrow": cls.__name__}
            )
        catalogue: Catalogue = (info.context or {}).get("catalogue") or builtin_catalogue()
        found = catalogue.find(str(spec["kind"]), cls)
        return found.model_validate({k: v for k, v in spec.items() if k != "kind"}, context=info.context)

    def as_dict(self) -> dict[str, Any]:
        """Kind and fields as plain JSON values; nested parts keep their kind and all their fields."""
        return {"kind": self.kind, **_plain_fields(self)}

    @property
    def fingerprint(self) -> str:
        """A digest of kind, revision and every field, nested parts and their revisions included."""
        return digest(self.as_dict(), sorted((p.kind, p.revision) for p in walk_parts(self)))


def _plain_fields(value: BaseModel) -> dict[str, Any]:
    fields = type(value).model_fields
    return {(info.alias or name): plain(getattr(value, name)) for name, info in fields.items()}


def plain(value: Any) -> Any:
    """The value as JSON types. Walks values, not annotations: a field typed as an arrow keeps its subclass's fields."""
    if isinstance(value, Part):
        return value.as_dict()
    if isinstance(value, BaseModel):
        return _plain_fields(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, BaseModel):
        yield from (getattr(value, name) for name in type(value).model_fields)
    elif isinstance(value, (tuple, list)):
        yield from value
    elif isinstance(value, Mapping):
        yield from value.values()


def walk_parts(value: Any) -> Iterator[Part]:
    """The parts inside a value, itself included, depth first."""
    if isinstance(value, Part):
        yield value
    for child in _children(value):
        yield from walk_parts(child)


def marked(value: Any, mark: type) -> Iterator[str]:
    """The strings of all fields that carry a mark, nested ones included, in field order."""
    if isinstance(value, BaseModel):
        for name in _marked_fields(type(value), mark):
            held = getattr(value, name)
            yield from [held] if isinstance(held, str) else held or []
    for child in _children(value):
        if isinstance(child, (BaseModel, tuple, list, Mapping)):
            yield from marked(child, mark)


@cache
def _marked_fields(model: type[BaseModel], mark: type) -> tuple[str, ...]:
    fields = model.model_fields.items()
    return tuple(name for name, info in fields if mark in info.metadata or _alias_metadata(info.annotation, mark))


def _alias_metadata(annotation: Any, mark: type) -> bool:
    inner = getattr(annotation, "__value__", annotation)
    if mark in getattr(inner, "__metadata__", ()):
        return True
    return any(_alias_metadata(arg, mark) for arg in getattr(annotation, "__args__", ()))


def roles_of(value: Any) -> tuple[str, ...]:
    """The model roles that a part uses, each once, in field order."""
    return tuple(dict.fromkeys(marked(value, _RoleMark)))


def inputs_of(value: Any) -> tuple[str, ...]:
    """The earlier outputs that a part names in its own fields, each once, in field order."""
    return tuple(dict.fromkeys(marked(value, _InputMark)))


def scores_of(value: Any) -> tuple[str, ...]:
    """Of the earlier outputs that a part names, those of scoring steps."""
    return tuple(dict.fromkeys(marked(value, _ScoresMark)))


def traces_of(value: Any) -> tuple[str, ...]:
    """Of the earlier outputs that a part names, those that are no scores."""
    scores = scores_of(value)
    return tuple(name for name in inputs_of(value) if name not in scores)


Names = Callable[[str], tuple[str, ...]]
"""A name to what stands in its place; a list of names takes all of them, a single name only one."""


def renamed(value: V, inputs: Names, roles: Names) -> V:
    """The same part with other names of earlier outputs and of model roles, nested parts' names too."""
    if isinstance(value, tuple):
        return cast(V, tuple(renamed(item, inputs, roles) for item in value))
    if not isinstance(value, BaseModel):
        return value
    changes: dict[str, Any] = {}
    for field in type(value).model_fields:
        held = getattr(value, field)
        names = next(
            (f for mark, f in ((_InputMark, inputs), (_RoleMark, roles)) if field in _marked_fields(type(value), mark)), None
        )
        other = renamed(held, inputs, roles) if names is None else _renamed_names(held, names)
        if other != held:
            changes[field] = other
    return cast(V, value.model_copy(update=changes) if changes else value)


def _renamed_names(held: Any, names: Names) -> Any:
    if isinstance(held, str):
        found = names(held)
        return found[0] if len(found) == 1 else held
    return tuple(name for each in held for name in names(each)) if isinstance(held, tuple) else held


@dataclass(frozen=True)
class Catalogue:
    """The kinds that a recipe may name. A value, not a global: tests and plug-ins build their own."""

    parts: Mapping[str, type[Part]]

    @classmethod
    def of(cls, parts: Iterable[type[Part]]) -> Self:
        """A catalogue of these classes; two of one kind are refused."""
        table: dict[str, type[Part]] = {}
        for part in parts:
            if part.kind in table and table[part.kind] is not part:
                raise UserError(f"two parts are called {part.kind!r}: {table[part.kind].__module__} and {part.__module__}")
            table[part.kind] = part
        return cls(table)

    def of_arrow(self, arrow: type[Part]) -> list[str]:
        """The kinds of one arrow, sorted."""
        return sorted(kind for kind, part in self.parts.items() if issubclass(part, arrow))

    def find(self, kind: str, arrow: type[Part]) -> type[Part]:
        """The class of this kind; raises a validation error that names the nearest kind or the arrow it really is."""
        found = self.parts.get(kind)
        if found is not None and issubclass(found, arrow):
            return found
        other = f" (it is a {_arrow_name(found)}, not a {arrow.__name__})" if found else ""
        hint = nearest(kind, self.of_arrow(arrow))
        message = f"no {arrow.__name__} is called {kind!r}{other}; {hint}"
        raise PydanticCustomError("unknown_kind", "{message}", {"message": message})

    def extended(self, module: ModuleType) -> Catalogue:
        """This catalogue and a plug-in module's ``PARTS``."""
        return Catalogue.of([*self.parts.values(), *_table(module).values()])


def _arrow_name(part: type[Part]) -> str:
    return next(base.__name__ for base in part.__mro__ if "kind" not in vars(base))


class PartTable(Mapping[str, "type[Part]"]):
    """The parts of one folder, kind to class, written as ``kind="module.Class"``; a module is imported when its part is read.

    So a recipe costs the parts that it names, not all that there are.
    """

    def __init__(self, package: str, **places: str) -> None:
        self._package, self._places = package, places

    def __getitem__(self, kind: str) -> type[Part]:
        module, _, name = self._places[kind].rpartition(".")
        found: type[Part] = getattr(importlib.import_module(f"{self._package}.{module}"), name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _table(module: ModuleType) -> Mapping[str, type[Part]]:
    """A module's ``PARTS``: a table as it is, a tuple of classes (a plug-in's) by kind."""
    held = module.PARTS
    return held if isinstance(held, Mapping) else Catalogue.of(held).parts


class _Installed(Mapping[str, "type[Part]"]):
    """The parts of the arrow folders and of installed plug-ins, which are only loaded when no folder knows a kind."""

    def __init__(self) -> None:
        self._tables: list[Mapping[str, type[Part]]] = []
        self._coming = self._modules()

    @staticmethod
    def _modules() -> Iterator[ModuleType]:
        for name in (f"stillwise.{folder}" for folder in BUILTIN_FOLDERS):
            if (spec := importlib.util.find_spec(name)) and spec.origin:
                yield importlib.import_module(name)
        from importlib.metadata import entry_points

        yield from (entry.load() for entry in entry_points(group=ENTRY_POINT_GROUP))

    def _whole(self) -> dict[str, type[Part]]:
        self._tables += [_table(module) for module in self._coming]
        return dict(Catalogue.of(part for table in self._tables for part in table.values()).parts)

    def __getitem__(self, kind: str) -> type[Part]:
        for table in self._tables:
            if kind in table:
                return table[kind]
        for module in self._coming:
            self._tables.append(_table(module))
            if kind in self._tables[-1]:
                return self._tables[-1][kind]
        raise KeyError(kind)

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())


@cache
def builtin_catalogue() -> Catalogue:
    """The parts of the arrow folders that exist and of installed plug-ins (entry points ``stillwise.parts``)."""
    return Catalogue(_Installed())
