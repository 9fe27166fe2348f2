"""What a run's students cost: operations of training and of auxiliary models, and tokens of teachers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stillwise.recipe.roles import local_folder
from stillwise.recipe.work import Work
from stillwise.runtime.counted import Tally

ASKED = "roles_asked"
"""In a step's facts: answers and tokens by role, those from the journal included."""
WAITED = "roles_waited"
"""In a step's facts: seconds and tokens by role, of answers that no journal held."""
STUDENT = "student"


def spent(tally: Tally | None) -> dict[str, Any]:
    """What a step's facts say of the roles that it asked."""
    found = {ASKED: tally.roles, WAITED: tally.waited()} if tally else {}
    return {name: held for name, held in found.items() if held}


def cost_section(work: Work) -> dict[str, Any]:
    """Operations and tokens of every step but evaluations that nothing reads, as if each had been made for this run alone.

    ``training``: what the trainers computed, rollouts, references and teachers' signals included. ``auxiliary``: what the
    student and models trained on the way answered or scored in other steps. ``teachers``: answers and tokens of other roles.
    """
    training = sum(_trained(work, step.name) for step in work.loaded.method.steps if step.arrow == "train")
    auxiliary, teachers = 0.0, dict[str, dict[str, int]]()
    for _, role, asked in _asked_by_step(work):
        if _own(work, role):
            auxiliary += _operations(work, role, asked)
        else:
            held = teachers.setdefault(role, dict.fromkeys(asked, 0))
            teachers[role] = {name: held[name] + amount for name, amount in asked.items()}
    return {"training": training, "auxiliary": auxiliary, "operations": training + auxiliary, "teachers": teachers}


def teacher_seconds(work: Work) -> dict[str, float | None]:
    """How long each teacher's answers take where none is in a journal; None where none of them was timed.

    Answers from the journal count at the rate of those made anew, of the same step if there were any, else of all steps.
    """
    written: dict[str, list[tuple[int, Mapping[str, float]]]] = {}
    for step, role, asked in _asked_by_step(work):
        if not _own(work, role):
            waited = work.outputs[step].facts.get(WAITED, {}).get(role, {})
            written.setdefault(role, []).append((asked["written"], waited))
    return {role: _seconds(held) for role, held in written.items()}


def _seconds(steps: Sequence[tuple[int, Mapping[str, float]]]) -> float | None:
    """For tokens of several steps, each with the seconds and tokens that were timed in it."""
    timed = [waited for _, waited in steps if waited]
    if not timed:
        return None
    overall = sum(each["seconds"] for each in timed) / sum(each["tokens"] for each in timed)
    return sum(tokens * (waited["seconds"] / waited["tokens"] if waited else overall) for tokens, waited in steps)


def _own(work: Work, role: str) -> bool:
    return role == STUDENT or role in work.trained


def _trained(work: Work, step: str) -> float:
    stages = work.outputs[step].facts["stages"] if step in work.outputs else ()
    return sum(float(stage.get("operations", 0.0)) for stage in stages)


def _asked_by_step(work: Work) -> Iterator[tuple[str, str, Mapping[str, int]]]:
    method = work.loaded.method
    # An evaluation that a step reads (a pupil's, by which a teacher is chosen) is part of the method.
    for step in method.steps:
        if (step.arrow != "evaluate" or step.name in method.read) and step.name in work.outputs:
            for role, asked in work.outputs[step.name].facts.get(ASKED, {}).items():
                yield step.name, role, asked


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
