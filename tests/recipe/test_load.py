"""Recipes load with all faults at once, each with its line and the nearest right word."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stillwise.errors import RecipeError, UserError
from stillwise.recipe.api import Recipe
from stillwise.recipe.load import known_recipes, load, parse_override
from stillwise.recipe.outputs import resolved_yaml
from tests.conftest import RECIPE


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return path


def faults(tmp_path: Path, text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(written(tmp_path, text))
    return str(caught.value)


def test_every_fault_is_reported_with_its_line_and_nearest_word(tmp_path: Path) -> None:
    text = (
        RECIPE.replace("tries: 2", "trys: 2")
        .replace("kind: first_correct", "kind: first_corect")
        .replace("from: traces, levels: 1", "from: trace, levels: 1")
        .replace("by: teacher", "by: teecher")
        .replace("about:", "abaut:")
    )
    message = faults(tmp_path, text)
    assert "r.yaml:5" in message
    assert "did you mean 'tries'?" in message
    assert "r.yaml:6" in message
    assert "did you mean 'first_correct'?" in message
    assert "did you mean 'about'?" in message


def test_graph_faults_name_steps_and_roles(tmp_path: Path) -> None:
    text = RECIPE.replace("from: traces, levels: 1", "from: trace, levels: 1").replace("by: teacher", "by: teecher")
    message = faults(tmp_path, text)
    assert "did you mean 'traces'?" in message
    assert "no role is called 'teecher'; did you mean 'teacher'?" in message


def test_a_step_word_and_a_wrong_arrow_are_named(tmp_path: Path) -> None:
    message = faults(tmp_path, RECIPE.replace("- sample:", "- sampel:").replace("kind: first_correct", "kind: rejection"))
    assert "did you mean 'sample'?" in message
    assert "it is a Sampler, not a Selector" in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n- b\n", "needs a mapping"),
        ("a: [1\n", "not valid YAML"),
        (RECIPE + "about: again\n", "written twice"),
        (RECIPE.replace("steps:", "stepps:"), "did you mean 'steps'?"),
        (RECIPE.replace("  - select: {as: kept, kind: first_correct}\n", ""), "needs rows from an earlier step"),
        (RECIPE.replace("as: kept", "as: traces"), "two steps are called 'traces'"),
        (RECIPE.replace("tries: 2", "tries: -1"), "greater than or equal to 1"),
    ],
)
def test_faults_of_form(tmp_path: Path, text: str, says: str) -> None:
    assert says in faults(tmp_path, text)


def test_python_tags_in_yaml_are_refused(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    message = faults(tmp_path, f"about: !!python/object/apply:os.system ['touch {marker}']\n")
    assert "not valid YAML" in message
    assert not marker.exists()


def test_overrides_reach_arrows_steps_and_places(tmp_path: Path) -> None:
    path = written(tmp_path, RECIPE)
    for where in ("sample.tries", "traces.tries", "steps.0.sample.tries"):
        assert load(path, None, [parse_override(f"{where}=8")]).method.step("traces").part.as_dict()["tries"] == 8
    nested = load(path, None, [parse_override("sample.paradigm.instruction=Think.")]).method.step("traces").part.as_dict()
    assert nested["paradigm"] == {"kind": "instruct", "instruction": "Think."}


def test_an_override_remembers_what_it_replaced(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, RECIPE), None, [parse_override("sample.tries=8")])
    assert (loaded.overrides[0].replaced, loaded.overrides[0].value) == (2, 8)


def test_a_wrong_override_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'sample'"):
        load(written(tmp_path, RECIPE), None, [parse_override("sampel.tries=8")])
    with pytest.raises(UserError, match="needs the form"):
        parse_override("sample.tries")


def test_extends_changes_and_drops_steps(tmp_path: Path) -> None:
    text = "extends: curriculum\nabout: x\nchange: {think: {tries: 9}}\ndrop: [before]\n"
    method = load(written(tmp_path, text)).method
    assert method.step("think").part.as_dict()["tries"] == 9
    assert "before" not in [step.name for step in method.steps]
    assert "did you mean 'think'" in faults(tmp_path, text.replace("{think:", "{thinc:"))


def test_unknown_recipe_and_binding_get_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'curriculum'"):
        Recipe.load("curiculum")
    with pytest.raises(UserError, match="did you mean 'micro'"):
        Recipe.load("curriculum", binding="mikro")
    with pytest.raises(UserError, match="no such file"):
        Recipe.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", known_recipes())
def test_the_resolved_recipe_loads_to_the_same_method(tmp_path: Path, name: str) -> None:
    first = Recipe.load(name, binding="micro").loaded
    again = load(written(tmp_path, resolved_yaml(first))).method
    assert [s.part.fingerprint for s in again.steps] == [s.part.fingerprint for s in first.method.steps]
    assert [s.reads for s in again.steps] == [s.reads for s in first.method.steps]
    assert yaml.safe_load(resolved_yaml(first))["about"]
