"""Recipes that installed packages bring: entry points ``stillwise.recipes`` name packages that hold YAML files."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from pathlib import Path

from stillwise.errors import UserError

GROUP = "stillwise.recipes"


def installed_recipes(shipped: Collection[str]) -> dict[str, Path]:
    """Names and files of all plug-ins' recipes, sorted; a name that is taken, by one that ships or another's, is refused."""
    from importlib.metadata import entry_points

    found: dict[str, Path] = {}
    for entry in entry_points(group=GROUP):
        for path in sorted(_folder(entry.name, entry.value).glob("*.yaml")):
            other = "by one that ships" if path.stem in shipped else f"by {found[path.stem]}" if path.stem in found else ""
            if other:
                raise UserError(
                    f"the plug-in {entry.name!r} brings a recipe {path.stem!r}, a name that is taken {other}: {path}"
                )
            found[path.stem] = path
    return dict(sorted(found.items()))


def _folder(name: str, value: str) -> Path:
    """The folder of the package that an entry point names; only the packages above it are imported."""
    try:
        spec = importlib.util.find_spec(value)
    except ModuleNotFoundError:
        spec = None
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise UserError(f"the plug-in {name!r} names {value!r} as its recipes ({GROUP}), which is no package that can be found")
    return Path(places[0])
