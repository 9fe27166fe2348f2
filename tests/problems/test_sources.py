"""Problems from files, dataset folders and generators: where answers stand, what levels mean, what is refused and how."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stillwise.arrows import Source
from stillwise.errors import CorruptOutput, UserError
from stillwise.problems.columns import answer_of, level_of
from stillwise.problems.file import File
from stillwise.problems.gym import Gym, Micro
from stillwise.problems.hub import Hub
from stillwise.problems.resolve import resolve
from stillwise.problems.without import Without
from stillwise.records import AnswerKind, Failure, Outcome, Problem, Trace
from stillwise.verify.dispatch import ByAnswerKind


def problems(source: Source) -> list[Problem]:
    return [item for item in source.problems() if isinstance(item, Problem)]


def reasons(source: Source) -> dict[str, int]:
    return dict(Counter(item.reason for item in source.problems() if isinstance(item, Failure)))


def lines(path: Path, *rows: Any) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("value", "level"),
    [
        *[(value, 3) for value in ("Level 3", 3, 3.0, "3", "3.0")],
        *[(value, None) for value in (0.0, 0, "Level ?", 4.5, None, True, "", "hard", float("nan"))],
    ],
)
def test_levels(value: Any, level: int | None) -> None:
    assert level_of(value) == level


@pytest.mark.parametrize(
    ("value", "mode", "worked", "answer"),
    [
        (27.0, "auto", False, "27"),
        (0.5, "auto", False, "0.5"),
        (0, "auto", False, "0"),
        ("work <<1+1=2>>\n#### 1,234", "auto", False, "1234"),
        (r"so \boxed{1}, no, \boxed{\frac{1}{2}}.", "auto", True, r"\frac{1}{2}"),
        ("a solution without an end", "auto", True, None),
        (["$x=1$", "$2$"], "auto", False, "x=1, 2"),
        (["$2$"], "list", False, "2"),
        ("$\\frac12$", "auto", False, "\\frac12"),
        (r"\boxed{3}", "column", False, r"\boxed{3}"),
        ("no mark", "gsm8k", False, None),
        ("no box", "boxed", False, None),
        ("", "auto", False, None),
        (None, "auto", False, None),
        (float("nan"), "auto", False, None),
        ([], "auto", False, None),
    ],
)
def test_where_answers_stand(value: Any, mode: Any, worked: bool, answer: str | None) -> None:
    assert answer_of(value, mode, worked) == answer


def test_four_formats_give_equal_problems(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"problem": "1+1?", "answer": "2", "level": "Level 1"}, {"problem": "2é+2?", "answer": "x,y", "level": "Level 2"}]
    lines(tmp_path / "p.jsonl", *rows)
    (tmp_path / "p.json").write_text(json.dumps({"data": rows}))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    with (tmp_path / "p.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    found = [[(p.id, p.question, p.answer, p.level) for p in problems(resolve(str(f)))] for f in sorted(tmp_path.iterdir())]
    assert len(found) == 4
    assert found[0] == found[1] == found[2] == found[3]
    assert [row[1:] for row in found[0]] == [("1+1?", "2", 1), ("2é+2?", "x,y", 2)]


def test_usual_names_are_found_and_kinds_judged(tmp_path: Path) -> None:
    rows = [
        {"Body": "Tom has 3 apples", "Question": "How many?", "Answer": 3.0, "Type": "Sum"},
        {"Body": "Is it red?", "Question": "Say yes or no.", "Answer": "yes"},
        {"Body": "A pair.", "Question": "Which?", "Answer": ["1", "2"]},
    ]
    first, second, third = problems(File(path=lines(tmp_path / "p.jsonl", *rows)))
    assert (first.question, first.answer, first.subject) == ("Tom has 3 apples. How many?", "3", "Sum")
    assert [p.answer_kind for p in (first, second, third)] == [AnswerKind.NUMBER, AnswerKind.TEXT, AnswerKind.SET]


def test_a_choice_shows_its_options(tmp_path: Path) -> None:
    row = {"question": "Which?", "choices": {"text": ["one", "two"], "label": ["A", "B"]}, "answerKey": "B"}
    (found,) = problems(File(path=lines(tmp_path / "p.jsonl", row)))
    assert found.question == "Which?\n(A) one\n(B) two"
    assert (found.answer, found.answer_kind) == ("B", AnswerKind.CHOICE)


def test_mapped_columns_and_forced_answers(tmp_path: Path) -> None:
    path = lines(tmp_path / "p.jsonl", {"q": "1?", "why": r"\boxed{7}", "answer": "8", "rank": 4.0})
    columns = {"question": "q", "answer": "why", "answer_from": "boxed", "level": "rank", "answer_kind": "text"}
    (found,) = problems(File.model_validate({"path": path, "columns": columns, "origin": {"licence": "MIT", "language": "fr"}}))
    assert (found.question, found.answer, found.level, found.answer_kind) == ("1?", "7", 4, AnswerKind.TEXT)
    assert (found.licence, found.language) == ("MIT", "fr")


def test_rows_that_give_no_problem_are_counted(tmp_path: Path) -> None:
    good = {"question": "1?", "answer": "1"}
    path = tmp_path / "p.jsonl"
    lines(path, good, good, {"question": "2?", "answer": None}, {"question": "", "answer": "3"}, [1])
    path.write_text(path.read_text() + "\n{broken\n\n")
    source = File(path=str(path))
    assert len(problems(source)) == 1
    assert reasons(source) == {"duplicate": 1, "no_answer": 1, "no_question": 1, "not_an_object": 1, "not_json": 1}


def test_half_an_emoji_does_not_break_a_file(tmp_path: Path) -> None:
    from stillwise.runtime import tables

    path = tmp_path / "p.jsonl"
    path.write_text('{"question": "a \\ud83d b", "answer": "1"}')
    found = problems(File(path=str(path)))
    tables.write(tmp_path / "out.parquet", found, Problem)
    assert found[0].question == "a \ufffd b"


def test_what_a_user_can_get_wrong(tmp_path: Path) -> None:
    path = lines(tmp_path / "train.jsonl", {"frage": "1?", "antwort": "1"})
    for name, data in (("p.xlsx", b"PK"), ("p.parquet", b"PAR1 no"), ("bin.jsonl", b"\xff\xfe\x00")):
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=r"trian\.jsonl does not exist; did you mean 'train\.jsonl'"):
        problems(File(path=str(tmp_path / "trian.jsonl")))
    with pytest.raises(UserError, match=r"neither does its folder"):
        problems(File(path=str(tmp_path / "no" / "such.jsonl")))
    with pytest.raises(UserError, match=r"looks like the question.*\(columns: frage, antwort\)"):
        problems(File(path=path))
    with pytest.raises(UserError, match=r"no column 'frag'; did you mean 'frage'\?.*columns: frage, antwort"):
        problems(File.model_validate({"path": path, "columns": {"question": "frag", "answer": "antwort"}}))
    with pytest.raises(UserError, match=r"no usable problem \(it is empty\)"):
        problems(File(path=lines(tmp_path / "empty.jsonl")))
    with pytest.raises(UserError, match=r"no usable problem \(2 no_answer\)"):
        problems(File(path=lines(tmp_path / "open.jsonl", *[{"question": f"{i}?", "answer": ""} for i in range(2)])))
    with pytest.raises(UserError, match=r"no reader for \.xlsx"):
        problems(File(path=str(tmp_path / "p.xlsx")))
    with pytest.raises(CorruptOutput, match=r"p\.parquet is damaged"):
        problems(File(path=str(tmp_path / "p.parquet")))
    with pytest.raises(UserError, match=r"bin\.jsonl is not UTF-8"):
        problems(File(path=str(tmp_path / "bin.jsonl")))


def solve(problem: Problem, answer: str) -> Outcome:
    trace = Trace(id="t", problem_id=problem.id, role="r", model="m", paradigm="p", prompt="", text=f"\\boxed{{{answer}}}")
    return ByAnswerKind().verify(problem, trace).outcome


@pytest.mark.parametrize("family", ["chain_sum", "basic_arithmetic"])
def test_micro_problems_verify_and_never_cross_the_split(family: Any) -> None:
    train = problems(Micro(family=family, per_level=20))
    held = problems(Micro(family=family, per_level=20, split="heldout"))
    assert Counter(p.level for p in train) == dict.fromkeys((1, 2, 3, 4, 5), 20)
    assert not {p.id for p in train} & {p.id for p in held}
    assert train == problems(Micro(family=family, per_level=20))
    assert train != problems(Micro(family=family, per_level=20, seed=1))
    for problem in train[::10]:
        assert solve(problem, problem.answer or "") is Outcome.CORRECT
        assert solve(problem, f"1{problem.answer}") is Outcome.INCORRECT


@pytest.mark.parametrize("dataset", ["chain_sum", "countdown", "knights_knaves", "simple_equations", "spiral_matrix", "gcd"])
def test_any_gym_dataset_carries_its_scorer(dataset: str) -> None:
    found = problems(Gym(dataset=dataset, size=3, seed=7, level=2))
    assert found
    for problem in found:
        assert problem.answer_kind is AnswerKind.GYM
        assert problem.level == 2
        assert solve(problem, problem.answer or "") is Outcome.CORRECT
        assert solve(problem, "zzz") is not Outcome.CORRECT


def test_gym_settings_reach_the_generator_and_faults_are_named() -> None:
    source = Gym.model_validate({"dataset": "chain_sum", "size": 5, "config": {"min_terms": 6, "max_terms": 6}})
    assert all(p.question.count(" + ") + p.question.count(" - ") == 5 for p in problems(source))
    assert source != Gym(dataset="chain_sum", size=5)
    with pytest.raises(UserError, match="did you mean 'chain_sum'"):
        problems(Gym(dataset="chain_sums"))
    with pytest.raises(UserError, match="refuses these settings"):
        problems(Gym.model_validate({"dataset": "chain_sum", "config": {"terms": 6}}))
    with pytest.raises(ValidationError, match="levels are 1 to 5"):
        Micro(levels=(6,))
    with pytest.raises(UserError, match="fewer than"):
        problems(Micro(per_level=30_000, levels=(1,)))


@pytest.mark.parametrize("form", ["jsonl", "parquet", "saved"])
def test_a_local_copy_of_a_dataset(form: str, tmp_path: Path) -> None:
    from datasets import Dataset

    rows = [{"problem": f"{i}+1?", "solution": f"\\boxed{{{i + 1}}}", "level": "Level 2"} for i in range(3)]
    data, folder = Dataset.from_list(rows), tmp_path / "copy"
    folder.mkdir()
    if form == "jsonl":
        lines(folder / "train.jsonl", *rows)
    elif form == "parquet":
        data.to_parquet(str(folder / "train-00000-of-00001.parquet"))
    else:
        data.save_to_disk(str(folder))
    assert [(p.question, p.answer, p.level) for p in problems(resolve(str(folder)))] == [
        (f"{i}+1?", str(i + 1), 2) for i in range(3)
    ]


def test_a_dataset_that_cannot_be_read(tmp_path: Path) -> None:
    lines(tmp_path / "train.jsonl", {"problem": "1?", "answer": "1"})
    with pytest.raises(UserError, match=r"split 'tset', cannot be read"):
        problems(Hub(id=str(tmp_path), split="tset"))
    code = (
        "from stillwise.problems.hub import Hub\ntry: list(Hub(id='nobody/nothing', revision='abc').problems())\n"
        "except Exception as e: print(type(e).__name__, e)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=300)
    assert "UserError the dataset nobody/nothing at revision abc, split 'train', cannot be read" in done.stdout
    assert "local copy" in done.stdout


@pytest.mark.parametrize(
    ("spec", "source"),
    [
        ("gym:gcd", Gym(dataset="gcd")),
        ("micro:chain_sum", Micro()),
        ("micro:basic_arithmetic:heldout", Micro(family="basic_arithmetic", split="heldout")),
        ("hub:a/b", Hub(id="a/b")),
        ("hub:a/b@main:test", Hub.model_validate({"id": "a/b", "revision": "main", "split": "test"})),
        ("hub:a/b:test", Hub(id="a/b", split="test")),
        ("data/p.jsonl", File(path="data/p.jsonl")),
    ],
)
def test_resolve(spec: str, source: Source) -> None:
    assert resolve(spec) == source


@pytest.mark.parametrize("spec", ["gym:", "hub:", "micro:", "micro:sums"])
def test_resolve_refuses(spec: str) -> None:
    with pytest.raises(UserError, match="it takes PATH"):
        resolve(spec)


def test_without_leaves_out_what_others_ask(tmp_path: Path) -> None:
    rows = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(4)]
    own = File(path=lines(tmp_path / "own.jsonl", *rows, {"question": "no answer"}))
    # Other white space and another form of the answer do not make another question.
    other = File(
        path=lines(
            tmp_path / "other.jsonl", {"question": "What is  2 + 1? ", "answer": "3.0"}, {"question": "Else?", "answer": "1"}
        )
    )
    left = Without(of=own, seen=(other,))
    assert [one.question for one in problems(left)] == ["What is 0 + 1?", "What is 1 + 1?", "What is 3 + 1?"]
    assert reasons(left) == {**reasons(own), "held_elsewhere": 1}
    with pytest.raises(UserError, match="all 4 problems"):
        problems(Without(of=own, seen=(other, own)))
