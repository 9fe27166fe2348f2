"""Every writer's text ends in reasoning-gym's answer, and every injected mistake is corrected."""

import re
from random import Random

import pytest

from stillwise.micro import families, solutions
from stillwise.micro.solutions import Operation

PLACES = [(family, level) for family in families.FAMILIES for level in families.LEVELS]


@pytest.mark.parametrize(("family", "level"), PLACES)
def test_every_writer_reaches_the_answer(family: str, level: int) -> None:
    rng = Random(level)
    for problem in families.generate(family, level, 40, seed=3):
        expression = problem.expression
        texts = [
            solutions.short_solution(expression),
            solutions.split_solution(expression),
            solutions.direct_solution(expression),
            solutions.plain(solutions.brief_answer(expression, rng)),
            *(solutions.plain(solutions.reasoner_answer(expression, rng, c, 0.5)) for c in (0.0, 0.5, 1.0)),
        ]
        assert all(families.is_correct(problem, text) for text in texts)


def random_operations(count: int) -> list[Operation]:
    rng = Random(5)
    return [Operation(rng.randint(-999, 999), rng.choice("+-"), rng.randint(-99, 99)) for _ in range(count)]


@pytest.mark.parametrize("mistake", solutions.MISTAKES)
def test_a_mistake_is_unlearnt_and_its_check_corrects_it(mistake: str) -> None:
    rng, wrong = Random(1), 0
    for operation in random_operations(300):
        work, claim = solutions.column_line(operation, rng, mistake)
        assert solutions.plain(work).endswith(f"So {claim}.\n")
        if claim == operation.value:
            continue
        wrong += 1
        assert any(not learnt for _, learnt in work)
        fixed = solutions.plain(solutions.check(operation, claim, rng))
        assert ". No.\n" in fixed
        assert fixed.endswith(f"So {operation.value}.\n")
    assert wrong > 50


def test_right_work_is_wholly_learnt_and_right() -> None:
    for operation in random_operations(300):
        work, claim = solutions.column_line(operation)
        assert claim == operation.value
        assert all(learnt for _, learnt in work)
        assert solutions.partial_sums(solutions.magnitudes(operation))[-1] == abs(operation.value)
        for left, right, total in re.findall(r"[:,] (\d+)[+](\d+)=(\d+)", solutions.plain(work)):
            assert int(left) + int(right) == int(total)


def test_checks_start_with_a_banned_word() -> None:
    words = {"alternatively", "another", "but", "hmm", "verify", "wait"}
    for opener in (*solutions.OPENERS, *solutions.REDO):
        assert re.split(r"\W", opener.lower())[0] in words


def test_parentheses_and_signs_are_evaluated_in_order() -> None:
    steps = solutions.operations("( -9 - 8 ) - ( 3 - -7 ) + 6")
    assert [step.text for step in steps] == ["-9 - 8", "3 - -7", "-17 - 10", "-27 + 6"]
    assert solutions.split_line(Operation(120, "-", 345)) == "120 - 345 = -(345 - 120) -> 245 -> 225 -> 225 = -225"
    work, _ = solutions.column_line(Operation(347, "+", 285))
    assert solutions.plain(work) == "347 + 285: 7+5=12, 4+8+1=13, 3+2+1=6. So 632.\n"
