"""Thoroughness: each trait raises it, lengths of text alone do not raise densities, nothing is known of no words."""

from __future__ import annotations

import pytest

from stillwise.score.thorough import Thoroughness

PLAIN = "We add two and two and get four. " * 10


def value(text: str, **fields: object) -> float:
    found = Thoroughness.model_validate(fields).of(text).value
    assert found is not None
    return found


@pytest.mark.parametrize("word", ["verify", "Perhaps", "Therefore"])
def test_each_trait_raises_the_score(word: str) -> None:
    assert value(PLAIN + f"{word} it is. ") > value(PLAIN + "Now it is. ")


def test_only_detail_grows_with_length() -> None:
    text = "Perhaps we check: therefore four. " * 5
    assert value(text * 4) > value(text)
    rest = {"weights": (0.0, 0.2, 0.25, 0.25)}
    assert value(text * 4, **rest) == pytest.approx(value(text, **rest))


def test_the_scale_is_zero_to_one_and_no_words_have_no_score() -> None:
    assert 0 < value(PLAIN) < value("perhaps verify therefore " * 5000) < 1
    assert Thoroughness().of("1 + 1 = 2").value is None
    assert Thoroughness(half_words=1).of("so").detail == "0.50 0.00 0.00 0.99"
