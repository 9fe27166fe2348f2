"""Generated from recipes/: each one checks, plans, and runs end to end in the embedded world at toy size."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from stillwise.recipe.api import Recipe
from stillwise.recipe.board import MEASURES, is_board, read_board
from stillwise.recipe.load import find_binding, known_recipes, recipe_folder
from stillwise.recipe.scales import loaded_scale, read_scales
from stillwise.recipe.study import is_of_scales, read_study
from tests.recipes.properties import PROPERTIES, traces

PROBLEMS = {
    "problems": {"kind": "micro", "family": "chain_sum", "per_level": 3},
    "benchmarks": {"chain_sum": {"source": {"kind": "micro", "family": "chain_sum", "split": "heldout", "per_level": 1}}},
}
SIZES = {
    "sample.paradigm.instruction": "",
    "sample.max_tokens": 768,
    "train.instruction": "",
    "train.epochs": 1,
    "train.batch_tokens": 4096,
    "train.max_length": 1024,
    "evaluate.instruction": "",
    "evaluate.max_tokens": 64,
    "evaluate.samples": 1,
    "probe.paradigm": {"kind": "instruct", "instruction": ""},
    "probe.max_tokens": 48,
    "probe.max_context_tokens": 640,
    "probe.max_prefixes": 2,
}
"""Toy sizes; everything else is as the recipe's own binding to the embedded world says."""
BOTH: dict[str, Any] = {"cots.temperatures": [0.6], "cots.max_tokens": 384, "attempts.tries": 1, "attempts.max_tokens": 128}
FEWER: dict[str, Any] = {"cots.temperatures": [1.0], "cots.max_tokens": 512}
OWN_SIZES: dict[str, dict[str, Any]] = {
    "redi": {"sample.temperature": 1.5, "sample.max_tokens": 256},
    # After one pass over fifteen thoughts nobody but their author can finish them.
    "efficient-long-cot": {"pruned.by": "reasoner"},
    "orpo-distill": {"sample.max_tokens": 256, "sample.tries": 1, "rounds.times": 2},
    "deepdistill": {"graded.each": 1, "graded.max_tokens": 256},
    "knights-and-knaves": {
        "sample.max_tokens": 256,
        "sample.tries": 1,
        "puzzles.sources": [{"kind": "micro", "family": "basic_arithmetic", "per_level": 2}],
        "hundred.total": 4,
        "distilled.group_size": 3,
        "distilled.problems_per_step": 2,
        "distilled.max_tokens": 48,
        "distilled.rewards": ["formatted", {"kind": "overlong", "limit": 48, "buffer": 40}],
    },
    "grpo-both": {
        "attempts.tries": 1,
        "attempts.max_tokens": 64,
        "distilled.group_size": 3,
        "distilled.max_tokens": 64,
    },
    "thoughtx": BOTH,
    "thoughty": BOTH,
    "slow_thinking": FEWER,
    "slow_thinking_iterative": FEWER,
    "raw_cots": FEWER,
    "limo": {"sample.max_tokens": 256, "screened.tries": 1, "screened.max_tokens": 96, "think.tries": 1},
    "mentor-kd": {"sample.max_tokens": 256, "sample.tries": 1},
    "socratic-cot": {"sample.tries": 1},
    "learn-to-reason": {"sample.max_tokens": 128, "sample.tries": 1, "rounds.times": 1, "max_failure_rate": 1.0},
    "ded": {
        "attempts.tries": 1,
        "sample.max_tokens": 256,
        "think.tries": 2,
        "trial_a.num_problems": 5,
        "trial_b.num_problems": 5,
    },
}
"""The embedded reasoner is seldom wrong at 0.6: fifteen problems would leave next to no pairs of its own answers. And less of
what a recipe asks for many times."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run folder for all recipes, and libraries that are in: what recipes have in common is made once."""
    for library in ("torch", "transformers.trainer", "reasoning_gym"):
        importlib.import_module(library)
    return tmp_path_factory.mktemp("recipes")


def toy(folder: Path, name: str) -> str:
    """The recipe's binding to the embedded world at toy size."""
    own = yaml.safe_load(find_binding(name, "micro").read_text(encoding="utf8"))
    # What is written last counts, so a size of one step must not stand behind the toy size of all.
    kept = {key: value for key, value in own["set"].items() if key.rpartition(".")[2] not in ("epochs", "samples")}
    changes = {**{key: value for key, value in kept.items() if key not in SIZES}, **SIZES}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({"roles": own["roles"], **PROBLEMS, "set": changes}, sort_keys=False))
    return str(folder / f"{name}.yaml")


@pytest.mark.parametrize("name", known_recipes())
def test_runs_end_to_end(shared: Path, name: str) -> None:
    trains = "train" in {step.arrow for step in Recipe.load(name).loaded.method.steps}
    recipe = Recipe.load(name, binding=toy(shared, name), set=OWN_SIZES.get(name, {}) if trains else {"sample.tries": 1})
    result = recipe.run(shared / "run", threads=1, progress="quiet")
    trained = [step.name for step in recipe.loaded.method.steps if step.arrow == "train"]
    assert set(result.metrics["training"]) == set(trained)
    if recipe.loaded.method.measures:
        assert result.metrics["evaluation"]["after"]["benchmarks"]["chain_sum"]["problems"] == 5
    else:
        assert any(result.metrics.get(section) for section in ("paradigms", "titration"))
    assert json.loads((shared / "run" / "metrics.json").read_text())["recipe"]["departures"]
    if name in PROPERTIES:
        PROPERTIES[name](shared / "run")


def test_a_chosen_teacher_is_paid_by_its_own_name(shared: Path) -> None:
    """DED: trials and the winner's traces are answers of teachers, whatever the role is called that they came through."""
    recipe = Recipe.load("ded", binding=toy(shared, "ded"), set=OWN_SIZES["ded"])
    recipe.run(shared / "run", threads=1, progress="quiet")
    cost = recipe.run(shared / "run", threads=1, progress="quiet", publish=False).metrics["cost"]
    seen = [trace for step in ("trial_a", "trial_b", "think") for trace in traces(shared / "run", step).values()]
    assert set(cost["teachers"]) == {"reasoner", "rival"}
    assert sum(held["written"] for held in cost["teachers"].values()) >= sum(trace.num_tokens or 0 for trace in seen) > 0


@pytest.mark.parametrize("name", known_recipes())
def test_checks_and_plans_under_every_binding(name: str) -> None:
    for binding in ("micro", "paper"):
        assert Recipe.load(name, binding=binding).plan().requests > 0


@pytest.mark.parametrize("name", known_recipes())
def test_what_is_compared_is_measured_alike(name: str) -> None:
    """Before and after training: greedy answers are better than sampled ones, whatever was learnt."""
    for binding in ("micro", "paper"):
        steps = Recipe.load(name, binding=binding).loaded.method.steps
        found = {tuple(getattr(s.part, field) for field in MEASURES[1:]) for s in steps if s.arrow == "evaluate"}
        assert len(found) <= 1, found


@pytest.mark.parametrize("path", sorted((recipe_folder() / "studies").glob("*.yaml")), ids=lambda p: p.stem)
def test_studies_name_known_recipes(path: Path) -> None:
    if is_of_scales(path):
        scales = read_scales(path)
        assert all(loaded_scale(scales, scale).method.steps for scale in scales.scales.values())
        return
    if is_board(path):
        board = read_board(path)
        for method in board.methods.values():
            Recipe.load(method.recipe, binding=board.binding, set={**board.set, **method.set})
        return
    study = read_study(path)
    for student in study.students.values():
        Recipe.load(student.recipe, binding=study.binding, set={**study.set, **student.set})
