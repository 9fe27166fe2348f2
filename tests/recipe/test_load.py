"""Recipes load with all faults at once, each with its line and the nearest right word."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stillwise.cli import main
from stillwise.errors import RecipeError, UserError
from stillwise.recipe.api import Recipe
from stillwise.recipe.load import known_recipes, load, parse_override, recipe_folder
from stillwise.recipe.outputs import resolved_yaml
from tests.conftest import RECIPE, Toy


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


def test_wrong_values_do_not_hide_wrong_names(tmp_path: Path) -> None:
    text = RECIPE.replace("tries: 2", "tries: 0, colour: red").replace("by: teacher", "by: teecher")
    text = text.replace("epochs: 1", "epochs: -1").replace("model: distilled", "model: distiled")
    text = text.replace("roles: [teacher, student]", "roles: [teacher, student, student]").replace("about:", "abaut:")
    said = faults(tmp_path, text)
    assert said.startswith("8 fault(s)")
    for words in (
        "tries: Input",
        "unknown key 'colour'",
        "did you mean 'teacher'",
        "epochs: Input",
        "mean 'distilled'",
        "twice",
    ):
        assert words in said


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


def bound_faults(tmp_path: Path, binding: str, recipe: str = RECIPE, flags: tuple[str, ...] = ()) -> str:
    path = tmp_path / "b.yaml"
    path.write_text(binding)
    with pytest.raises(RecipeError) as caught:
        load(written(tmp_path, recipe), path, [parse_override(flag) for flag in flags])
    return str(caught.value)


def test_an_override_reaches_into_a_list(tmp_path: Path) -> None:
    path = written(tmp_path, RECIPE)
    loaded = load(path, None, [parse_override("lessons.stages.1.order=easy_to_hard")])
    stages = loaded.method.step("lessons").part.as_dict()["stages"]
    assert [stage["order"] for stage in stages] == ["shuffled", "easy_to_hard"]
    loaded = load(path, None, [parse_override("lessons.stages.0.name=simple")])
    assert (loaded.overrides[0].replaced, loaded.overrides[0].value) == ("easy", "simple")


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("lessons.stages.0.order=x", "lessons.stages.0.order: Input should be"),
        ("lessons.stages.2.order=x", "stages is a list numbered 0 to 1; it has no element '2'"),
        ("lessons.stages.-1.order=x", "it has no element '-1'"),
        ("lessons.stages.\u00b2.order=x", "it has no element"),
        ("lessons.stages.easy.order=x", "it has no element 'easy'"),
        ("train.epochs.x=1", "epochs is 1 and has no field 'x'"),
        ("steps.9.sample.tries=1", "no step is called 'steps.9.sample'"),
        ("sample=3", "names no field of 'sample'"),
        ("sample.trys=3", "did you mean 'tries'?"),
        ("max_failure_rate=3", "less than or equal to 1"),
    ],
)
def test_an_override_that_leads_nowhere_is_a_fault(tmp_path: Path, flag: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(written(tmp_path, RECIPE), None, [parse_override(flag)])
    assert says in str(caught.value)
    assert f"r.yaml:?  set.{flag.partition('=')[0]}: " in str(caught.value)


@pytest.mark.parametrize("text", ["a.b=&a [*a]", "a.b=2024-13-45", "a.b=[1"])
def test_an_override_without_a_finite_value_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a YAML value"):
        parse_override(text)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("extends: curriculum\nchange: [think]\n", 2, "change: needs a mapping from step names"),
        ("extends: curriculum\nchange: {lessons: 3}\n", 2, "change.lessons: needs a mapping of fields"),
        ("extends: curriculum\nchange:\n  think:\n    trys: 3\ndrop: before\n", 4, "did you mean 'tries'?"),
        ("extends: curriculum\ndrop: 3\n", 2, "drop: needs a list of step names"),
        ("extends: curriculum\ndrop: [[before]]\n", 2, "drop: needs a list of step names"),
        ("extends: curriculum\ndrop: befor\n", 2, "did you mean 'before'?"),
        ("extends: curriculum\nsteps:\n", 2, "steps: needs a list of steps"),
        ("extends: curriculum\nsteps: []\n", 2, "needs at least one step"),
        ("about: x\nextends: curiculum\n", 2, "did you mean 'curriculum'?"),
        ("roles: []\nabout: &a [*a]\n", 2, "contains itself"),
        ("about: " + "[" * 3000 + "]" * 3000, None, "nested too deeply"),
        ("about: 2024-13-45\n", None, "not valid YAML: month must be"),
        (RECIPE.replace("as: kept", "as: ../kept"), 6, "'../kept' cannot be a name"),
        (RECIPE.replace("as: kept", "as: .."), 6, "'..' cannot be a name"),
        (RECIPE.replace("as: kept", "as: a/b"), 6, "'a/b' cannot be a name"),
        (RECIPE.replace("as: kept", "as: null"), 6, "None cannot be a name"),
        (RECIPE.replace("distilled", "student"), 12, "'student' is a role of this recipe"),
        (RECIPE.replace("name: hard", "name: ../hard"), 11, "stages.1.name: '../hard' cannot be a name"),
    ],
)
def test_malformed_input_is_a_fault_with_its_line(tmp_path: Path, text: str, line: int | None, says: str) -> None:
    message = faults(tmp_path, text)
    assert says in message
    assert f"r.yaml:{line or '?'}  " in message.split(says)[0].splitlines()[-1]


def test_a_bare_string_drops_one_step(tmp_path: Path) -> None:
    method = load(written(tmp_path, "extends: curriculum\ndrop: before\n")).method
    assert [step.name for step in method.steps][:2] == ["instruct", "no_think"]


def test_recipes_that_extend_each_other_are_a_fault(tmp_path: Path) -> None:
    assert "r.yaml -> r.yaml" in faults(tmp_path, f"extends: {tmp_path / 'r.yaml'}\n")
    (tmp_path / "s.yaml").write_text(f"about: x\nextends: {tmp_path / 'r.yaml'}\n")
    message = faults(tmp_path, f"extends: {tmp_path / 's.yaml'}\n")
    assert "s.yaml:2  extends: a recipe cannot extend itself: r.yaml -> s.yaml -> r.yaml" in message


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("sampel.tries: 3", "set.sampel.tries: no step is called 'sampel'; did you mean 'sample'?"),
        ("sample.trys: 3", "set.sample.trys: unknown key 'trys'; did you mean 'tries'?"),
        ("sample.tries: -3", "set.sample.tries: Input should be greater than or equal to 1"),
        ("sample.paradigm.kind: instrct", "did you mean 'instruct'?"),
        ("sample: 3", "set.sample: names no field of 'sample'"),
        ("rewrite: 3", "set.rewrite: names no field of 'rewrite'"),
        ("train.epochs.x: 3", "epochs is 1 and has no field 'x'"),
        ("max_failure_rate: 3", "less than or equal to 1"),
    ],
)
def test_a_wrong_override_of_a_binding_is_found_in_the_binding(tmp_path: Path, line: str, says: str) -> None:
    message = bound_faults(tmp_path, f"about: x\nset:\n  evaluate.samples: 1\n  {line}\n")
    assert message.startswith("1 fault(s) in ")
    assert "b.yaml:4  " in message
    assert says in message
    assert "r.yaml" not in message


def test_faults_of_recipe_flags_and_binding_come_together(tmp_path: Path) -> None:
    message = bound_faults(
        tmp_path, "set: {sample.trys: 3}\n", RECIPE.replace("as: kept", "as: ../kept"), ("train.epoch=2", "sample.tries=3")
    )
    assert "b.yaml:1  set.sample.trys" in message
    assert "r.yaml:6  steps.1.select.as" in message
    assert "r.yaml:?  set.train.epoch: unknown key 'epoch'; did you mean 'epochs'?" in message


def test_a_binding_may_name_an_arrow_that_the_recipe_lacks(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_text("set: {rewrite.tries: 3}\n")
    assert load(written(tmp_path, RECIPE), path).method.steps


def test_benchmark_names_are_names_of_files(tmp_path: Path) -> None:
    source = "{source: {kind: micro, family: chain_sum}}"
    message = bound_faults(tmp_path, f"benchmarks:\n  good-1.0: {source}\n  ../bad: {source}\n")
    assert "b.yaml:3  benchmarks.../bad: '../bad' cannot be a name" in message
    assert "good" not in message


def test_check_reads_bindings_and_studies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    binding, study = recipe_folder() / "bindings" / "micro.yaml", recipe_folder() / "studies" / "table1.yaml"
    assert main(["check", str(binding), str(study)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{binding}: a binding of 4 roles, no faults",
        f"{study}: a study of 16 students, no faults",
    ]
    wrong = [tmp_path / "b.yaml", tmp_path / "s.yaml"]
    wrong[0].write_text("roles: {student: 'micro:student'}\nproblem: x\n")
    wrong[1].write_text(study.read_text().replace("reference: Curriculum", "reference: Curriculums"))
    assert main(["check", *map(str, wrong)]) == 2
    printed = capsys.readouterr().err
    assert "b.yaml:2  problem: unknown key 'problem'; did you mean 'problems'?" in printed
    assert "s.yaml:3  reference: no student is called 'Curriculums'" in printed


def test_change_and_drop_without_extends_are_faults(toy: Toy) -> None:
    toy.recipe.write_text(toy.recipe.read_text() + "change: {traces: {tries: 3}}\ndrop: [kept]\n")
    with pytest.raises(RecipeError) as raised:
        Recipe.load(toy.recipe)
    assert [fault.where for fault in raised.value.faults] == ["change", "drop"]
    assert "extends" in str(raised.value)


def test_extends_is_read_beside_the_recipe_that_says_so(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = toy.folder / "inner"
    inner.mkdir()
    child, grandchild = inner / "child.yaml", inner / "grandchild.yaml"
    child.write_text(f"extends: ../{toy.recipe.name}\nchange: {{traces: {{tries: 3}}}}\n")
    grandchild.write_text("extends: child.yaml\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert Recipe.load(grandchild).loaded.method.step("traces").part.as_dict()["tries"] == 3
    grandchild.write_text("extends: chil.yaml\n")
    with pytest.raises(RecipeError, match=r"did you mean 'child\.yaml'"):
        Recipe.load(grandchild)


def test_a_steps_name_cannot_be_overridden(toy: Toy) -> None:
    with pytest.raises(RecipeError, match="keeps the name that the recipe gives it"):
        Recipe.load(toy.recipe, set={"traces.as": "other"})
