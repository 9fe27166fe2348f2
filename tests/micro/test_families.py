"""The problems: deterministic, split without overlap, judged by reasoning-gym."""

import pytest

from stillwise.micro import families


@pytest.mark.parametrize("family", families.FAMILIES)
def test_the_splits_share_no_question_even_where_the_space_is_small(family: str) -> None:
    train = {problem.question for problem in families.generate(family, 1, 2000, seed=0)}
    held_out = {problem.question for problem in families.generate(family, 1, 500, seed=0, split="held_out")}
    assert len(train) == 2000
    assert len(held_out) == 500
    assert not train & held_out


def test_the_same_seed_gives_the_same_problems() -> None:
    assert families.generate("chain_sum", 4, 20, seed=9) == families.generate("chain_sum", 4, 20, seed=9)
    assert families.generate("chain_sum", 4, 20, seed=9) != families.generate("chain_sum", 4, 20, seed=10)


def test_a_level_with_too_few_questions_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(families._TERMS_DIGITS["chain_sum"], 1, (2, 1, 1))
    with pytest.raises(ValueError, match="fewer than"):
        families.generate("chain_sum", 1, 500, seed=0, split="held_out")


def test_the_scorer_reads_the_last_box_after_the_thought() -> None:
    problem = families.generate("chain_sum", 3, 1, seed=0)[0]
    right = f"The answer is \\boxed{{{problem.answer}}}."
    assert families.is_correct(problem, right)
    assert families.is_correct(problem, f"<think>\n\\boxed{{0}}\n</think>\n\n{right}")
    assert not families.is_correct(problem, f"<think>\n{right}")
    assert not families.is_correct(problem, f"<think>\n{right}</think>\n\nNo idea.")
    assert not families.is_correct(problem, f"The answer is \\boxed{{{int(problem.answer) + 1}}}.")
