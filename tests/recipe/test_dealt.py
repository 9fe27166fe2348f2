"""Examples of one trace do not stand side by side where each of its spans is one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from pydantic import ValidationError

from stillwise.arrows import Example
from stillwise.curriculum.take import Take
from stillwise.recipe.steps import dealt


def group(name: str, size: int) -> list[Example]:
    return [Example(id=f"{name}{n}", user="u", assistant="a") for n in range(size)]


def test_every_example_once_and_none_beside_another_of_its_trace() -> None:
    groups = [group(name, size) for name, size in zip("abcde", (3, 1, 4, 2, 3), strict=True)]
    found = [example.id for example in dealt(groups)]
    assert sorted(found) == sorted(example.id for held in groups for example in held)
    assert [name[0] for name in found[:5]] == list("abcde")
    assert len({name[1] for name in found[:5]}) > 1
    assert all(a[0] != b[0] for a, b in pairwise(found))


def test_groups_of_one_keep_their_order() -> None:
    groups = [group(name, 1) for name in "cab"]
    assert dealt(groups) == [held[0] for held in groups]
    assert dealt([]) == []


def test_what_stands_apart_needs_spans() -> None:
    with pytest.raises(ValidationError, match="name it under spans"):
        Take.model_validate({"from": "think", "apart": True})
    assert Take.model_validate({"from": "think", "apart": True, "spans": "chunk"}).apart
