"""Composed models: two that answer in turns, and the candidate whose student did best."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from stillwise.arrows import Ask, Completion, Request
from stillwise.errors import RecipeError
from stillwise.models.scripted import Script, ScriptedModel
from stillwise.recipe.api import Recipe
from stillwise.recipe.load import load
from stillwise.records import Finish, Sampling
from stillwise.runtime.dialogue import CLOSING
from stillwise.sample.chosen import ByStudent
from stillwise.sample.turns import InTurns
from tests.conftest import RECIPE, Toy
from tests.sample.conftest import DirectCaller

SUM = "What is 4 + 5 - 2?"


def oracle_asker(request: Request) -> str:
    turns = request.ask.prefill.count("A:")
    return ["What is 4 + 5?", "What is 9 - 2?", CLOSING][turns]


def oracle_solver(request: Request) -> str:
    question = request.ask.prefill.rpartition("Q:\n")[2].partition("\n")[0]
    if CLOSING in question:
        return f"\\boxed{{{request.ask.prefill.rpartition('= ')[2].splitlines()[0]}}}"
    a, sign, b = re.findall(r"\d+|[+-]", question)
    return f"{a} {sign} {b} = {int(a) + int(b) * (1 if sign == '+' else -1)}"


def held(
    asker: Script = oracle_asker,
    solver: Script = oracle_solver,
    max_tokens: int = 200,
    max_turns: int = 12,
    template: str = "<u>{user}<a>",
) -> tuple[list[Completion], ScriptedModel, ScriptedModel]:
    models = ScriptedModel(asker, name="asker", template=template), ScriptedModel(solver, name="solver", template=template)
    pair = InTurns(asker="asker", solver="solver", max_turns=max_turns)
    caller = pair.compose({"asker": DirectCaller(models[0]), "solver": DirectCaller(models[1])}, {})
    requests = [Request(ask=Ask(user=SUM), sampling=Sampling(max_tokens=max_tokens), seed=seed) for seed in (1, 2)]
    heard: list[int] = []
    answers = caller.complete(requests, lambda places, _: heard.extend(places))
    assert sorted(heard) == [0, 1], "each dialogue is handed over once"
    return answers, *models


def test_two_oracles_find_the_answer_and_stop_after_the_closing_question() -> None:
    (answer, _), asker, solver = held()
    assert answer.text == (
        "Q:\nWhat is 4 + 5?\nA:\n4 + 5 = 9\nQ:\nWhat is 9 - 2?\nA:\n9 - 2 = 7\n" + f"Q:\n{CLOSING}\nA:\n\\boxed{{7}}\n"
    )
    assert answer.finish is Finish.STOP
    assert (len(asker.requests), len(solver.requests)) == (6, 6)
    assert answer.num_tokens == sum(len(text.split()) + 1 for text in re.split(r"[QA]:", answer.text)[1:])


def test_the_solver_sees_no_later_question_and_each_line_has_a_seed_of_its_own() -> None:
    _, asker, solver = held()
    seen = [request.ask.prefill for request in solver.requests[::2]]
    assert [text.count("Q:") for text in seen] == [1, 2, 3]
    assert all(text.endswith("A:\n") for text in seen)
    seeds = [request.seed for request in (*asker.requests, *solver.requests)]
    assert len(set(seeds)) == len(seeds)
    assert {request.sampling.stop for request in solver.requests} == {("\n",)}


def test_turns_and_tokens_are_bounded_and_what_is_cut_is_truncated() -> None:
    (answer, _), asker, _ = held(asker=lambda _: "Again?", solver=lambda _: "1", max_turns=3)
    assert (answer.finish, len(asker.requests)) == (Finish.LENGTH, 6)
    (answer, _), _, _ = held(max_tokens=14)
    assert answer.finish is Finish.LENGTH
    assert answer.num_tokens <= 14


def test_a_template_that_opens_a_thought_has_it_closed_first() -> None:
    (answer, _), asker, _ = held(template="<u>{user}<a><think>\n")
    assert asker.requests[0].ask.prefill.startswith("</think>\n\nQ:\n")
    assert answer.opened + answer.text == "<think>\n</think>\n\n" + held()[0][0].text


def test_the_teacher_is_the_one_whose_student_did_best() -> None:
    chooser = ByStudent(among=("strong", "clear", "third"), measured=("a", "b", "c"))
    assert chooser.best({"a": 0.2, "b": 0.6, "c": 0.6}) == "clear", "of equals the first"
    callers = {name: DirectCaller(ScriptedModel({"": name}, name=name)) for name in chooser.among}
    assert chooser.compose(callers, {"a": 0.7, "b": 0.6, "c": 0.1}) is callers["strong"]
    with pytest.raises(ValidationError, match="each candidate needs one"):
        ByStudent(among=("a", "b"), measured=("a", "b", "c"))


COMPOSED = """\
  - train: {as: second, epochs: 1, learning_rate: 1.0e-3, batch_tokens: 512, max_length: 256, instruction: ""}
  - evaluate: {as: after_second, model: second, samples: 1, max_tokens: 24, instruction: ""}
  - compose: {as: better, kind: by_student, among: [distilled, second], measured: [after, after_second]}
  - compose: {as: pair, kind: in_turns, asker: better, solver: distilled, max_turns: 2}
  - evaluate: {as: paired, model: pair, samples: 1, max_tokens: 32, instruction: ""}
"""


def test_a_recipe_measures_a_composed_model_and_finds_it_again(toy: Toy, tmp_path: Path) -> None:
    path = tmp_path / "composed.yaml"
    path.write_text(RECIPE + COMPOSED)
    recipe, out = Recipe.load(path, binding=str(toy.binding)), tmp_path / "run"
    bounds = {bound.step: bound for bound in recipe.plan().bounds}
    assert bounds["paired"].requests == 4 * bounds["after"].requests, "two models, two turns"
    assert bounds["paired"].generated_tokens == 8 * 32
    first = recipe.run(out, threads=1, progress="quiet")
    assert first.metrics["evaluation"]["paired"]["benchmarks"]["same"]["problems"] == 8
    assert recipe.run(out, threads=1, progress="quiet").fresh == ()
    path.write_text((RECIPE + COMPOSED).replace("max_turns: 2", "max_turns: 1"))
    changed = Recipe.load(path, binding=str(toy.binding)).run(out, threads=1, progress="quiet")
    assert changed.fresh == ("pair", "paired")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("measured: [after, after_second]", "measured: [after, kept]"), "'kept' makes rows, not measures"),
        (("asker: better", "asker: beter"), "did you mean 'better'?"),
        (("as: pair,", "as: student,"), "'student' is a role of this recipe"),
        (("model: pair,", "model: pear,"), "did you mean 'pair'?"),
    ],
)
def test_faults_of_composing(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    path = tmp_path / "composed.yaml"
    path.write_text(RECIPE + COMPOSED.replace(*change))
    with pytest.raises(RecipeError, match=re.escape(says)):
        load(path)


def test_a_composed_model_cannot_be_trained(tmp_path: Path) -> None:
    path = tmp_path / "composed.yaml"
    path.write_text(RECIPE + COMPOSED + "  - train: {as: more, student: pair}\n")
    with pytest.raises(RecipeError, match="has no weights"):
        load(path)
