"""A leaderboard: equal cost, each method's own rate, adjusted significance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stillwise.cli import main
from stillwise.errors import RecipeError
from stillwise.evaluate.board import holm
from stillwise.recipe.board import MEASURES, _loaded, read_board
from stillwise.recipe.study import run_study
from tests.conftest import Toy


def board(toy: Toy, **changes: str) -> Path:
    text = f"""\
about: Two methods
binding: {toy.binding}
reference: Plain
seeds: 2
rates: [1, 4]
validation: {{kind: file, path: '{toy.validation}'}}
set: {{evaluate.samples: 1, train.epochs: 4, train.batch_tokens: 128}}
methods:
  Plain: {{recipe: {toy.recipe}}}
  Twice: {{recipe: {toy.recipe}, set: {{train.epochs: 8}}}}
"""
    for old, new in changes.items():
        text = text.replace(old, new)
    path = toy.folder / "board.yaml"
    path.write_text(text)
    return path


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": None}) == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06, "d": None})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_faults_are_told_all_at_once(toy: Toy) -> None:
    with pytest.raises(RecipeError, match="seeds") as found:
        read_board(board(toy, **{"seeds: 2": "seeds: 0", "rates: [1, 4]": "rates: [fast]"}))
    assert "rates" in str(found.value)
    with pytest.raises(RecipeError, match="'Plain'"):
        read_board(board(toy, **{"reference: Plain": "reference: Plane"}))


def test_every_method_is_measured_as_the_reference_is(toy: Toy) -> None:
    found = read_board(board(toy, **{"train.epochs: 8": "train.epochs: 8, evaluate.temperature: 0.0, evaluate.samples: 3"}))
    parts = [_loaded(found, method, 1.0, 1.0).method.steps[-1].part for method in found.methods.values()]
    first, second = ([getattr(part, name) for name in MEASURES] for part in parts)
    assert first == second == [1, 0.6, 0.95, 24]


def test_methods_meet_the_references_cost(toy: Toy, tmp_path: Path) -> None:
    out, first = tmp_path / "out", "steps:\n  - evaluate: {as: before, model: student, max_tokens: 24, instruction: ''}\n"
    toy.recipe.write_text(toy.recipe.read_text().replace("steps:\n", first))
    found = run_study(str(board(toy)), out, threads=1, progress="quiet")
    plain, untrained, twice = json.loads((out / "board.json").read_text())
    assert (untrained["name"], untrained["costs"][0]["operations"], len(untrained["evaluations"])) == ("Undistilled", 0, 2)
    spent = [entry["costs"][0]["operations"] for entry in (plain, twice)]
    assert spent[0] > 0
    assert spent[1] == pytest.approx(spent[0], rel=0.1)
    assert (plain["length"], twice["length"]) == (1.0, pytest.approx(0.5, rel=0.15))
    assert set(plain["tuned"]) == {"1.0", "4.0"}
    assert len(twice["evaluations"]) == 2
    assert twice["costs"][1]["teachers"]["teacher"] == plain["costs"][0]["teachers"]["teacher"] != {}
    assert plain["teacher_seconds"]["teacher"] > 0
    assert len(list((out / "work" / "traces").iterdir())) == 1, "the teacher is asked once and charged to both"
    assert "**Plain**" in found.markdown
    assert (out / "board.svg").read_text().startswith("<?xml")
    again = run_study(str(board(toy)), out, threads=1, progress="quiet")
    assert again.markdown == found.markdown


def test_recipes_are_compared_by_name(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, out = str(toy.recipe), str(tmp_path / "out")
    asked = ["compare", "--recipes", recipe, "--binding", str(toy.binding), "--validation", str(toy.validation), "--out", out]
    assert main([*asked, "--seeds", "1", "--threads", "1", "--quiet"]) == 0
    assert "**toy**" in capsys.readouterr().out
    assert main(["compare", "--recipes", recipe]) == 2
    assert "--out" in capsys.readouterr().err
    assert main(["compare"]) == 2
    seen = [str(toy.problems) if one == str(toy.validation) else one for one in asked]
    assert main([*seen, "--seeds", "1", "--threads", "1", "--quiet"]) == 2
    assert "8 problems are in the benchmarks too" in capsys.readouterr().err
