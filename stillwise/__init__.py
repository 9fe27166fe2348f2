"""Distil the reasoning of large language models into small ones: from problems to a measured student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stillwise.recipe.api import Recipe as Recipe

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Lazy, so that importing a single module of the package costs nothing of the others.
    if name == "Recipe":
        from stillwise.recipe.api import Recipe

        return Recipe
    raise AttributeError(f"module 'stillwise' has no attribute {name!r}")
