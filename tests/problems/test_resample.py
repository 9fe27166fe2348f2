"""The mix that was asked is the mix that comes, as far as there are problems; and domains are what they seem."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from stillwise.errors import UserError
from stillwise.problems.domains import classified, domain_of, stated
from stillwise.problems.file import File
from stillwise.problems.resample import Cell, Resample, Share, allocate
from stillwise.records import AnswerKind, Problem

DATA = Path(__file__).parents[3] / "shared" / "data"


def pool(**counts: int) -> list[Problem]:
    """Problems named ``maths_3=10``: domain, level, how many."""
    made = []
    for name, count in counts.items():
        domain, _, level = name.partition("_")
        made += [Problem.of(f"{name} {i}", "1", level=int(level) if level else None, subject=domain) for i in range(count)]
    return made


def came(part: Resample, problems: list[Problem], seed: int = 0) -> Counter[Cell]:
    curated = part.curate(problems, {}, seed)
    gone = {failure.item for failure in curated.dropped}
    kept: Counter[Cell] = Counter((domain_of(p), p.level) for p in problems if p.id not in gone)
    assert {(row["domain"], row["level"]): row["came"] for row in curated.figures["cells"] if row["came"]} == dict(kept)
    return kept


def test_the_wanted_mix_comes() -> None:
    part = Resample(mix=(Share(domain="maths", share=2), Share(domain="code", share=1)), total=30)
    assert came(part, pool(maths=100, code=50, science=50)) == {("maths", None): 20, ("code", None): 10}


def test_without_a_total_the_mix_is_exact() -> None:
    part = Resample(mix=(Share(domain="maths", share=1), Share(domain="code", share=1)))
    assert came(part, pool(maths=100, code=7)) == {("maths", None): 7, ("code", None): 7}


def test_what_one_cell_lacks_the_others_give() -> None:
    part = Resample(mix=(Share(domain="maths", share=1), Share(domain="code", share=1)), total=40)
    assert came(part, pool(maths=100, code=7)) == {("maths", None): 33, ("code", None): 7}


def test_a_later_share_overrides_for_its_cells() -> None:
    part = Resample(mix=(Share(share=1), Share(domain="maths", level=5, share=1)), total=20)
    kept = came(part, pool(maths_1=30, maths_5=30, code_1=30))
    assert kept[("maths", 5)] == 10
    assert kept[("maths", 1)] + kept[("code", 1)] == 10


@pytest.mark.parametrize(("temperature", "least"), [(1.0, 10), (2.0, 24), (1e6, 49)])
def test_temperature_flattens(temperature: float, least: int) -> None:
    kept = came(Resample(temperature=temperature, total=100), pool(maths=900, code=100))
    assert least <= kept[("code", None)] <= least + 2


def test_floor_and_cap_bound_each_cell() -> None:
    kept = came(Resample(total=60, floor=10, cap=40), pool(maths=900, code=20, other=5))
    assert kept == {("maths", None): 40, ("code", None): 15, ("other", None): 5}
    with pytest.raises(ValidationError, match="cap 2 is below floor 3"):
        Resample(cap=2, floor=3)


def test_drawing_depends_on_seed_and_not_on_order() -> None:
    problems, part = pool(maths=50), Resample(total=10)
    kept = [
        {f.item for f in part.curate(held, {}, seed).dropped}
        for held, seed in ((problems, 1), (problems[::-1], 1), (problems, 2))
    ]
    assert kept[0] == kept[1] != kept[2]


def test_a_mix_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="no problem is of a wanted cell; there are maths"):
        Resample(mix=(Share(domain="code", share=1),)).curate(pool(maths=3), {}, 0)


def test_allocation_adds_up_and_breaks_ties_by_name() -> None:
    cells: dict[Cell, int] = {("a", 1): 50, ("b", 1): 50, ("c", 1): 50}
    assert allocate(cells, dict.fromkeys(cells, 1 / 3), 100) == {("a", 1): 34, ("b", 1): 33, ("c", 1): 33}
    assert sum(allocate(cells, dict.fromkeys(cells, 1 / 3), 1000).values()) == 150


def test_domains_by_what_is_said() -> None:
    assert [stated(text) for text in ("open_codereasoning/apps", "Number Theory", "college-physics", "novel")] == [
        "code", "maths", "science", None,
    ]  # fmt: skip
    assert domain_of(Problem.of("x", "1", answer_kind=AnswerKind.CODE_TESTS, subject="algebra")) == "code"
    assert domain_of(Problem.of("Write a function that sorts.", "1", source="math")) == "maths"


@pytest.mark.parametrize(
    ("question", "domain"),
    [
        ("Find the value of $x$ such that $2x = 6$.", "maths"),
        ("Write a Python function that returns the longest substring.", "code"),
        ("Which particles in an atom have a negative charge: protons or electrons?", "science"),
        ("Who wrote the letter that the king never read?", "other"),
    ],
)
def test_domains_by_words(question: str, domain: str) -> None:
    assert classified(question) == domain


@pytest.mark.realdata
@pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real data is not here")
@pytest.mark.parametrize(
    ("file", "domain", "least"),
    [
        ("math500", "maths", 0.93),
        ("gsm8k_test", "maths", 0.9),
        ("arc_challenge_test", "science", 0.6),
        ("mbpp_974", "code", 0.98),
    ],
)
def test_domains_of_real_problems_by_their_words_alone(file: str, domain: str, least: float) -> None:
    columns = {"question": "text", "answer": "code", "answer_from": "column"} if file == "mbpp_974" else {}
    part = File.model_validate({"path": str(DATA / f"{file}.jsonl"), "columns": columns})
    held = [p for p in part.problems() if isinstance(p, Problem)]
    assert sum(classified(p.question) == domain for p in held) / len(held) >= least
