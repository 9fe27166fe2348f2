"""Farthest-first order by edit distance: a metric, a greedy choice that spreads, no dependence on the order given."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations
from random import Random

import pytest

from stillwise.arrows import Tools
from stillwise.records import Problem, Trace, thinking_spans
from stillwise.runtime.graders import GraderPool
from stillwise.runtime.progress import silent
from stillwise.score.apart import Apart, distance, farthest_first

PROBLEM = Problem.of("2 + 2?", "4")


def traces(*texts: str) -> list[Trace]:
    return [
        Trace(
            id=f"{i:02}",
            problem_id=PROBLEM.id,
            role="r",
            model="m",
            paradigm="think",
            prompt="",
            text=t,
            spans=thinking_spans(t),
        )
        for i, t in enumerate(texts)
    ]


def words(rng: Random, count: int) -> list[str]:
    return ["".join(rng.choice("ab ") for _ in range(rng.randint(3, 12))) for _ in range(count)]


def narrowest(chosen: tuple[str, ...] | list[str]) -> float:
    return min(distance(a, b, True) for a, b in combinations(chosen, 2))


def test_the_distance_is_a_metric() -> None:
    rng = Random(0)
    for _ in range(200):
        a, b, c = words(rng, 3)
        assert distance(a, c, False) <= distance(a, b, False) + distance(b, c, False)
        assert distance(a, b, False) == distance(b, a, False)
    assert distance("kitten", "sitting", False) == 3
    assert distance("kitten", "sitting", True) == pytest.approx(3 / 7)


@pytest.mark.parametrize("seed", range(8))
def test_the_first_places_are_farther_apart_than_a_random_choice_and_every_order_gives_the_same(seed: int) -> None:
    rng = Random(seed)
    held = traces(*words(rng, 7))
    order = [trace.text for trace in farthest_first(held, True)]
    for count in (2, 3, 4):
        every = [narrowest(chosen) for chosen in combinations([trace.text for trace in held], count)]
        assert narrowest(order[:count]) >= sum(every) / len(every)
    assert narrowest(order[:2]) == max(narrowest(pair) for pair in combinations(order, 2))
    for mixed in list(permutations(held))[:: 5040 // 20]:
        assert [trace.text for trace in farthest_first(list(mixed), True)] == order


@pytest.fixture
def tools() -> Iterator[Tools]:
    with GraderPool() as graders:
        yield Tools(step="score", seed=0, callers={}, graders=graders, progress=silent)


def test_only_correct_traces_have_a_place(tools: Tools) -> None:
    held = traces("\\boxed{4}", "so \\boxed{5}", "I add two and two and get \\boxed{4}", "It is \\boxed{4}")
    found = Apart().score(PROBLEM, held, tools)
    assert [score.value is None for score in found] == [False, True, False, False]
    assert sorted(score.value for score in found if score.value is not None) == [0, 1, 2]
    assert found[1].detail == "not correct"
    assert Apart().score(PROBLEM, held[:1], tools)[0].detail == "1 of 1"
