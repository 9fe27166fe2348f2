"""Rows of benchmarks that have no file here, in the columns that they are published with; policies and integers."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from stillwise.errors import UserError
from stillwise.problems.columns import Columns, tolerance, whole_number
from stillwise.problems.file import File
from stillwise.problems.layouts import MBPP_TEST, pickled_text
from stillwise.records import AnswerKind, Failure, Problem


def read(path: Path, rows: list[dict[str, Any]], **columns: Any) -> list[Problem | Failure]:
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(File(path=str(file), columns=Columns.model_validate(columns)).problems())


def problem(found: Problem | Failure) -> Problem:
    assert isinstance(found, Problem), found
    return found


GPQA = {
    "Question": "Which is the lightest?",
    "Correct Answer": "hydrogen",
    "Incorrect Answer 1": "helium\n",
    "Incorrect Answer 2": "lithium",
    "Incorrect Answer 3": "iron",
    "High-level domain": "Chemistry",
}


def test_options_of_gpqa_stand_in_an_order_that_the_question_decides(tmp_path: Path) -> None:
    found = [problem(one) for one in read(tmp_path, [{**GPQA, "Question": f"{i}. Which?"} for i in range(60)], layout="gpqa")]
    for one in found:
        options = dict(line[1:].split(") ", 1) for line in one.question.splitlines()[1:])
        assert options[one.answer or ""] == "hydrogen"
        assert json.loads(one.scorer or "")["options"] == options
        assert one.answer_kind is AnswerKind.CHOICE
    assert {one.answer for one in found} == set("ABCD")
    assert found == read(tmp_path, [{**GPQA, "Question": f"{i}. Which?"} for i in range(60)], layout="gpqa")


def test_a_row_of_another_layout_names_its_columns(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not laid out as gpqa: no column Correct Answer"):
        read(tmp_path, [{"Question": "?", "answer": "x"}], layout="gpqa")
    found = read(tmp_path, [GPQA, {**GPQA, "Incorrect Answer 2": ""}], layout="gpqa")
    assert isinstance(found[1], Failure)
    assert found[1].reason == "no_answer"


def livecode(**rest: Any) -> dict[str, Any]:
    cases = json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}])
    return {"question_content": "Add.", "public_test_cases": cases, "difficulty": "medium", "metadata": "{}", **rest}


def test_private_tests_of_livecodebench_are_read_without_unpickling(tmp_path: Path) -> None:
    private = json.dumps([{"input": "5 7\n", "output": "12\n", "testtype": "stdin"}])
    packed = base64.b64encode(zlib.compress(pickle.dumps(private))).decode()
    found = problem(read(tmp_path, [livecode(private_test_cases=packed)], layout="livecodebench")[0])
    code = json.loads(found.scorer or "")["code"]
    assert code["style"] == "stdin"
    assert [case["output"] for case in code["tests"]] == ["3\n", "12\n"]
    assert found.level == 2
    assert "standard input" in found.question


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (print, ("it ran",))

    with pytest.raises(ValueError, match="one text was expected"):
        pickled_text(pickle.dumps(Bomb()))
    packed = base64.b64encode(zlib.compress(pickle.dumps(Bomb()))).decode()
    rows = [livecode(private_test_cases=packed), livecode(private_test_cases="!"), livecode()]
    found = read(tmp_path, rows, layout="livecodebench")
    assert [one.reason for one in found if isinstance(one, Failure)] == ["not_this_layout"] * 2


def test_functions_of_livecodebench_are_called_by_name(tmp_path: Path) -> None:
    tests = json.dumps([{"input": "[1]\n2", "output": "3", "testtype": "functional"}])
    row = livecode(public_test_cases=tests, starter_code="class Solution:", metadata='{"func_name": "add"}', difficulty="hard")
    found = problem(read(tmp_path, [row], layout="livecodebench")[0])
    code = json.loads(found.scorer or "")["code"]
    assert (code["style"], code["entry"], found.level) == ("call", "add", 3)
    assert "class Solution:" in found.question


def test_only_the_test_split_of_mbpp_counts(tmp_path: Path) -> None:
    rows = [{"task_id": i, "text": f"task {i}", "code": "x = 1\r\n", "test_list": [f"assert {i}"]} for i in (10, 11, 510, 511)]
    found = read(tmp_path, rows, layout="mbpp")
    assert [isinstance(one, Problem) for one in found] == [False, True, True, False]
    assert {one.reason for one in found if isinstance(one, Failure)} == {"other_split"}
    assert problem(found[1]).answer == "x = 1\n"
    assert len(MBPP_TEST) == 500


@pytest.mark.parametrize(
    ("written", "read_as"),
    [("033", "33"), ("33.0", "33"), ("-07", "-7"), ("+5", "5"), ("1,000", "1000"), ("0", "0"), ("000", "0")],
)
def test_whole_numbers_lose_what_is_only_notation(written: str, read_as: str) -> None:
    assert whole_number(written) == read_as


@pytest.mark.parametrize("written", ["3.5", "x", "", "3/4", "3 4"])
def test_what_is_no_whole_number(written: str) -> None:
    assert whole_number(written) is None


def test_integers_by_policy_are_checked_and_written_into_the_problem(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"problem": "a?", "answer": "025"},
        {"problem": "b?", "answer": 27.0},
        {"problem": "c?", "answer": "x+1"},
    ]
    found = read(tmp_path, rows, answer_kind="number", policy={"kind": "integer"})
    assert [one.answer if isinstance(one, Problem) else one.reason for one in found] == ["25", "27", "not_an_integer"]
    assert problem(found[0]).scorer == '{"policy": {"kind": "integer"}}'


def test_a_stated_error_becomes_the_tolerance_of_its_row_only(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "a?", "final_answer": ["4.2"], "error": "1e-1", "is_multiple_answer": False},
        {"question": "b?", "final_answer": ["$69$,$84$"], "error": None, "is_multiple_answer": True},
    ]
    first, second = (problem(one) for one in read(tmp_path, rows, error="error", answer_from="list"))
    assert json.loads(first.scorer or "") == {"policy": {"absolute_tolerance": 0.1}}
    assert second.scorer is None
    assert (second.answer, second.answer_kind) == ("69,84", AnswerKind.SET)
    assert [tolerance(v) for v in ("1e-2", 0.5, None, "", "x", 0, "nan")] == [0.01, 0.5, None, None, None, None, None]
