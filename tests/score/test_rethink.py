"""Rethink words are whole words in any case; lengths say their unit."""

from __future__ import annotations

import pytest

from stillwise.records import Trace, thinking_spans
from stillwise.sample.paradigms import RETHINK_WORDS
from stillwise.score.rethink import RethinkWords, count, rethink_rates

WORDS = RethinkWords().words


def trace(text: str, paradigm: str = "think", num_tokens: int | None = None) -> Trace:
    return Trace(
        id=text,
        problem_id="p",
        role="r",
        model="m",
        paradigm=paradigm,
        prompt="",
        text=text,
        spans=thinking_spans(text),
        num_tokens=num_tokens,
    )


def test_the_words_are_those_that_no_rethink_bans() -> None:
    assert WORDS == RETHINK_WORDS


@pytest.mark.parametrize(
    ("text", "found", "total"),
    [
        ("Wait, BUT hmm", 3, 3),
        ("butter waits, verifying another's", 1, 4),
        ("alternatively: verify! (but)", 3, 3),
        ("1 + 2 = 3", 0, 0),
        ("don’t wait", 1, 2),
        ("", 0, 0),
    ],
)
def test_count(text: str, found: int, total: int) -> None:
    words, num = count(text, WORDS)
    assert (words.total(), num) == (found, total)


def test_scope_and_nothing_to_count() -> None:
    held = trace("<think>\nwait a moment, please\n</think>\n\nbut yes it is so")
    assert RethinkWords(scope="thought").rate(held).value == 250.0
    assert RethinkWords().rate(held).value == pytest.approx(1000 * 2 / 9)
    assert RethinkWords(scope="thought").rate(trace("no thought here")).value is None


def test_rates_pool_words_and_names_the_unit() -> None:
    table = rethink_rates([trace("wait a b c"), trace("d e f g h i"), trace("x y", "no_think", 7), trace("x z", "no_think", 9)])
    assert table["think"]["rethink_per_1000_words"] == 100.0
    assert (table["think"]["length_unit"], table["think"]["mean_length"]) == ("words", 5.0)
    assert (table["no_think"]["length_unit"], table["no_think"]["mean_length"]) == ("tokens as generated", 8.0)
    assert rethink_rates([trace("a b")], count_tokens=len)["think"]["length_unit"] == "tokens of the text"
    assert rethink_rates([trace("a b")], count_tokens=len)["think"]["mean_length"] == 3
