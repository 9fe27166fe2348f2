"""Where the real public data lies: $STILLWISE_REALDATA, or shared/data beside the checkout. A clone does not carry it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("STILLWISE_REALDATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture
def real() -> Callable[[str], Path]:
    def find(name: str) -> Path:
        if not (FOLDER / name).is_file():
            pytest.skip(f"{name} is not in {FOLDER}")
        return FOLDER / name

    return find
