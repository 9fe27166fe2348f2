"""Each benchmark that has a local copy loads by its name: counts, references, levels, tolerances, tests."""

from __future__ import annotations

import ast
import json
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillwise.evaluate.descriptions import source_of
from stillwise.recipe.measure import measure, on_benchmarks
from stillwise.records import AnswerKind, Failure, Problem

pytestmark = pytest.mark.realdata
Real = Callable[[str], Path]
FILES = {
    "math500": "math500.jsonl",
    "olympiad": "olympiadbench_oe_to_maths_en_675.jsonl",
    "gsm8k": "gsm8k_test.jsonl",
    "humaneval": "humaneval_164.jsonl",
    "mbpp": "mbpp_974.jsonl",
    "knights_knaves": "knights_knaves_3_5ppl_test.jsonl",
}


def loaded(name: str, real: Real) -> tuple[list[Problem], Counter[str]]:
    found = list(source_of(name, real(FILES[name]).parent).problems())
    return [p for p in found if isinstance(p, Problem)], Counter(f.reason for f in found if isinstance(f, Failure))


@pytest.mark.parametrize(
    ("name", "usable", "failed", "levels"),
    [
        ("math500", 500, {}, {1: 43, 2: 90, 3: 105, 4: 128, 5: 134}),
        ("olympiad", 675, {}, {None: 675}),
        ("gsm8k", 1319, {}, {None: 1319}),
        ("humaneval", 164, {}, {None: 164}),
        ("mbpp", 500, {"other_split": 474}, {None: 500}),
        ("knights_knaves", 200, {}, {3: 100, 5: 100}),
    ],
)
def test_counts_and_levels(name: str, usable: int, failed: dict[str, int], levels: dict[Any, int], real: Real) -> None:
    problems, reasons = loaded(name, real)
    assert (len(problems), dict(reasons)) == (usable, failed)
    assert Counter(problem.level for problem in problems) == levels


def test_references_of_mathematics(real: Real) -> None:
    math500, _ = loaded("math500", real)
    assert math500[0].answer == r"\left( 3, \frac{\pi}{2} \right)"
    gsm8k, _ = loaded("gsm8k", real)
    assert gsm8k[0].answer == "18"
    assert all(p.answer_kind is AnswerKind.NUMBER and "," not in (p.answer or "") for p in gsm8k)
    olympiad, _ = loaded("olympiad", real)
    stated = [(p.answer, json.loads(p.scorer)) for p in olympiad if p.scorer]
    assert stated == [("4.2", {"policy": {"absolute_tolerance": 0.1}})]
    assert Counter(p.answer_kind for p in olympiad)[AnswerKind.SET] == 94
    assert "69,84" in {p.answer for p in olympiad}


def test_references_of_programs_and_roles(real: Real) -> None:
    humaneval, _ = loaded("humaneval", real)
    for one in humaneval:
        assert parses(one.answer or "")
        code = json.loads(one.scorer or "")["code"]
        assert f"check({code['entry']})" in code["tests"][0]
    mbpp, _ = loaded("mbpp", real)
    assert all(len(json.loads(one.scorer or "")["code"]["tests"]) >= 1 for one in mbpp)
    assert all(parses(one.answer or "") for one in mbpp)
    knights, _ = loaded("knights_knaves", real)
    assert knights[0].answer == "Amelia is a knight, Penelope is a knight, Evelyn is a knave"
    assert all(len(json.loads(one.scorer or "")["roles"]) == one.level for one in knights)


def parses(source: str) -> bool:
    with warnings.catch_warnings():
        # Published programs hold strings with unknown escapes, of which Python warns.
        warnings.simplefilter("ignore")
        return bool(ast.parse(source).body)


@pytest.mark.parametrize("name", FILES)
def test_from_a_local_copy_to_measured_figures(name: str, real: Real, tmp_path: Path) -> None:
    """Twelve problems end to end: a model that gives the references is right each time."""
    data = tmp_path / "data"
    data.mkdir()
    lines = real(FILES[name]).read_text(encoding="utf-8").splitlines()[12 :: 40 if name == "math500" else 12][:12]
    (data / FILES[name]).write_text("\n".join(lines) + "\n")
    problems = [p for p in source_of(name, data).problems() if isinstance(p, Problem)]
    script = tmp_path / "gold.jsonl"
    answers = [{"question": p.question, "answer": said(p)} for p in problems]
    script.write_text("".join(json.dumps(row) + "\n" for row in answers))
    request = on_benchmarks(f"scripted:{script}", [name], "curriculum", data, {"samples": 1})
    held = measure(request, tmp_path / "out", threads=1, progress="quiet").metrics["evaluation"]["measured"]["benchmarks"][name]
    assert (held["problems"], held["pass_at_1"]["value"]) == (12, 1.0)
    assert set(held["rules"]) == ({"python_block"} if name in ("humaneval", "mbpp") else {"boxed"})


def said(problem: Problem) -> str:
    if problem.answer_kind is AnswerKind.CODE_TESTS:
        return f"```python\n{problem.answer}\n```"
    return f"So it is \\boxed{{{problem.answer}}}."
