"""Plans are upper bounds, computed without running."""

from __future__ import annotations

from stillwise.recipe.api import Recipe
from stillwise.recipe.plan import plan_lines


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
