"""The model card of a run's student: its parents and their licences, its data, its measures and its recipe."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from stillwise.recipe.api import Recipe
from stillwise.recipe.card import UNKNOWN, licence_of
from stillwise.recipe.roles import local_folder

RECIPE = """\
paper: {title: Carded, arxiv: "1234.56789"}
about: A training whose student has a card.
roles: [reasoner, student]
steps:
  - sample: {as: think, by: reasoner, paradigm: {kind: instruct, instruction: ""}, tries: 1, max_tokens: 256}
  - select: {as: solved, kind: first_correct, from: think}
  - curriculum: {as: lessons, stages: [{name: one, take: [{from: think, target: solution}]}]}
  - train: {as: made, kind: sft, epochs: 1, adapter: {kind: lora, rank: 2}, instruction: ""}
  - evaluate: {as: after, model: made, samples: 1, max_tokens: 32, instruction: ""}
departures: ["It is small | and quick."]
"""
BINDING = """\
roles: {reasoner: "micro:reasoner", student: "micro:student"}
problems: {kind: micro, family: chain_sum, per_level: 2}
benchmarks: {sums: {source: {kind: micro, family: chain_sum, split: heldout, per_level: 1}}}
"""


def test_a_student_tells_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "carded.yaml").write_text(RECIPE)
    (tmp_path / "toy.yaml").write_text(BINDING)
    parent = tmp_path / "parent"
    shutil.copytree(local_folder("micro:student") or parent, parent)
    recipe = Recipe.load(tmp_path / "carded.yaml", binding=str(tmp_path / "toy.yaml"))
    metrics = recipe.run(tmp_path / "out", roles={"student": f"transformers:{parent}"}, threads=1).metrics
    card = (tmp_path / "out" / "student" / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "other", "one parent's licence is unknown"
    assert front["library_name"] == "peft"
    assert f"| student | `transformers:{parent}` | unknown |" in card
    assert "The licence of student is unknown here." in card
    assert "| reasoner | `micro:reasoner` | apache-2.0 |" in card
    stage = metrics["training"]["made"][0]
    assert f"| made | one | {stage['rows']} | {stage['tokens']:,} | {stage['steps']} |" in card
    value = metrics["evaluation"]["after"]["benchmarks"]["sums"]["pass_at_1"]["value"]
    assert f"| after | made | {100 * value:.1f} " in card
    assert "- It is small | and quick." in card
    assert "arXiv 1234.56789" in card
    held = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert held == yaml.safe_load((tmp_path / "out" / "recipe.yaml").read_text())


def test_a_licence_is_read_and_never_guessed(tmp_path: Path) -> None:
    binding = f"transformers:{tmp_path}"
    assert licence_of(binding) == UNKNOWN
    assert licence_of("http://host:8000/v1#Some/Model") == UNKNOWN
    (tmp_path / "LICENSE.txt").write_text("terms")
    assert licence_of(binding) == "see LICENSE.txt"
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    assert licence_of(binding) == "mit"
    (tmp_path / "README.md").write_text("# license: mit\n")
    assert licence_of(binding) == "see LICENSE.txt"
