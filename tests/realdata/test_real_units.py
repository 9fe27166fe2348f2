"""Thoughts of R1, QwQ, Qwen3 in units: nothing lost, steps of a paragraph's size, boundaries where a reader sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from stillwise.problems.import_traces import read_traces
from stillwise.recipe.api import Recipe
from stillwise.rewrite.segment import LogicalUnits

pytestmark = pytest.mark.realdata

Real = Callable[[str], Path]
FILES = ("deepseek_r1_math_5", "ollama_math_5", "qwq32b_riddles", "qwen3_30b_think_riddles", "marco_o1_demo_125")


def thoughts(real: Real, name: str) -> list[str]:
    found = [trace.span("thinking") for trace in read_traces([real(f"traces_{name}.jsonl")]).traces]
    return [thought.lstrip() for thought in found if thought and thought.strip()]


def units(thought: str) -> list[str]:
    return [thought[span.start : span.end] for span in LogicalUnits().segment(thought)]


@pytest.mark.parametrize("name", FILES)
def test_units_are_the_whole_thought_and_conceptual_steps(real: Real, name: str) -> None:
    cut = [units(thought) for thought in thoughts(real, name)]
    assert ["".join(each) for each in cut] == thoughts(real, name)
    words = [len(unit.split()) for each in cut for unit in each]
    assert 15 <= median(words) <= 80, "neither lines nor pages"
    assert sum(size > 130 for size in words) / len(words) < 0.02, "only sentences without an end are longer"
    lines = median(sum(bool(line.strip()) for line in thought.splitlines()) for thought in thoughts(real, name))
    assert name != "ollama_math_5" or median(map(len, cut)) < lines / 2, "this model writes line after line"


@pytest.mark.parametrize("name", FILES)
def test_no_unit_ends_inside_a_displayed_formula(real: Real, name: str) -> None:
    for thought in thoughts(real, name):
        for unit in units(thought):
            for opener, closer in (("\\[", "\\]"), ("\\begin{", "\\end{")):
                whole = thought.count(opener) == thought.count(closer)
                assert not whole or unit.count(opener) == unit.count(closer)


def test_the_steps_of_one_thought_as_marked_by_hand(real: Real) -> None:
    """R1 on a piecewise function: recall, two sides of x = 2, solve, two sides of x = -2, solve, sum, checks."""
    starts = [" ".join(unit.split()[:4]) for unit in units(thoughts(real, "deepseek_r1_math_5")[0])]
    assert starts == [
        "Okay, so I need",
        "First, let's handle x",
        "Let me compute the",
        "2a + 3 =",
        "Now, moving on to",
        "So the left-hand limit",
        "So setting the left-hand",
        "Thus, a = -3",
        "First, check x =",
        "Then at x =",
        "Adding a and b:",
    ]


def test_real_thoughts_are_titrated_from_their_file(real: Real, tmp_path: Path) -> None:
    """R1's five MATH thoughts, given to a scripted model that is right in three of them at once."""
    file = real("traces_deepseek_r1_math_5.jsonl")
    rows = [json.loads(line) for line in file.read_text(encoding="utf8").splitlines()]
    answers = [f"\\boxed{{{row['gtruth_answer'] if place < 3 else 'nothing'}}}" for place, row in enumerate(rows)]
    script = tmp_path / "script.jsonl"
    pairs = [{"question": row["problem"], "answer": answer} for row, answer in zip(rows, answers, strict=True)]
    script.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    recipe = Recipe.load("context_titration", set={"titrated.tokenizer": "instructor", "titrated.samples": 1})
    roles, traces = {"instructor": f"scripted:{script}"}, {"think": str(file)}
    found = recipe.run(tmp_path / "run", roles=roles, traces=traces, threads=1, progress="quiet").metrics["titration"][
        "titrated"
    ]
    (group,) = found["groups"].values()
    assert (group["n"], group["solved"], group["censored"]) == (5, 3, {"never_solved": 2})
    assert 0 < group["context_ratio"]["value"] < 0.3, "the first unit of a long thought"
    assert found["order"] == ["ungrouped"], "the file states no level"
    assert found["attempts"] == 3 + sum(len(units(thought)) for thought in thoughts(real, "deepseek_r1_math_5")[3:])
