"""The study's table: seeds pooled problem by problem, differences paired, both spreads labelled."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stillwise.evaluate import sections
from stillwise.evaluate.metrics import Measured, dumps
from stillwise.evaluate.study import study_markdown, study_section
from stillwise.records import Outcome


def section(corrects: dict[str, int], samples: int = 4, benchmarks: tuple[str, ...] = ("sums", "more")) -> Any:
    def rows(name: str) -> list[Measured]:
        return [
            Measured(
                benchmark=name,
                problem_id=problem,
                level=1 if problem < "c" else 2,
                sample_index=i,
                outcome=Outcome.CORRECT if i < correct else Outcome.INCORRECT,
                num_tokens=10,
            )
            for problem, correct in corrects.items()
            for i in range(samples)
        ]

    return sections.evaluation_section("student", "", {name: rows(name) for name in benchmarks})


FIRST, SECOND = section({"a": 4, "b": 2, "c": 0, "d": 2}), section({"a": 4, "b": 4, "c": 2, "d": 2})
LOW = section({"a": 2, "b": 1, "c": 0, "d": 0})


def test_seeds_are_pooled_problem_by_problem() -> None:
    found = study_section({"Curriculum": [FIRST, SECOND]}, "Curriculum")["Curriculum"]
    shares = [1.0, 0.75, 0.25, 0.5]
    assert found["pass_at_1"]["sums"]["value"] == pytest.approx(sum(shares) / 4)
    mean = sum(shares) / 4
    expected = (sum((s - mean) ** 2 for s in shares) / 3 / 4) ** 0.5
    assert found["pass_at_1"]["sums"]["se"] == pytest.approx(expected)
    assert found["average"]["value"] == pytest.approx(mean)
    assert found["std_over_seeds"] == pytest.approx(abs(0.5 - 0.75) / 2**0.5)
    assert found["by_level"]["sums"]["2"]["value"] == pytest.approx(0.375)
    assert found["difference"] == {}


def test_differences_are_against_the_reference_on_the_same_problems() -> None:
    found = study_section({"Curriculum": [FIRST, SECOND], "Low": [LOW, LOW]}, "Curriculum")["Low"]["difference"]
    assert list(found) == ["sums", "more", "average"]
    assert found["sums"]["value"] == pytest.approx((0.5 + 0.25 + 0 + 0) / 4 - 0.625)
    assert found["sums"]["n"] == 4
    assert found["average"]["value"] == pytest.approx(found["sums"]["value"])


def test_the_page_has_every_student_and_says_what_the_errors_are() -> None:
    rows = {"Undistilled": [LOW], "Curriculum": [FIRST, SECOND]}
    text = study_markdown(rows, reference="Curriculum", title="Students", command="stillwise study table1")
    assert text.startswith("# Students\n\nMade by `stillwise study table1`.")
    assert "| **Curriculum** | 62.50 ± 16.14 |" in text
    assert "| Undistilled |" in text
    assert "standard error over problems" in text
    assert "s.d. over seeds" in text
    assert "## sums by level" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.count("|") == tables[0].count("|") for line in tables[:4])


def test_it_reads_sections_back_from_json() -> None:
    rows = {"Undistilled": [LOW], "Curriculum": [FIRST, SECOND]}
    words = {"reference": "Curriculum", "title": "t", "command": "c"}
    read = json.loads(dumps(rows))
    assert study_markdown({name: read[name] for name in rows}, **words) == study_markdown(rows, **words)


def test_a_student_without_runs_or_without_a_benchmark_is_no_crash() -> None:
    rows = {"Curriculum": [FIRST], "Other": [section({"a": 1}, benchmarks=("sums",))], "Never": []}
    text = study_markdown(rows, reference="Curriculum", title="t", command="c")
    assert "Never" not in text
    assert "| Other | 25.00 | – |" in text
    alone = study_markdown({"Other": [LOW]}, reference="Curriculum", title="t", command="c")
    assert "No student was measured on the same problems as Curriculum." in alone
