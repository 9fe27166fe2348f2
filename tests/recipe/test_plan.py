"""Plans are upper bounds, computed without running."""

from __future__ import annotations

import json
from pathlib import Path

from stillwise.problems.resolve import resolve
from stillwise.recipe.api import Recipe
from stillwise.recipe.plan import Bound, make_plan, plan_lines
from stillwise.recipe.run import Options, bound_to, hold_out, read_problems
from stillwise.runtime.store import MANIFEST


def test_the_papers_plan_is_four_modes_of_four_tries() -> None:
    plan = Recipe.load("curriculum", binding="paper").plan()
    assert plan.num_problems == 7500
    assert plan.teacher_requests == 7500 * 4 * 4
    rewrite = next(bound for bound in plan.bounds if bound.step == "think_solution")
    assert rewrite.requests == 0
    samples = 32 * (30 + 30 + 40) + 8 * (500 + 272 + 675)
    assert plan.requests == 120_000 + 2 * samples
    assert plan.generated_tokens == plan.requests * 16384
    assert plan.generation_hours == plan.generated_tokens / 1500 / 3600


def test_the_plan_says_models_and_where_its_rate_comes_from() -> None:
    text = "\n".join(plan_lines(Recipe.load("curriculum", binding="paper").plan()))
    assert "DeepSeek-R1-Distill-Qwen-32B" in text
    assert "Qwen2.5-3B-Instruct" in text
    assert "an assumption, not a measurement" in text


def test_micro_problems_are_counted_from_the_source() -> None:
    plan = Recipe.load("curriculum", binding="micro", set={"sample.tries": 2}).plan()
    assert plan.num_problems_known
    assert plan.teacher_requests == plan.num_problems * 4 * 2


def test_given_problems_are_counted_although_the_binding_states_a_number(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({"question": f"{n} + 1?", "answer": str(n + 1)}) + "\n" for n in range(40)))
    recipe = Recipe.load("curriculum", binding="paper")
    loaded = bound_to(recipe.loaded, Options(out=tmp_path, problems=resolve(str(path))))
    plan = make_plan(loaded)
    kept, held = hold_out(read_problems(resolve(str(path)), "p")[0])
    assert (plan.num_problems, plan.num_problems_known) == (len(kept), True)
    assert plan.benchmarks == {"heldout": len(held)}
    assert plan.teacher_requests == len(kept) * 4 * 4


def test_outputs_that_are_there_may_be_of_another_setting(tmp_path: Path) -> None:
    finished = tmp_path / "work" / "think" / "0123"
    finished.mkdir(parents=True)
    (finished / MANIFEST).write_text("{}")
    lines = plan_lines(Recipe.load("curriculum", binding="paper").plan(tmp_path))
    marked = [line for line in lines if "an output of this or another setting is there" in line]
    assert [line.split()[0] for line in marked] == ["think"]


def bounds(name: str) -> dict[str, Bound]:
    return {each.step: each for each in Recipe.load(name, binding="paper").plan().bounds}


def test_judging_and_rewriting_are_counted_from_the_traces_that_there_can_be() -> None:
    found = bounds("slow_thinking")
    cots = found["cots"].requests
    assert cots == 3 * 105_000
    assert found["labels"].requests == 2 * cots
    assert found["fitted"].requests == cots
    assert found["fitted"].generated_tokens == cots * 16384
    rounds = bounds("slow_thinking_iterative")["fitted"]
    assert rounds.requests == cots * (2 * 3) + cots * (1 + 3) * 2


def test_training_is_bounded_by_the_selection_its_passes_and_both_sides_of_pairs() -> None:
    found, raw = bounds("slow_thinking"), bounds("raw_cots")
    assert found["taught"].trained_tokens == 3 * 105_000 * (3 + 1) * 16384
    assert found["distilled"].trained_tokens == 105_000 * 3 * 2 * 16384
    assert raw["taught"].trained_tokens == 105_000 * 3 * 16384
    assert bounds("thoughtx")["distilled"].trained_tokens == 500_000 * 2 * 3 * 16384


def test_what_the_student_is_asked_is_no_teachers_request() -> None:
    plan = Recipe.load("orpo-distill", binding="paper").plan()
    by_step = {bound.step: bound.requests for bound in plan.bounds if bound.arrow in ("sample", "score", "rewrite")}
    taught = [step for step in plan.loaded.method.steps if step.name in by_step and set(step.roles) - {"student"}]
    trained = plan.loaded.method.trained_roles()
    assert plan.teacher_requests == sum(by_step[step.name] for step in taught if not set(step.roles) <= set(trained))
    assert 0 < plan.teacher_requests < sum(by_step.values())
