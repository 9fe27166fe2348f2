"""The reward of knights and knaves: its five cases, on puzzles that have exactly one solution."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest

from stillwise.problems.gym import Gym
from stillwise.records import Problem
from stillwise.train.knaves import KnightsAndKnaves

PUZZLES = [
    item
    for people in (3, 5)
    for item in Gym(dataset="knights_knaves", config=(("n_people", people),), size=6, seed=people).problems()
    if isinstance(item, Problem)
]
REWARD = KnightsAndKnaves()


def holds(said: Any, world: tuple[bool, ...]) -> bool:
    """Whether a statement is true where so many tell the truth."""
    word, *rest = said
    if word == "telling-truth":
        return bool(world[rest[0]])
    if word == "lying":
        return not world[rest[0]]
    values = [holds(each, world) for each in rest]
    found = {"and": all(values), "or": any(values), "not": not values[0], "<=>": len(set(values)) == 1}
    return found[word] if word in found else not values[0] or values[1]


@pytest.mark.parametrize("puzzle", PUZZLES, ids=lambda puzzle: puzzle.id)
def test_a_puzzle_has_exactly_one_solution_and_its_solver_gets_the_whole_reward(puzzle: Problem) -> None:
    held = json.loads(puzzle.scorer or "")["metadata"]
    statements, people = held["statements"], len(held["names"])
    worlds = [
        world
        for world in product((False, True), repeat=people)
        if all(holds(said, world) == speaker for speaker, said in zip(world, statements, strict=True))
    ]
    assert len(worlds) == 1, "brute force over all 2^n worlds"
    terms = held["knight_knave_terms"]
    solved = ", ".join(
        f"{name} is {terms['a_knight' if truthful else 'a_knave']}"
        for name, truthful in zip(held["names"], worlds[0], strict=True)
    )
    assert REWARD.of(puzzle, f"hm</think><answer>{solved}</answer>") == 2


PUZZLE = Problem.of("… So who is a knight and who is a knave?", "Zoey is a knight, and Owen is a knave.")
RIGHT = "<answer>(1) Zoey is a knight (2) Owen is a knave</answer>"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (f"thought</think>{RIGHT}", 2.0),
        ("thought</think><answer>Zoey is a knave, Owen is a knave</answer>", -0.5),
        ("thought</think><answer>Zoey is a knight</answer>", -0.5),
        ("thought</think><answer>Zoey is a knight, Max is a knave</answer>", -1.0),
        ("thought</think><answer>Zoey is a wizard, Owen is a knave</answer>", -1.0),
        (RIGHT, -2.0),
        (f"thought</think></think>{RIGHT}", -2.0),
        (f"thought</think>{RIGHT}{RIGHT}", -2.0),
        (f"{RIGHT}thought</think>", -2.0),
        ("thought</think></answer>Zoey is a knight, Owen is a knave<answer>", -2.0),
    ],
)
def test_the_table_of_rewards(text: str, value: float) -> None:
    assert REWARD.of(PUZZLE, text) == value


def test_nobody_knows_where_the_reference_names_nobody() -> None:
    assert REWARD.of(Problem.of("?", "42"), f"thought</think>{RIGHT}") is None
