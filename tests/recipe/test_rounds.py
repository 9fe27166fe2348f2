"""A block of steps repeated: what its names mean in each round, its faults, and a run that stops between rounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillwise.errors import RecipeError
from stillwise.recipe.api import Recipe
from stillwise.recipe.load import load, parse_override
from stillwise.recipe.outputs import resolved_yaml
from stillwise.recipe.schema import Step
from stillwise.runtime.store import file_name
from tests.conftest import RECIPE, Toy

ROUNDS = """\
  - rounds:
      times: 2
      start: {learner: distilled}
      steps:
        - sample: {as: exam, by: learner, kind: all, paradigm: {kind: instruct, instruction: ""}, tries: 1, max_tokens: 8}
        - select: {as: all_kept, kind: common_subset, of: [traces]}
        - curriculum: {as: more, kind: single, of: traces, from: all_kept}
        - train: {as: learner, student: learner, from: more, epochs: 1, learning_rate: 1.0e-3, batch_tokens: 512,
                  max_length: 256, instruction: ""}
  - evaluate: {as: last, model: learner, samples: 1, max_tokens: 8, instruction: ""}
"""


def written(tmp_path: Path, block: str = ROUNDS) -> Path:
    path = tmp_path / "rounds.yaml"
    path.write_text(RECIPE + block)
    return path


def steps_of(tmp_path: Path, block: str = ROUNDS, *changes: str) -> dict[str, Step]:
    method = load(written(tmp_path, block), overrides=[parse_override(change) for change in changes]).method
    return {step.name: step for step in method.steps}


def faults_of(tmp_path: Path, block: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(written(tmp_path, block))
    return str(caught.value)


def test_a_name_means_this_round_where_it_is_made_and_the_round_before_where_it_is_not(tmp_path: Path) -> None:
    steps = steps_of(tmp_path)
    assert [name for name in steps if "/" in name] == [
        f"{name}/{number}" for number in (1, 2) for name in ("exam", "all_kept", "more", "learner")
    ]
    assert steps["exam/1"].roles == ("distilled",), "start says what stands for the learner before the first round"
    assert steps["exam/2"].roles == ("learner/1",)
    assert steps["learner/2"].roles == ("learner/1",)
    assert (steps["learner/1"].source, steps["learner/2"].source) == ("more/1", "more/2")
    assert steps["last"].roles == ("learner/2",), "after the block a name means its last round"


def test_all_rounds_so_far_stand_in_lists(tmp_path: Path) -> None:
    steps = steps_of(tmp_path, ROUNDS.replace("of: [traces]", 'of: [traces, "exam/*"]'), "rounds.times=3")
    assert [steps[f"all_kept/{number}"].reads for number in (1, 2, 3)] == [
        ("traces", "exam/1"),
        ("traces", "exam/1", "exam/2"),
        ("traces", "exam/1", "exam/2", "exam/3"),
    ]


def test_overrides_reach_into_the_block_and_its_number_of_rounds(tmp_path: Path) -> None:
    steps = steps_of(tmp_path, ROUNDS, "exam.tries=3", "rounds.times=1", "train.epochs=7")
    assert "exam/2" not in steps
    assert steps["exam/1"].part.as_dict()["tries"] == 3
    assert {steps[name].part.as_dict()["epochs"] for name in ("distilled", "learner/1")} == {7}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("{learner: distilled}", "{}"), "'learner' is not made before this step in the first round"),
        (("learner: distilled", "lerner: distilled"), "no step of the rounds is called 'lerner'; did you mean 'learner'?"),
        (("times: 2", "times: 0"), "greater than or equal to 1"),
        (("times: 2", "tims: 2"), "did you mean 'times'?"),
        (("by: learner", "by: lerner"), "no role is called 'lerner'"),
        (("of: [traces]", 'of: ["exem/*"]'), "'exem/*' names no earlier round"),
        (("tries: 1", "trys: 1"), "did you mean 'tries'?"),
        (("learner: distilled", "learner: distiled"), "did you mean 'distilled'?"),
    ],
)
def test_faults_have_their_line(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    message = faults_of(tmp_path, ROUNDS.replace(*change, 1))
    assert says in message
    assert "rounds.yaml:?" not in message


def test_rounds_inside_rounds_are_refused(tmp_path: Path) -> None:
    inner = "        - rounds: {times: 2, steps: [evaluate]}\n"
    assert "rounds stand inside rounds" in faults_of(tmp_path, ROUNDS.replace("  - evaluate", f"{inner}  - evaluate"))


def test_a_block_is_changed_and_its_steps_dropped_by_name(tmp_path: Path) -> None:
    parent = written(tmp_path)
    child = tmp_path / "child.yaml"
    change = "{exam: {tries: 5}, more: {from: kept}, rounds: {times: 1}}"
    child.write_text(f"extends: {parent.name}\nchange: {change}\ndrop: [all_kept, last]\n")
    steps = {step.name: step for step in load(child).method.steps}
    assert [name for name in steps if "/" in name] == ["exam/1", "more/1", "learner/1"]
    assert steps["exam/1"].part.as_dict()["tries"] == 5
    child.write_text(f"extends: {parent.name}\nchange: {{exam: {{trys: 5}}}}\n")
    with pytest.raises(RecipeError, match=r"child.yaml:2 .*did you mean 'tries'"):
        load(child)


def test_the_recipe_written_out_loads_to_the_same_steps(tmp_path: Path) -> None:
    first = load(written(tmp_path))
    (tmp_path / "again.yaml").write_text(resolved_yaml(first))
    assert load(tmp_path / "again.yaml").method.steps == first.method.steps


def test_rounds_run_are_planned_and_are_found_again(toy: Toy, tmp_path: Path) -> None:
    recipe, out = Recipe.load(written(tmp_path), binding=str(toy.binding)), tmp_path / "run"
    assert [bound.step for bound in recipe.plan().bounds if bound.arrow == "train"] == ["distilled", "learner/1", "learner/2"]
    first = recipe.run(out, threads=1, progress="quiet", until="learner/1")
    assert first.fresh[-1] == "learner/1"
    second = recipe.run(out, threads=1, progress="quiet")
    assert second.fresh == ("exam/2", "all_kept/2", "more/2", "learner/2", "last")
    assert recipe.run(out, threads=1, progress="quiet").fresh == ()
    names = {file_name(step) for step in ("exam/1", "exam/2")}
    assert names <= {path.stem for path in (out / "traces").glob("*.parquet")}
    assert set(second.metrics["training"]) == {"distilled", "learner/1", "learner/2"}
    weights = {step: second.metrics["training"][step][0]["first_loss"] for step in ("learner/1", "learner/2")}
    assert len(set(weights.values())) == 2, "the second round begins with the first round's student"
