"""Leaks: planted copies of benchmark questions are found, what only resembles them stays, and the evidence is exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from stillwise.problems.buffers import Texts
from stillwise.problems.decontaminate import Decontaminate, DecontaminateTraces, Leaks
from stillwise.problems.file import File
from stillwise.problems.gym import Micro
from stillwise.problems.leaks import Index, Match
from stillwise.problems.perturb import PERTURBATIONS
from stillwise.problems.words import tokenise
from stillwise.records import Problem, Trace, thinking_spans

DATA = Path(__file__).parents[3] / "shared" / "data"
CROWD = "A bakery sells 12 loaves every hour and opens for 9 hours on a market day. How many loaves is that?"
SHORT = "Simplify $\\sqrt{50}$."
OTHERS = tuple(f"Question {i}: a box number {i} holds {i * 3} red balls and {i * 5} blue ones. Count them." for i in range(30))


def problems(*questions: str) -> list[Problem]:
    return [Problem.of(question, "1") for question in questions]


BENCH = {"crowd": problems(CROWD, SHORT), "balls": problems(*OTHERS)}


def found(*questions: str, part: Decontaminate | None = None) -> list[bool]:
    held = problems(*questions)
    gone = {failure.item for failure in (part or Decontaminate()).curate(held, BENCH, 0).dropped}
    return [problem.id in gone for problem in held]


@pytest.mark.parametrize("name", ["verbatim", "wrapper", "delimiters", "renamed", "paraphrase"])
def test_changed_copies_are_found(name: str) -> None:
    assert found(*(PERTURBATIONS[name](CROWD, Random(i)) for i in range(5))) == [True] * 5


def test_other_numbers_count_only_as_siblings() -> None:
    other = CROWD.replace("12", "15")
    assert found(other, CROWD.replace("hours on", "hours and 30 minutes on")) == [False, False]
    assert found(other, part=Decontaminate(leaks=Leaks(siblings=True))) == [True]


def test_short_questions_are_looked_for_whole() -> None:
    assert found(SHORT, f"Please answer briefly. {SHORT}", "Simplify $\\sqrt{51}$.", "Simplify $\\sqrt{50}+1$.") == [
        True, True, False, False,
    ]  # fmt: skip
    assert found(f"{'Many other words stand here. ' * 12}{SHORT}") == [False]


def test_a_shared_template_is_no_leak() -> None:
    assert found("Question 77: a box number 77 holds 5 red balls and 6 blue ones. Count them.", OTHERS[3]) == [False, True]


def test_a_longer_sum_is_another_question() -> None:
    bench = {"micro": [p for p in Micro(split="heldout", per_level=20).problems() if isinstance(p, Problem)]}
    one = next(p for p in bench["micro"] if p.level == 1)
    longer = Problem.of(one.question.replace(" =", " + 4 ="), "1")
    curated = Decontaminate().curate([longer, one], bench, 0)
    assert [failure.item for failure in curated.dropped] == [one.id]


def test_evidence_is_the_place_in_the_text() -> None:
    text = f"Übung «eins»: näher betrachtet. {CROWD.replace('loaves', 'Loaves')} Danke, Müller."
    index, texts = Index(BENCH, Match()), Texts.of(["nothing here", text])
    (leak,) = index.leaks(texts, tokenise(texts))
    assert (leak.text, leak.benchmark, leak.question) == (1, "crowd", BENCH["crowd"][0].id)
    assert text[leak.start : leak.end] == leak.excerpt == CROWD.replace("loaves", "Loaves").rstrip("?")
    assert leak.coverage == pytest.approx(1.0)


def test_counts_by_benchmark_and_allowed_ones() -> None:
    part = Decontaminate()
    curated = part.curate(problems(CROWD, f"Well: {CROWD}", OTHERS[0], "free"), BENCH, 0)
    assert {failure.reason for failure in curated.dropped} == {"leak:crowd", "leak:balls"}
    assert curated.figures["by_benchmark"]["crowd"] == {"questions": 2, "questions_found": 1, "items": 2}
    assert found(CROWD, part=Decontaminate(allow=(BENCH["crowd"][0].id,))) == [False]
    assert found(CROWD, part=Decontaminate(allow=(CROWD,))) == [False]


def test_traces_that_restate_a_question_go() -> None:
    own = Problem.of("Another question.", "1")
    texts = (f"<think>This is like: {CROWD} So 108.</think>108", "<think>12 loaves, 9 hours.</think>108", f"so {SHORT}")
    traces = [
        Trace(
            id=str(i),
            problem_id=own.id,
            role="r",
            model="m",
            paradigm="think",
            prompt="",
            text=text,
            spans=thinking_spans(text),
        )
        for i, text in enumerate(texts)
    ]
    curated = DecontaminateTraces().filter({own.id: own}, traces, BENCH)
    assert [failure.item for failure in curated.dropped] == ["0"]
    assert CROWD.rstrip("?") in curated.dropped[0].detail


def test_no_benchmark_finds_nothing() -> None:
    assert Decontaminate().curate(problems(CROWD), {}, 0).dropped == []


FLOORS = {"renamed": 0.85, "numbers": 0.0, "paraphrase": 0.9}
"""Least share found; 0.99 of what only sets a question in another way."""


@pytest.mark.realdata
@pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real data is not here")
@pytest.mark.parametrize("name", PERTURBATIONS)
@pytest.mark.parametrize("file", ["math500", "gsm8k_test"])
def test_recall_on_planted_leaks(file: str, name: str, record_property: Callable[[str, object], None]) -> None:
    held = [p for p in File(path=str(DATA / f"{file}.jsonl")).problems() if isinstance(p, Problem)][:500]
    made = [(PERTURBATIONS[name](p.question, Random(i)), p) for i, p in enumerate(held)]
    planted = [Problem.of(question, p.answer) for question, p in made if name == "verbatim" or question != p.question]
    if not planted:
        pytest.skip(f"{name} changes no question of {file}")
    gone = {failure.item for failure in Decontaminate().curate(planted, {file: held}, 0).dropped}
    recall = sum(p.id in gone for p in planted) / len(planted)
    record_property("recall", recall)
    assert recall >= FLOORS.get(name, 0.99)


@pytest.mark.realdata
@pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real data is not here")
def test_other_people_s_problems_are_no_leaks() -> None:
    bench = {
        name: [p for p in File(path=str(DATA / f"{name}.jsonl")).problems() if isinstance(p, Problem)] for name in ("math500",)
    }
    other = [p for p in File(path=str(DATA / "gsm8k_train.jsonl")).problems() if isinstance(p, Problem)]
    assert len(Decontaminate().curate(other, bench, 0).dropped) <= 1
