"""The embedded world: sums at five levels, and five tiny models that were really trained on them."""

from pathlib import Path

from stillwise.errors import UserError, nearest

SOLVERS = ("base", "instructor", "reasoner", "student")
"""They answer problems."""
MODELS = (*SOLVERS, "judge")


def path(name: str) -> Path:
    """Folder of one of the shipped checkpoints, in `transformers` format; another name is a UserError."""
    if name not in MODELS:
        raise UserError(f"no micro model is called {name!r}; {nearest(name, MODELS)}")
    return Path(__file__).parent / "models" / name
