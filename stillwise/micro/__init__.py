"""The embedded world: sums at five levels, and four tiny models that were really trained on them."""

from pathlib import Path

MODELS = ("base", "instructor", "reasoner", "student")


def path(name: str) -> Path:
    """Folder of one of the shipped checkpoints, in `transformers` format."""
    if name not in MODELS:
        raise KeyError(f"no micro model {name!r}; there are {', '.join(MODELS)}")
    return Path(__file__).parent / "models" / name
