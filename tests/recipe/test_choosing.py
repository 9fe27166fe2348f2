"""Judging and choosing for one student, from the recipe to the report, in the embedded world."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stillwise.recipe.api import Recipe

RECIPE = """\
paper: {title: Choosing}
about: traces for one student
roles: [reasoner, student, judge]
steps:
  - sample: {as: pool, kind: all, by: reasoner, paradigm: {kind: think, instruction: ""}, tries: 2, max_tokens: 512}
  - sample: {as: attempts, kind: all, by: student, paradigm: {kind: instruct, instruction: ""}, tries: 2, max_tokens: 64}
  - score: {as: rv, kind: judged, rubric: verbosity, panel: sums-1, from: pool}
  - score: {as: again, kind: judged, rubric: verbosity, judgements: 3, temperature: 0.6, from: pool}
  - score: {as: cd, kind: judged, rubric: cognitive_difficulty, from: pool}
  - score: {as: likely, kind: likelihood, by: student, instruction: "", from: pool}
  - select:
      as: chosen
      kind: target_aware
      of: [pool]
      attempts: attempts
      verbosity: [rv]
      difficulty: [cd]
      likelihood: [likely]
      budget: 6
  - select: {as: suited, kind: suited_length, difficulty: [cd], from: pool}
departures: [none]
"""
BINDING = """\
roles: {reasoner: "micro:reasoner", student: "micro:student", judge: "micro:judge"}
problems: {kind: micro, family: chain_sum, per_level: 2, levels: [1, 3, 5]}
benchmarks: {chain_sum: {source: {kind: micro, family: chain_sum, split: heldout, per_level: 1}}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("choosing")
    (folder / "choosing.yaml").write_text(RECIPE)
    (folder / "binding.yaml").write_text(BINDING)
    recipe = Recipe.load(str(folder / "choosing.yaml"), binding=str(folder / "binding.yaml"))
    recipe.run(folder / "run", threads=1, progress="quiet")
    return folder / "run"


def test_every_trace_is_judged_and_the_choice_is_explained(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    steps = metrics["judges"]["steps"]
    assert [(one["step"], one["traces"], one["undecided"]) for one in steps] == [("rv", 12, 0), ("again", 12, 0), ("cd", 12, 0)]
    assert steps[0]["panel"]["n"] == 32
    assert steps[0]["spread"] is None
    assert 0 <= steps[1]["spread"] < 3
    assert [(one["first"], one["second"]) for one in metrics["judges"]["agreement"]] == [("rv", "again")]
    chosen = metrics["selection"]["chosen"]["figures"]
    assert chosen["asked"] == 6
    assert 0 < chosen["chosen"] <= 6
    assert sum(one["problems"] for one in chosen["profile"]) <= 6
    assert all(one["likelihood"] < 0 for one in chosen["profile"])
    assert {one["domain"] for one in chosen["cells"]} == {"maths"}


def test_harder_sums_get_a_higher_mark(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    profile = metrics["selection"]["chosen"]["figures"]["profile"]
    assert profile[-1]["cd"] - profile[0]["cd"] >= 3


def test_the_report_draws_it(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert "What “chosen” chose, by difficulty and verbosity" in page
    assert "Agreement between judges" in page
    assert "Length by difficulty, before and after “suited”" in page
