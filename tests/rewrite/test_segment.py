"""Units are side by side, hold no half formula, and are steps: an announcement, a formula and a check belong to one."""

from __future__ import annotations

import random
import re

import pytest

from stillwise.rewrite.segment import LogicalUnits

MICRO = """\
347 + 285: 7+5=12, 4+8+1=13, 3+2+1=6. So 632.
Wait, let me verify: 347 + 285 -> 547 -> 627 -> 632. Yes.
632 - 41: 2-1=1, 13-4=9, 6-0-1=5. So 592.
Hmm, 632 - 41 -> 592 -> 591. No.
But no. Again, 632 - 41: 2-1=1, 13-4=9, 6-0-1=5. So 591.
591 + 8: 1+8=9, 9+0=9, 5+0=5. So 599.
"""


def cut(text: str, **fields: int) -> list[str]:
    spans = LogicalUnits(**fields).segment(text)
    assert all(span.kind == "unit" for span in spans)
    return [text[span.start : span.end] for span in spans]


def firsts(units: list[str]) -> list[str]:
    """The first two words of each unit."""
    return [" ".join(unit.split()[:2]) for unit in units]


def test_a_worked_operation_and_its_check_are_one_unit() -> None:
    units = cut(MICRO, min_words=4)
    assert firsts(units) == ["347 +", "632 -", "591 +"]
    assert units[1].count("\n") == 3, "the second calculation after a failed check belongs to its step"


def test_a_long_second_look_is_a_step_of_its_own() -> None:
    again = "Wait, " + "another way to see it is to count the pairs " * 4 + "which gives 12."
    before, after = "There are twelve pairs of neighbours in the whole ring.", "So the answer must then be 12, as claimed."
    text = f"{before}\n\n{again}\n\n{after}\n"
    assert len(cut(text)) == 3
    assert len(cut(text, check_words=60)) == 2


def test_announcements_formulas_and_lists_belong_together() -> None:
    text = (
        "First, let me write down what we know about the two lines:\n\n\\[\ny = 2x + 1\n\n\\]\n\n- the slope is two\n\n"
        "- it meets the axis at one\n\nNow the second line has to go through the point (1, 5), so its slope is four.\n"
    )
    units = cut(text)
    assert firsts(units) == ["First, let", "Now the"]


def test_lines_that_do_not_end_their_sentence_go_on_until_a_step_begins() -> None:
    text = (
        "We compare both sides of it at x = 2\n\n2a + 3 = -3\n\n2a = -6\n\nSo a is minus three, and the first part is done.\n"
    )
    assert firsts(cut(text)) == ["We compare", "So a"]


def test_a_long_paragraph_is_cut_where_a_step_begins() -> None:
    filler = "The value of the function does not change here at all. "
    text = filler * 8 + "Now we look at the other end. " + filler * 8
    units = cut(text, max_words=100)
    assert units[1].startswith("Now we look")
    assert len(cut(filler * 30, max_words=100)) == 3, "without a cue, at the sentence after max_words"


def test_too_little_to_be_a_unit_joins_its_neighbour() -> None:
    text = "Okay.\n\nWe need the sum of ten odd numbers, all small.\n\nDone.\n\nFinally, the sum is one hundred, as expected.\n"
    assert firsts(cut(text)) == ["Okay. We", "Finally, the"]
    assert cut("x = 1") == ["x = 1"]
    assert cut(" \n ") == []


@pytest.mark.parametrize("seed", range(20))
def test_units_are_the_whole_text_and_never_part_a_formula(seed: int) -> None:
    rng = random.Random(seed)
    bits = [
        "Wait, ",
        "So x.",
        "\n\n",
        "\n",
        "- a",
        "\\[ a\n\nb \\]",
        "$x. y$",
        "```\n\ncode\n```",
        "words and words ",
        ":",
        "Now we see. ",
    ]
    text = "".join(rng.choice(bits) for _ in range(200))
    units = cut(text, min_words=rng.randrange(1, 9), max_words=rng.randrange(3, 40), check_words=rng.randrange(30))
    assert "".join(units) == text
    assert all(unit.strip() for unit in units)
    for opener, closer in (("\\[", "\\]"), ("```", "")):
        assert all(unit.count(opener) == unit.count(closer) or not closer for unit in units)
        assert closer or all(unit.count(opener) % 2 == 0 for unit in units)


def test_no_joining_makes_a_unit_longer_than_the_limit() -> None:
    text = "\n\n".join(["it goes on and on"] * 60)
    assert max(len(re.findall(r"\S+", unit)) for unit in cut(text, max_words=30)) <= 30
