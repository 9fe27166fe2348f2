"""Tokens of whole buffers: what is one, what is none, and that runs of them are equal only where texts are."""

from __future__ import annotations

import pyarrow as pa
import pytest

from stillwise.problems.buffers import Texts
from stillwise.problems.words import ngrams, number_prints, runs, tokenise


def words(*texts: str) -> list[list[str]]:
    held = Texts.of(texts)
    found = tokenise(held)
    return [
        [held.data[found.starts[i] : found.ends[i]].tobytes().decode("utf-8", "ignore") for i in range(low, high)]
        for low, high in zip(found.bounds[:-1], found.bounds[1:], strict=True)
    ]


def same(a: str, b: str) -> bool:
    found = tokenise(Texts.of([a, b]))
    whole = runs(found, found.bounds[:-1], found.bounds[1:])
    return bool(whole[0] == whole[1])


def test_tokens_are_words_numbers_and_signs_of_one_text() -> None:
    assert words("Well-known: 3x+4.", "", "5", "a") == [["Well", "known", "3", "x", "+", "4"], [], ["5"], ["a"]]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("What is $x^2$?", r"what is \( x ^ 2 \)"),
        (r"\left(\dfrac{1}{2}\right)", r"( \frac 1 2 )"),
        (r"3 \times 4", "3 × 4"),
        ("5 − 3", "5 - 3"),
        ("it’s “so”", "it's so"),
        (r"\text{cm} and \mathrm{m}", "cm and m"),
    ],
)
def test_settings_of_one_text_are_equal(a: str, b: str) -> None:
    assert same(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [("3 + 4", "3 - 4"), ("3 - (4 + 5)", "3 - 4 + 5"), ("1 2", "12"), ("ab", "a b"), ("a b", "b a"), ("left", ""), ("é", "e")],
)
def test_other_texts_are_other(a: str, b: str) -> None:
    assert not same(a, b)


def test_ngrams_cross_no_text() -> None:
    found = tokenise(Texts.of(["a b c", "d", "a b"]))
    grams, first = ngrams(found, 2)
    assert first.tolist() == [0, 1, 4]
    assert grams[0] == grams[2] != grams[1]


def test_number_prints_ignore_order_and_count_each() -> None:
    prints = number_prints(tokenise(Texts.of(["3 of 4", "4 or 3", "3 3 4", "none"])))
    assert prints[0] == prints[1] != prints[2]
    assert prints[3] == 0


def test_arrow_columns_are_read_in_place() -> None:
    column = pa.array(["zero", "one two", None, "drei é"])
    assert [Texts.of_arrow(column).text(i) for i in range(4)] == ["zero", "one two", "", "drei é"]
    part = Texts.of_arrow(column.slice(1, 3))
    assert [part.text(i) for i in range(3)] == ["one two", "", "drei é"]
    assert tokenise(part).bounds.tolist() == [0, 2, 2, 4]
