"""A recipe may mine pairs and train on them: the train step reads what the pair step made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stillwise.errors import RecipeError
from stillwise.recipe.api import Recipe
from stillwise.runtime.store import MANIFEST

RECIPE = """\
paper: {title: Pairs}
about: The reasoner's right answers over the student's own wrong ones.
roles: [reasoner, student]
steps:
  - sample: {as: think, by: reasoner, kind: all, tries: 1, paradigm: {kind: instruct, instruction: ""}, max_tokens: 256}
  - sample: {as: attempts, by: student, kind: all, tries: 2, paradigm: {kind: instruct, instruction: ""}, max_tokens: 256}
  - pair: {as: mined, kind: right_wrong, chosen: think, rejected: attempts}
  - train:
      {as: better, kind: pairwise, student: student, objective: redi, steps: 2, batch_tokens: 1024, instruction: ""}
"""
BINDING = """\
roles: {reasoner: "micro:reasoner", student: "micro:student"}
problems: {kind: micro, family: chain_sum, per_level: 3}
"""


def written(tmp_path: Path, recipe: str) -> Path:
    (tmp_path / "pairs.yaml").write_text(recipe)
    (tmp_path / "toy.yaml").write_text(BINDING)
    return tmp_path / "pairs.yaml"


def test_pairs_reach_the_trainer(tmp_path: Path) -> None:
    recipe = Recipe.load(written(tmp_path, RECIPE), binding=str(tmp_path / "toy.yaml"))
    assert recipe.loaded.method.step("better").source == "mined"
    result = recipe.run(tmp_path / "run", threads=1, progress="quiet")
    (stage,) = result.metrics["training"]["better"]
    assert (stage["stage"], stage["steps"]) == ("pairs", 2)
    written_down = json.loads((tmp_path / "run" / "metrics.json").read_text())["training"]["better"][0]
    assert written_down["pairs"] == stage["pairs"] >= 1
    assert written_down["chosen_logprob"]["first"] == written_down["pair_curve"][0][1] < 0
    assert written_down["chosen_logprob"]["last"] == written_down["pair_curve"][-1][1]
    assert [step for step, _, _ in written_down["pair_curve"]] == [1, 2]
    (manifest,) = (tmp_path / "run" / "work").glob(f"better.pairs/*/{MANIFEST}")
    facts = json.loads(manifest.read_text())["facts"]
    assert facts["pairs"] >= 1
    assert facts["chosen_logprob"]["first"] < 0
    (weights,) = (tmp_path / "run" / "work").glob("better.pairs/*/student/model.safetensors")
    assert weights.stat().st_size > 0


def test_lessons_do_not_pass_for_pairs(tmp_path: Path) -> None:
    wrong = RECIPE.replace("  - pair: {as: mined, kind: right_wrong, chosen: think, rejected: attempts}\n", "")
    with pytest.raises(RecipeError, match="needs pairs from an earlier step; none makes any"):
        Recipe.load(written(tmp_path, wrong))
    plain = RECIPE.replace("kind: pairwise,", "").replace("objective: redi, ", "")
    with pytest.raises(RecipeError, match="needs lessons from an earlier step; none makes any"):
        Recipe.load(written(tmp_path, plain))
