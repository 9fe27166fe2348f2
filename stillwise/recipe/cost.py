"""What a run's students cost: operations of training and of auxiliary models, and tokens of teachers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stillwise.recipe.roles import local_folder
from stillwise.recipe.work import Work

ASKED = "roles_asked"
"""In a step's facts: answers and tokens by role, those from the journal included."""
STUDENT = "student"


def cost_section(work: Work) -> dict[str, Any]:
    """Operations and tokens of every step but evaluations, as if each had been made for this run alone.

    ``training``: what the trainers computed, rollouts, references and teachers' signals included. ``auxiliary``: what the
    student and models trained on the way answered or scored in other steps. ``teachers``: answers and tokens of other roles.
    """
    training = sum(_trained(work, step.name) for step in work.loaded.method.steps if step.arrow == "train")
    auxiliary, teachers = 0.0, dict[str, dict[str, int]]()
    for role, asked in _asked(work):
        if role == STUDENT or role in work.trained:
            auxiliary += _operations(work, role, asked)
        else:
            held = teachers.setdefault(role, dict.fromkeys(asked, 0))
            teachers[role] = {name: held[name] + amount for name, amount in asked.items()}
    return {"training": training, "auxiliary": auxiliary, "operations": training + auxiliary, "teachers": teachers}


def _trained(work: Work, step: str) -> float:
    stages = work.outputs[step].facts["stages"] if step in work.outputs else ()
    return sum(float(stage.get("operations", 0.0)) for stage in stages)


def _asked(work: Work) -> Iterator[tuple[str, Mapping[str, int]]]:
    for step in work.loaded.method.steps:
        if step.arrow != "evaluate" and step.name in work.outputs:
            yield from work.outputs[step.name].facts.get(ASKED, {}).items()


def _operations(work: Work, role: str, asked: Mapping[str, int]) -> float:
    """Of a role's answers; 0 where its model is no folder here. Sequences are taken to be equally long."""
    folder = local_folder(work.roles[role]) if role in work.roles else None
    if folder is None or not asked["answers"]:
        return 0.0
    from stillwise.train.flops import size_of

    mean = (asked["read"] + asked["written"] + asked["scored"]) / asked["answers"]
    size = size_of(json.loads((folder / "config.json").read_text()), _num_weights(folder))
    return asked["answers"] * float(size.forward([round(mean)]))


def _num_weights(folder: Path) -> int:
    from safetensors import safe_open

    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "numpy") as held:
            for name in held.keys():  # noqa: SIM118
                size = 1
                for side in held.get_slice(name).get_shape():
                    size *= side
                total += size
    return total
