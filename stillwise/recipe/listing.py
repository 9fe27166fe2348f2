"""The recipes that ship and the parts that a recipe may name, as text."""

from __future__ import annotations

from collections.abc import Iterator

from stillwise.arrows import Paradigm, Source
from stillwise.parts import Part, builtin_catalogue, plain
from stillwise.recipe.load import known_recipes, load
from stillwise.recipe.schema import ARROWS, Method


def _recipes() -> Iterator[tuple[str, Method]]:
    for name, path in known_recipes().items():
        yield name, load(path).method


def recipe_lines() -> list[str]:
    """Each recipe with its sentence."""
    return [f"{name:<28}{method.about}" for name, method in _recipes()]


def markdown_lines() -> list[str]:
    """The recipes as a Markdown table."""
    rows = [f"| `{name}` | {method.about} | {method.paper.title} |" for name, method in _recipes()]
    return ["| recipe | what it does | paper |", "|---|---|---|", *rows]


def part_lines() -> list[str]:
    """Each arrow's parts with their fields and defaults."""
    catalogue = builtin_catalogue()
    lines = []
    arrows: dict[str, type[Part]] = {**ARROWS, "problems": Source, "paradigm": Paradigm}
    for word, arrow in arrows.items():
        lines.append(f"{word} ({arrow.__name__})")
        lines += [line for kind in catalogue.of_arrow(arrow) for line in _part(catalogue.parts[kind])]
    return lines


def _part(part: type[Part]) -> list[str]:
    summary = (part.__doc__ or "").strip().splitlines()[0]
    fields = [f"      {info.alias or name} = {_default(info)}" for name, info in part.model_fields.items()]
    return [f"  {part.kind}: {summary}", *fields]


def _default(info: object) -> str:
    default = getattr(info, "default", None)
    required = getattr(info, "is_required", lambda: False)()
    return "(required)" if required else repr(plain(default))
