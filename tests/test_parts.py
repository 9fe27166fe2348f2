"""What every part must keep, checked over the whole catalogue: frozen, final, documented, and told apart by its fingerprint."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pickle
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import pytest
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

import stillwise
from stillwise import arrows
from stillwise.arrows import Row, Selector
from stillwise.errors import UserError
from stillwise.parts import BUILTIN_FOLDERS, Catalogue, Fields, Part, builtin_catalogue, walk_parts
from stillwise.records import Failure

F = TypeVar("F", bound=Fields)
ARROWS = [
    value
    for value in vars(arrows).values()
    if isinstance(value, type) and issubclass(value, Part) and value.__module__ == "stillwise.arrows"
]
PARTS = sorted(builtin_catalogue().parts.values(), key=lambda part: part.kind)
# Values for fields that take no arbitrary word; everything else is made up from the annotation.
PLAIN: Mapping[type, tuple[Any, ...]] = {bool: (True, False), int: (1, 2, 3), float: (0.5, 0.25, 1.0), str: ("a", "b")}
EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "benchmark": {"name": "math500"},
    "by_student": {"among": ("a", "b"), "measured": ("c", "d")},
    "mixture": {"of": [{"from": "a", "share": 1.0}]},
}


def each_part() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("part", PARTS, ids=[part.kind for part in PARTS])


def arrow_of(part: type[Part]) -> type[Part]:
    return next(arrow for arrow in ARROWS if issubclass(part, arrow))


def members(annotation: Any) -> list[Any]:
    """The alternatives of a union, ``Annotated`` unwrapped; a single type is its own only member."""
    if typing.get_origin(annotation) is typing.Annotated:
        return members(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [inner for arg in typing.get_args(annotation) for inner in members(arg)]
    return [annotation]


def plausible(annotation: Any) -> Iterator[Any]:
    """Values that a field of this type may hold, as a recipe would write them; None never."""
    for member in [int if member is Any else member for member in members(annotation)]:
        origin, args = typing.get_origin(member), typing.get_args(member)
        if origin is Literal:
            yield from args
        elif origin is tuple and len(args) == 2 and args[1] is Ellipsis:
            yield from ((item,) for item in plausible(args[0]))
        elif origin is tuple:
            yield tuple(next(plausible(arg)) for arg in args)
        elif isinstance(member, type):
            yield from plausible_of(member)


def plausible_of(member: type) -> Iterator[Any]:
    if issubclass(member, Part):
        yield from (example(part) for part in PARTS if issubclass(part, member))
    elif issubclass(member, Fields):
        yield made(member, {})
    elif issubclass(member, Enum):
        yield from member
    elif issubclass(member, Path):
        yield from (Path("a"), Path("b"))
    else:
        yield from PLAIN.get(member, ())


def made(cls: type[F], given: Mapping[str, Any]) -> F:
    """A valid instance: the given fields, made-up required ones, defaults for the rest."""
    required = {(info.alias or name): info for name, info in cls.model_fields.items() if info.is_required()}
    filled = {name: next(plausible(info.annotation)) for name, info in required.items() if name not in given}
    return cls.model_validate({**filled, **given})


def example(part: type[Part]) -> Part:
    return made(part, EXAMPLES.get(part.kind, {}))


def variants(value: Any, annotation: Any) -> Iterator[Any]:
    """Values that differ from this one in one place, at any depth."""
    options = members(annotation)
    if value is not None and type(None) in options:
        yield None
    if isinstance(value, (Fields, tuple)):
        yield from inner_variants(value, annotation)
    if isinstance(value, Part) or not isinstance(value, Fields):
        yield from islice((other for other in plausible(annotation) if other != value), 3)


def inner_variants(value: Fields | tuple[Any, ...], annotation: Any) -> Iterator[Any]:
    if isinstance(value, Fields):
        yield from (changed for _, changed in changed_fields(value))
        return
    args = next(typing.get_args(m) for m in members(annotation) if typing.get_origin(m) is tuple)
    inner = [args[0]] * len(value) if args[1:] == (Ellipsis,) else list(args)
    for i, item in enumerate(value):
        yield from ((*value[:i], other, *value[i + 1 :]) for other in variants(item, inner[i]))
    if args[1:] == (Ellipsis,):
        yield from [value[:-1]] if value else []
        yield from ((*value, item) for item in islice(plausible(args[0]), 1))


def changed_fields(value: Fields) -> Iterator[tuple[str, Any]]:
    """Field name and a copy of the value that differs in that field."""
    for name, info in type(value).model_fields.items():
        held = getattr(value, name)
        for other in variants(held, info.annotation):
            yield name, value.model_copy(update={name: other})


def field_classes(cls: type[Fields]) -> Iterator[type[Fields]]:
    """The class and the groups of fields inside it (parts of other arrows are checked as themselves)."""
    yield cls
    for info in cls.model_fields.values():
        yield from (inner for found in groups_in(info.annotation) for inner in field_classes(found))


def groups_in(annotation: Any) -> Iterator[type[Fields]]:
    for member in members(annotation):
        if isinstance(member, type) and issubclass(member, Fields) and not issubclass(member, Part):
            yield member
        yield from (found for arg in typing.get_args(member) if arg is not Ellipsis for found in groups_in(arg))


def documented_fields(cls: type[Fields]) -> set[str]:
    """Fields that are followed by a docstring in the source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    pairs = zip(body.body, body.body[1:], strict=False)
    return {
        first.target.id
        for first, second in pairs
        if isinstance(first, ast.AnnAssign)
        and isinstance(first.target, ast.Name)
        and isinstance(second, ast.Expr)
        and isinstance(second.value, ast.Constant)
        and isinstance(second.value.value, str)
    }


def one_word(annotation: Any) -> bool:
    """A literal with a single choice: nothing that a recipe could change yet."""
    return typing.get_origin(annotation) is Literal and len(typing.get_args(annotation)) == 1


def mutable_in(info: FieldInfo) -> bool:
    return any(word in str(info.annotation).lower() for word in ("list[", "dict[", "mapping[", "set[", "sequence["))


@pytest.mark.parametrize("folder", [f for f in BUILTIN_FOLDERS if (Path(stillwise.__file__).parent / f).is_dir()])
def test_a_folder_lists_parts_of_its_own(folder: str) -> None:
    module = importlib.import_module(f"stillwise.{folder}")
    assert module.PARTS
    assert module.__doc__
    assert all(part.__module__.startswith(f"stillwise.{folder}.") for part in module.PARTS.values())
    assert {kind: part.kind for kind, part in module.PARTS.items()} == {kind: kind for kind in module.PARTS}


@each_part()
def test_parts_and_fields_are_documented(part: type[Part]) -> None:
    for cls in field_classes(part):
        assert vars(cls).get("__doc__"), f"{cls.__name__} has no docstring"
        bare = set(cls.__annotations__) & set(cls.model_fields) - documented_fields(cls)
        assert not bare, f"{cls.__name__}: no docstring under {sorted(bare)}"


@each_part()
def test_parts_are_values(part: type[Part]) -> None:
    value = example(part)
    assert value == example(part)
    for changed in [value, *(changed for _, changed in changed_fields(value))]:
        again = pickle.loads(pickle.dumps(changed))  # noqa: S301 — written one line above
        assert again == changed
        assert again.fingerprint == changed.fingerprint
        assert hash(again) == hash(changed)


@each_part()
def test_parts_are_frozen_deeply(part: type[Part]) -> None:
    value = example(part)
    for cls in field_classes(part):
        mutable = [name for name, info in cls.model_fields.items() if mutable_in(info)]
        assert not mutable, f"{cls.__name__}: {mutable} can be changed in place; use tuples"
    for name in type(value).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(value, name, getattr(value, name))


@each_part()
def test_every_field_enters_the_fingerprint(part: type[Part]) -> None:
    value = example(part)
    seen = {value.fingerprint: value}
    varied = set()
    for name, changed in changed_fields(value):
        varied.add(name)
        other = seen.setdefault(changed.fingerprint, changed)
        assert other == changed, f"{name}: {other!r} and {changed!r} share a fingerprint"
    fixed = {name for name, info in part.model_fields.items() if one_word(info.annotation)}
    assert varied == set(part.model_fields) - fixed, "a field that this test cannot vary"


@each_part()
def test_a_raised_revision_enters_the_fingerprint(part: type[Part], monkeypatch: pytest.MonkeyPatch) -> None:
    value = example(part)
    for inner in {type(found) for found in walk_parts(value)}:
        before = value.fingerprint
        monkeypatch.setattr(inner, "revision", inner.revision + 1)
        assert value.fingerprint != before, f"{inner.kind} inside {part.kind}"


@each_part()
def test_plain_values_round_trip(part: type[Part]) -> None:
    value = example(part)
    adapter: TypeAdapter[Part] = TypeAdapter(arrow_of(part))
    assert adapter.validate_python(value.as_dict()) == value
    assert adapter.validate_python(json.loads(json.dumps(value.as_dict()))) == value
    for _, changed in changed_fields(value):
        try:
            again = adapter.validate_python(json.loads(json.dumps(changed.as_dict())))
        except ValidationError:
            continue  # The variation broke a rule between fields; the recipe could not hold it either.
        assert again.fingerprint == changed.fingerprint


@each_part()
def test_concrete_parts_are_final(part: type[Part]) -> None:
    with pytest.raises(TypeError, match="final; wrap it instead"):
        types.new_class("Tweaked", (part,))


@each_part()
def test_unknown_fields_are_refused(part: type[Part]) -> None:
    spec = {**example(part).as_dict(), "nonsense": 1}
    with pytest.raises(ValidationError, match="nonsense"):
        TypeAdapter(arrow_of(part)).validate_python(spec)


@each_part()
def test_a_misspelt_kind_gets_the_right_word(part: type[Part]) -> None:
    with pytest.raises(ValidationError, match=f"did you mean '{part.kind}'"):
        TypeAdapter(arrow_of(part)).validate_python(part.kind[:-1])


@each_part()
def test_a_part_of_another_arrow_is_named(part: type[Part]) -> None:
    mine = arrow_of(part)
    other = next(arrow for arrow in ARROWS if arrow is not mine)
    with pytest.raises(ValidationError, match=f"it is a {mine.__name__}, not a {other.__name__}"):
        TypeAdapter(other).validate_python(part.kind)


@pytest.mark.parametrize("arrow", ARROWS, ids=lambda arrow: arrow.__name__)
def test_arrows_are_abstract_and_have_one_method(arrow: type[Part]) -> None:
    with pytest.raises(TypeError, match="abstract"):
        arrow()
    assert len(getattr(arrow, "__abstractmethods__", ())) == 1


class OtherCommonSubset(Selector):
    """A part whose name is taken."""

    kind: ClassVar[str] = "common_subset"

    def select(self, rows: Any) -> tuple[list[Row], list[Failure]]:
        """All rows."""
        return list(rows), []


def test_two_parts_with_one_name_are_refused() -> None:
    plugin = types.ModuleType("plugin")
    vars(plugin)["PARTS"] = (OtherCommonSubset,)
    with pytest.raises(UserError, match="two parts are called 'common_subset'"):
        builtin_catalogue().extended(plugin)
    assert Catalogue.of([OtherCommonSubset, OtherCommonSubset]).of_arrow(Selector) == ["common_subset"]


class Nest(Selector):
    """Holds every shape of field, so that the tests above are seen to look everywhere."""

    kind: ClassVar[str] = "nest"
    inner: Selector = OtherCommonSubset()
    several: tuple[Selector, ...] = (OtherCommonSubset(),)
    maybe: Selector | None = None

    def select(self, rows: Any) -> tuple[list[Row], list[Failure]]:
        """All rows."""
        return list(rows), []


def test_variations_reach_nested_listed_and_optional_parts() -> None:
    changes = [(name, changed) for name, changed in changed_fields(Nest())]
    assert {name for name, _ in changes} == {"inner", "several", "maybe"}
    deep = Nest(inner=Nest(maybe=OtherCommonSubset()))
    inner = [c.inner for _, c in changed_fields(deep) if isinstance(c, Nest) and isinstance(c.inner, Nest)]
    assert any(c.maybe is None for c in inner)
    values = {Nest(), *(changed for _, changed in changes)}
    assert len({value.fingerprint for value in values}) == len(values) > 7
