"""DED: of two teachers who are always right the one is chosen whose pupil does better, wherever it stands in the recipe."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from stillwise.problems.gym import Micro
from stillwise.recipe.api import Recipe
from stillwise.records import Problem
from stillwise.sample.chosen import ByStudent

PROBLEMS = Micro(levels=(1,), per_level=40)


def tidy(question: str) -> list[str]:
    """One line for an operation."""
    numbers = [
        int(sign + digits) for sign, digits in re.findall(r"(^|[+-])\s*(\d+)", question.split(":")[1].replace("- ", "-"))
    ]
    lines, total = list[str](), numbers[0]
    for number in numbers[1:]:
        lines.append(f"{total} {'-' if number < 0 else '+'} {abs(number)} = {total + number}")
        total += number
    return lines


def noisy(question: str) -> list[str]:
    """The same lines, drowned in numbers that mean nothing."""
    rng = Random(question)
    noise = [" ".join(str(rng.randrange(1000)) for _ in range(6)) for _ in tidy(question)]
    return [f"{some} {line} {some[::-1]}" for some, line in zip(noise, tidy(question), strict=True)]


def script(path: Path, write: Callable[[str], list[str]]) -> str:
    """A teacher who answers every problem rightly."""
    problems = [one for one in PROBLEMS.problems() if isinstance(one, Problem)]
    texts = ["\n".join(write(one.question)) + f"\n</think>\n\n\\boxed{{{one.answer}}}" for one in problems]
    rows = [{"question": one.question, "answer": f"<think>\n{text}"} for one, text in zip(problems, texts, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"scripted:{path}"


@pytest.mark.slow
def test_the_teacher_with_the_better_pupil_is_chosen(tmp_path: Path) -> None:
    drowned, clear = script(tmp_path / "noisy.jsonl", noisy), script(tmp_path / "tidy.jsonl", tidy)
    changes = {
        "trial_a.tries": 1,
        "trial_b.tries": 1,
        "train.epochs": 10,
        "train.learning_rate": 1.0e-3,
        "train.batch_tokens": 256,
        "train.instruction": "",
        "evaluate.instruction": "",
        "evaluate.samples": 1,
        "evaluate.max_tokens": 120,
        "sample.paradigm.instruction": "",
    }
    binding = tmp_path / "two.yaml"
    binding.write_text(
        f"roles: {{reasoner: '{drowned}', rival: '{clear}', student: 'micro:student'}}\n"
        "problems: {kind: micro, levels: [1], per_level: 40}\n"
        "benchmarks: {held: {source: {kind: micro, levels: [1], split: heldout, per_level: 12}}}\n"
    )
    found = Recipe.load("ded", binding=str(binding), set=changes).run(
        tmp_path / "run", threads=1, progress="quiet", until="teacher"
    )
    measured = {name: found.metrics["evaluation"][name]["average"]["value"] for name in ("smoke_a", "smoke_b")}
    assert all(found.metrics["sampling"][name]["solved"] == 40 for name in ("trial_a", "trial_b")), "both are always right"
    assert measured["smoke_b"] > measured["smoke_a"] + 0.2, "so much that no seed turns it round"
    for order in (1, -1):
        part = ByStudent(among=("reasoner", "rival")[::order], measured=("smoke_a", "smoke_b")[::order])
        assert part.best(measured) == "rival"
