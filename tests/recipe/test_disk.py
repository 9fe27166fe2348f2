"""What a plan says of disk holds: students and checkpoints of a run stay under it, and not far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stillwise.recipe.api import Recipe
from stillwise.recipe.disk import written
from stillwise.recipe.plan import plan_lines
from stillwise.train import keeping

RECIPE = """\
paper: {title: Weighed}
about: A training whose files are counted.
roles: [reasoner, student]
steps:
  - sample: {as: think, by: reasoner, paradigm: {kind: instruct, instruction: ""}, tries: 1, max_tokens: 128}
  - select: {as: solved, kind: first_correct, from: think}
  - curriculum:
      as: lessons
      stages: [{name: one, take: [{from: think, target: solution}]}, {name: two, take: [{from: think, target: full}]}]
  - train: {as: made, kind: sft, steps: 3, batch_tokens: 64, instruction: ""}
"""
BINDING = """\
roles: {reasoner: "micro:reasoner", student: "micro:student"}
problems: {kind: micro, family: chain_sum, per_level: 1}
training: {checkpoint_steps: 1}
"""


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_run_writes_no_more_than_was_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weighed.yaml").write_text(RECIPE)
    (tmp_path / "toy.yaml").write_text(BINDING)
    recipe = Recipe.load(tmp_path / "weighed.yaml", binding=str(tmp_path / "toy.yaml"))
    bound = written(recipe.loaded)
    seen: list[int] = []
    prune = keeping.prune

    def watched(folder: Path, kept: Any) -> None:
        seen.append(size(folder))
        prune(folder, kept)

    monkeypatch.setattr(keeping, "prune", watched)
    recipe.run(tmp_path / "out", threads=1)
    students = list((tmp_path / "out").rglob("model.safetensors"))
    assert len(students) == 3, "one for each stage, and the published one"
    assert 0.95 * bound.students < sum(path.stat().st_size for path in students) < 1.05 * bound.students
    assert len(seen) == 4
    slack = 200_000  # the tokenizer's and the trainer's own small files
    assert 0.9 * bound.checkpoints < max(seen) < bound.checkpoints + slack
    assert not list((tmp_path / "out").rglob("*checkpoint*")), "they go when the stage is finished"


def test_a_plan_says_what_it_cannot_count() -> None:
    text = plan_lines(Recipe.load("redi", binding="paper").plan())[-1]
    assert "imitated, distilled, whose weights are not here" in text
    assert "24 a weight for checkpoints" in text
    whole = written(Recipe.load("redi", binding="micro").loaded)
    small = written(Recipe.load("redi", binding="micro", set={"train.adapter": {"kind": "lora", "rank": 2}}).loaded)
    merged = written(Recipe.load("redi", binding="micro", set={"train.adapter": {"rank": 2, "merge": True}}).loaded)
    assert small.students < merged.students == whole.students
    assert small.checkpoints == merged.checkpoints < whole.checkpoints
