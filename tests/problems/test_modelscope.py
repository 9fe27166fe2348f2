"""ModelScope's datasets: from a local copy, and what is said where the package is missing."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from stillwise.errors import MissingExtra
from stillwise.problems.modelscope import ModelScope
from stillwise.problems.resolve import resolve
from stillwise.records import Problem


def test_a_local_copy_needs_no_package(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps({"question": "1+1?", "answer": "2"}) + "\n")
    (problem,) = ModelScope(id=str(tmp_path)).problems()
    assert isinstance(problem, Problem)
    assert (problem.question, problem.answer) == ("1+1?", "2")


def test_strings_name_it() -> None:
    named = resolve("modelscope:owner/name@v1:test")
    assert isinstance(named, ModelScope)
    assert (named.id, named.at, named.split) == ("owner/name", "v1", "test")


@pytest.mark.skipif(importlib.util.find_spec("modelscope") is not None, reason="the package is installed")
def test_a_missing_package_is_named_with_its_remedy() -> None:
    with pytest.raises(MissingExtra, match=r"owner/name of ModelScope .* needs the extra 'modelscope': pip install"):
        list(ModelScope(id="owner/name").problems())
