"""The Python face of what the command line does: ``Recipe.load("curriculum", binding="micro").run("runs/demo")``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillwise.errors import UserError
from stillwise.parts import Catalogue, builtin_catalogue
from stillwise.recipe.load import Loaded, Override, find_binding, find_recipe, load

if TYPE_CHECKING:
    from stillwise.recipe.plan import Plan
    from stillwise.recipe.run import Result


@dataclass(frozen=True)
class Recipe:
    """A method with its binding and overrides, checked and ready to plan or run."""

    loaded: Loaded

    @classmethod
    def load(
        cls, name: str | Path, *, binding: str | None = None, set: Mapping[str, Any] | None = None, plugins: Sequence[str] = ()
    ) -> Recipe:
        """A recipe by name or path. ``binding`` is a name (``micro``, ``paper``) or a file; ``set`` overrides fields.

        Raises RecipeError with every fault of the file, its line and the nearest right word.
        """
        path = find_recipe(str(name))
        bound = find_binding(path.stem, binding) if binding else None
        overrides = [Override(key, value, "--set") for key, value in (set or {}).items()]
        return cls(load(path, bound, overrides, catalogue_with(plugins)))

    def plan(self, out: str | Path | None = None) -> Plan:
        """Upper bounds of requests, tokens, hours and disk, without running."""
        from stillwise.recipe.plan import make_plan

        return make_plan(self.loaded, Path(out) if out else None)

    def run(self, out: str | Path, *, roles: Mapping[str, str] | None = None, seed: int = 0, **options: Any) -> Result:
        """Run into a folder and return its metrics; finished steps are found, not repeated.

        ``roles`` binds models (``{"student": "transformers:PATH"}``); other options are the fields of ``run.Options``.
        """
        from stillwise.recipe.run import Options, run
        from stillwise.recipe.work import Seeds

        return run(self.loaded, Options(out=Path(out), roles=roles or {}, seeds=Seeds(run=seed), **options))


def catalogue_with(plugins: Sequence[str]) -> Catalogue:
    """The built-in catalogue and the ``PARTS`` of plug-in modules, by import name."""
    catalogue = builtin_catalogue()
    if plugins and os.getcwd() not in sys.path:
        # A module of the folder that one works in; an installed command does not look there by itself.
        sys.path.append(os.getcwd())
    for name in plugins:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as err:
            raise UserError(f"no plug-in module is called {name!r}: {err}") from err
        if not hasattr(module, "PARTS"):
            raise UserError(f"the plug-in {name} has no PARTS; list its parts there")
        catalogue = catalogue.extended(module)
    return catalogue
