"""The recipes that ship and the parts that a recipe may name, as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from stillwise.arrows import Paradigm, Source
from stillwise.errors import UserError
from stillwise.parts import Part, builtin_catalogue, plain
from stillwise.recipe.load import find_binding, known_recipes, load, recipe_folder
from stillwise.recipe.plan import make_plan
from stillwise.recipe.plugged import installed_recipes
from stillwise.recipe.schema import ARROWS, Method

RESULTS_FILE = "results.json"
"""Beside the recipes: what finished runs of them gave in the embedded world."""


def _recipes() -> Iterator[tuple[str, Method]]:
    for name, path in known_recipes().items():
        yield name, load(path).method


def recipe_lines() -> list[str]:
    """Each recipe with its sentence, those of installed plug-ins last."""
    plugged = [(name, load(path).method) for name, path in installed_recipes(known_recipes()).items()]
    return [f"{name:<28}{method.about}" for name, method in (*_recipes(), *plugged)]


def recipe_rows() -> list[str]:
    """Each recipe with its family, what its teachers are asked at most as published, and what was last measured here."""
    path = recipe_folder() / RESULTS_FILE
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf8")) if path.is_file() else {}
    rows = [(name, _family(name, method), _cost(name), _measured(results.get(name))) for name, method in _recipes()]
    head = ("recipe", "family", "teachers as published", "last measured in the embedded world")
    widths = [max(len(row[column]) for row in (head, *rows)) + 2 for column in range(3)]
    return [
        "".join(f"{cell:<{width}}" for cell, width in zip(row, [*widths, 0], strict=True)).rstrip() for row in (head, *rows)
    ]


def _family(name: str, method: Method) -> str:
    """The folder of a family, or what its students are trained with, or that it only probes."""
    folder = known_recipes()[name].parent
    if folder != recipe_folder():
        return folder.name
    return " + ".join(dict.fromkeys(step.part.kind for step in method.steps if step.arrow == "train")) or "probe"


def _cost(name: str) -> str:
    path = known_recipes()[name]
    try:
        plan = make_plan(load(path, find_binding(path.stem, "paper")))
    except UserError:
        return "no paper binding"
    return f"{plan.teacher_requests:,} calls at most" if plan.teacher_requests else "not asked"


def _measured(result: Mapping[str, Any] | None) -> str:
    """The last evaluation's accuracy on each benchmark, after that of the first."""
    if not result or not result["rows"]:
        return "not measured"
    rows: list[Mapping[str, Any]] = result["rows"]
    first, last = rows[0]["evaluation"], rows[-1]["evaluation"]
    value = {(row["evaluation"], row["benchmark"]): 100 * row["pass_at_1"]["value"] for row in rows}
    found = [f"{b} {value[first, b]:.0f} -> {value[last, b]:.0f} %" for e, b in value if e == last and (first, b) in value]
    return f"{', '.join(found)} ({result['date']})"


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
