"""The embedded writer: what it makes of a trace, on prompts as they are packaged, and what it refuses."""

from __future__ import annotations

from random import Random

import pytest

from stillwise.arrows import Ask, Request
from stillwise.micro import solutions, writer
from stillwise.micro.families import boxed, generate
from stillwise.models.open import open_model
from stillwise.runtime.prompts import packaged

PROBLEMS = [problem for level in (1, 3, 5) for problem in generate("chain_sum", level, 6, seed=3)]


def trace(expression: str, checks: float, mistakes: float = 0.0) -> str:
    return solutions.plain(solutions.reasoner_answer(expression, Random(1), checks, mistakes, lines=False))


def prompt(name: str, text: str, **more: str) -> str:
    filled = packaged("stillwise.rewrite", f"{name}-1").filled
    return filled(problem="What?", trace=text, student="a student", **more)


@pytest.mark.parametrize("name", ["extend", "simplify"])
@pytest.mark.parametrize(("checks", "mistakes"), [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (1.0, 0.8)])
def test_a_right_trace_stays_right(name: str, checks: float, mistakes: float) -> None:
    for problem in PROBLEMS:
        written = writer.write(prompt(name, trace(problem.expression, checks, mistakes)))
        assert boxed(written) == problem.answer, written


def test_extending_checks_every_operation_and_simplifying_none() -> None:
    for problem in PROBLEMS:
        operations = len(solutions.operations(problem.expression))
        extended = writer.extended(trace(problem.expression, 0.0))
        assert extended.count("Yes.") == operations
        assert "Yes." not in writer.simplified(extended)
        assert len(writer.simplified(extended)) < len(extended)


def test_a_judged_trace_gets_shorter_and_longer_with_difficulty() -> None:
    lengths: dict[str, list[int]] = {}
    for problem in PROBLEMS:
        text = trace(problem.expression, 1.0)
        written = writer.write(prompt("by_difficulty", text))
        judged, _, body = written.partition("\n")
        assert boxed(body) == problem.answer
        assert len(body) < len(text)
        lengths.setdefault(judged, []).append(len(body))
    assert list(lengths) == ["Difficulty: easy", "Difficulty: medium", "Difficulty: hard"]
    easy, medium, hard = (sum(held) / len(held) for held in lengths.values())
    assert easy < medium < hard


def test_a_second_attempt_takes_the_place_of_the_first() -> None:
    text = (
        "<think>\n7 + 8: 7+8=14. So 14.\nWait, 7 + 8 -> 15. No.\nHmm, no. Again, 7 + 8: 7+8=15. So 15.\n</think>\n\n"
        "The answer is \\boxed{15}."
    )
    assert writer.simplified(text) == "7 + 8: 7+8=15. So 15.\nThe answer is \\boxed{15}."


def test_short_lines_are_written_out_when_extended_and_split_when_simplified() -> None:
    short = solutions.short_solution("83 - 11 + 5")
    assert writer.extended(short).splitlines()[0] == "83 - 11: 3-1=2, 8-1=7. So 72."
    assert writer.simplified(short).splitlines()[0] == "83 - 11 -> 73 -> 72"


@pytest.mark.parametrize(
    "text",
    [
        "<think>\n2 + 2: 2+2=5. So 5.\n</think>\n\nThe answer is \\boxed{5}.",
        "<think>\nSomething with 7 in it.\n</think>\n\nThe answer is \\boxed{7}.",
        "The answer is \\boxed{7}.",
    ],
)
def test_wrong_or_foreign_work_is_not_explained(text: str) -> None:
    assert boxed(writer.write(prompt("extend", text))) is None


def test_the_critique_says_what_the_rewriting_then_does() -> None:
    checked, bare = trace("12 + 34", 1.0), trace("12 + 34", 0.0)
    for text, longer in ((checked, False), (bare, True)):
        critique = writer.write(prompt("critique", text))
        again = writer.write(prompt("rethink", text, critique=critique))
        assert ("Yes." in again) is longer


def test_it_stands_behind_the_interface_of_a_model_and_counts_as_the_embedded_ones_do() -> None:
    model = open_model("micro:writer", threads=1)
    [answer] = model.generate([Request(ask=Ask(user=prompt("simplify", trace("12 + 34", 1.0))))])
    assert boxed(answer.text) == "46"
    text = "12 + 34 = 46"
    assert model.count_tokens(text) == open_model("micro:reasoner", threads=1).count_tokens(text) > len(text.split())


def test_other_prompts_are_answered_in_words() -> None:
    assert "I rewrite sums" in writer.write("What is 1 + 1?")
