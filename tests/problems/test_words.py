"""Tokens of whole buffers: what is one, what is none, and that runs of them are equal only where texts are."""

from __future__ import annotations

from itertools import pairwise

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
        (r"$20{,}000$ or 4,\!989,\!600 or $1\,500$", "20000 or 4,989,600 or 1500"),
        ("It costs $1,234.50.", "it costs 1234.50"),
        (r"\frac12 x", r"\dfrac{1}{2}x"),
        (r"\frac1{10}", r"\frac{1}{10}"),
        (r"\tfrac{a}{\pi} of 3\frac12", "a/π of 3 1/2".replace("π", r"\pi")),
        (r"\binom52", r"\binom{5}{2}"),
        ("x² + y³ + z¹²", "x^2 + y^3 + z^{12}"),
        ("Twenty-five of ninety three, two", "25 of 93, 2"),
        ("a three-digit number", "a 3-digit number"),
        (r"\lvert x \rvert", "|x|"),
        (r"a \cdot b", "a × b"),
        ("$n! + 5!$", r"\( n! + 5! \)"),
        ("Problem 7: What is 2?", "What is 2?"),
        ("17. What is 2?", "17) What is 2?"),
        ("Question 3 of 50\nWhat is 2?", "What is 2? (10 points)"),
        ("**Exercise 4.** What is 2 (m)?", "[5 pts] What is 2 (m)?"),
        ("Problem 2.3 (1 point): What is 2?", "what is 2"),
    ],
)
def test_settings_of_one_text_are_equal(a: str, b: str) -> None:
    assert same(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Compute $5! + 3$.", "Compute $5 + 3$."),
        ("$n!$ even", "$n$ even"),
        ("$3!!$", "$3!$"),
        ("if x != 3", "if x = 3"),
        ("$|x| = 3$", r"$\{x\} = 3$"),
        ("1.5 + 2", "1, 5 + 2"),
        ("1.5 + 2", "15 + 2"),
        ("in (1,2,100)", "in (12100)"),
        ("0,123", "0123"),
        ("from 1.5,200", "from 1.5200"),
        ("at 1,234", "at 1, 234"),
        (r"\frac{x+1}{2}", r"\frac{x}{1+2}"),
        (r"\frac{1}{\frac{2}{3}}", r"\frac{\frac{1}{2}}{3}"),
        ("3-x", "3x"),
        ("Add 7 and 2.", "Add 2."),
        ("17.", "18."),
        ("Problem 7:", "Problem 8:"),
        ("x is worth 10 points", "x is worth"),
    ],
)
def test_what_says_something_else_stays_apart(a: str, b: str) -> None:
    assert not same(a, b)


@pytest.mark.parametrize("text", ["She has 5! How many is that?", "Wow! $5 is a lot.", "It says [7]!!", "Great (really)!"])
def test_an_exclamation_is_no_factorial(text: str) -> None:
    assert same(text, text.replace("!", "."))


def test_tokens_do_not_depend_on_their_neighbours() -> None:
    texts = ["It is 5.", "5 of", r"is \frac", "12", "twenty ", "one", "1,", "234", "5!", "= 3", "is 1", ".5", "3-", "digit"]
    texts += ["**", "7. a", "n", "! + 2", "$5!", "$", "Problem 1", " of 20"]
    together = tokenise(Texts.of(texts))
    alone = [tokenise(Texts.of([text])).hashes.tolist() for text in texts]
    bounds = together.bounds.tolist()
    assert [together.hashes[low:high].tolist() for low, high in pairwise(bounds)] == alone


def test_words_for_numbers_count_as_numbers_of_a_text() -> None:
    prints = number_prints(tokenise(Texts.of(["two of 30", "2 of thirty", "three of 30"])))
    assert prints[0] == prints[1] != prints[2]


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
