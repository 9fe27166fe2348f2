"""The synthetic run, built once for all tests of this folder."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stillwise.evaluate.metrics import dumps
from tests.evaluate.synthetic_run import run_metrics


@pytest.fixture(scope="session")
def run() -> dict[str, Any]:
    """The synthetic run's metrics, as JSON gives them back."""
    found: dict[str, Any] = json.loads(dumps(run_metrics()))
    return found
