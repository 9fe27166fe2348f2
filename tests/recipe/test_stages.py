"""Stages of a training in a recipe: what one hands on to the next."""

from __future__ import annotations

from pathlib import Path

from stillwise.recipe.api import Recipe
from stillwise.train.moments import FILE
from tests.conftest import Toy


def weights(out: Path, stage: str) -> bytes:
    [path] = out.glob(f"work/distilled.{stage}/*/student/model.safetensors")
    return path.read_bytes()


def test_a_kept_optimiser_goes_from_stage_to_stage_beside_the_students(toy: Toy, tmp_path: Path) -> None:
    for optimiser in ("kept", "fresh"):
        recipe = Recipe.load(toy.recipe, binding=str(toy.binding), set={"train.optimiser": optimiser})
        recipe.run(tmp_path / optimiser, until="distilled", threads=1, progress="quiet")
    kept = sorted(path.parts[-3] for path in (tmp_path / "kept").rglob(FILE))
    assert kept == ["distilled.easy", "distilled.hard"]
    assert not list((tmp_path / "fresh").rglob(FILE))
    assert not list((tmp_path / "kept" / "student").rglob(FILE))
    assert weights(tmp_path / "kept", "easy") == weights(tmp_path / "fresh", "easy")
    assert weights(tmp_path / "kept", "hard") != weights(tmp_path / "fresh", "hard")
