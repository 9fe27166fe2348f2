"""Rows of benchmarks whose columns make a question only together: choices, roles, programs with their tests.

What a problem's own verifier needs stands as JSON in ``Problem.scorer``: ``options`` of a choice, ``roles`` of knights and
knaves, ``code`` for programs.
"""

from __future__ import annotations

import base64
import json
import pickletools
import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillwise.errors import UserError
from stillwise.problems.columns import STEP, Columns, Origin, clean
from stillwise.records import AnswerKind, Failure, Problem, derive_seed

Row = Mapping[str, Any]
LETTERS = "ABCD"
MBPP_TEST = range(11, 511)
"""Task numbers of MBPP's test split in the file of all 974."""
DIFFICULTIES = {"easy": 1, "medium": 2, "hard": 3}
MAX_TESTS_BYTES = 1 << 28
"""Compressed tests that unpack to more than this are refused."""

COMPLETE = (
    "Complete the following Python function. Answer with the whole function in one code block.\n\n```python\n{prompt}\n```"
)
TASK = (
    "Write a Python function for this task, in one code block.\n\n{text}\n\n"
    "It should pass these tests:\n\n```python\n{tests}\n```"
)
STDIN = (
    "Write a Python program, in one code block, that reads its input from standard input "
    "and writes the answer to standard output."
)
CALL = "Answer with the whole program in one code block. Start from this code:\n\n```python\n{starter}\n```"


@dataclass(frozen=True, slots=True)
class Made:
    """What a layout makes of a row."""

    question: str
    answer: str
    kind: AnswerKind
    scorer: Mapping[str, Any]
    level: int | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class LayoutReader:
    """Reads rows of one layout; the counterpart of ``columns.Reader``."""

    where: str
    origin: Origin
    read: Callable[[Row], Made | str]

    def problem(self, row: Row, item: str) -> Problem | Failure:
        """The row's problem, or the reason why it gives none."""
        try:
            made = self.read(row)
        except (KeyError, TypeError, ValueError, zlib.error) as err:
            return Failure(step=STEP, item=item, reason="not_this_layout", detail=f"{type(err).__name__}: {err}")
        if isinstance(made, str):
            return Failure(step=STEP, item=item, reason=made)
        return Problem.of(
            clean(made.question),
            clean(made.answer) or None,
            answer_kind=made.kind,
            level=made.level,
            subject=made.subject,
            source=self.where,
            language=self.origin.language,
            licence=self.origin.licence,
            scorer=json.dumps(made.scorer, sort_keys=True) if made.scorer else None,
        )


def layout_reader(where: str, columns: Columns, origin: Origin, present: Sequence[str]) -> LayoutReader | None:
    """The reader of the layout that ``columns`` names, None for plain columns; a UserError names the columns that it lacks."""
    if columns.layout == "columns":
        return None
    needed, read = LAYOUTS[columns.layout]
    missing = [name for name in needed if name not in present]
    if missing:
        raise UserError(
            f"{where} is not laid out as {columns.layout}: no column {', '.join(missing)} (columns: {', '.join(present)})"
        )
    return LayoutReader(where, origin, read)


def gpqa(row: Row) -> Made | str:
    """Four options in an order that the question's text decides, so that every run asks the same."""
    question = str(row["Question"]).strip()
    right = str(row["Correct Answer"]).strip()
    options = [right, *(str(row[f"Incorrect Answer {i}"]).strip() for i in (1, 2, 3))]
    if not question or not all(options):
        return "no_question" if not question else "no_answer"
    random.Random(derive_seed("gpqa", question)).shuffle(options)
    lines = [f"({letter}) {option}" for letter, option in zip(LETTERS, options, strict=True)]
    return Made(
        question="\n".join([question, *lines]),
        answer=LETTERS[options.index(right)],
        kind=AnswerKind.CHOICE,
        scorer={"options": dict(zip(LETTERS, options, strict=True))},
        subject=row.get("High-level domain"),
    )


def knights(row: Row) -> Made | str:
    """Who is a knight and who is a knave; the level is the number of people."""
    names, solution = list(row["names"]), list(row["solution"])
    roles = {name: "knight" if held else "knave" for name, held in zip(names, solution, strict=True)}
    answer = ", ".join(f"{name} is a {role}" for name, role in roles.items())
    return Made(
        question=str(row["quiz"]),
        answer=answer,
        kind=AnswerKind.ROLES,
        scorer={"roles": roles},
        level=len(names),
        subject="knights and knaves",
    )


def humaneval(row: Row) -> Made | str:
    """A function to complete; its tests call ``check``."""
    prompt = str(row["prompt"])
    tests = [f"{row['test']}\ncheck({row['entry_point']})\n"]
    code = {"style": "python", "entry": row["entry_point"], "before": prompt, "tests": tests}
    return Made(
        question=COMPLETE.format(prompt=prompt.rstrip()),
        answer=prompt + str(row["canonical_solution"]),
        kind=AnswerKind.CODE_TESTS,
        scorer={"code": code},
    )


def mbpp(row: Row) -> Made | str:
    """A function for a task; assertions are its tests. Tasks outside the test split are no problems of it."""
    if row.get("task_id") not in MBPP_TEST:
        return "other_split"
    tests = [str(test) for test in row["test_list"]]
    code = {"style": "python", "tests": tests, "setup": _lines(row.get("test_setup_code") or "")}
    return Made(
        question=TASK.format(text=str(row.get("text") or row["prompt"]).strip(), tests="\n".join(tests)),
        answer=_lines(row["code"]),
        kind=AnswerKind.CODE_TESTS,
        scorer={"code": code},
    )


def _lines(code: str) -> str:
    return str(code).replace("\r\n", "\n")


def livecodebench(row: Row) -> Made | str:
    """A contest problem with its public and private tests; the level is easy 1, medium 2, hard 3."""
    tests = [*_tests(row["public_test_cases"]), *_tests(row.get("private_test_cases") or "[]")]
    if not tests:
        return "no_tests"
    starter = str(row.get("starter_code") or "").strip()
    called = tests[0]["testtype"] == "functional"
    name = json.loads(row.get("metadata") or "{}").get("func_name")
    cases = [{"input": test["input"], "output": test["output"]} for test in tests]
    code = {"style": "call" if called else "stdin", "entry": name, "tests": cases}
    return Made(
        question=f"{str(row['question_content']).strip()}\n\n{CALL.format(starter=starter) if called else STDIN}",
        answer="",
        kind=AnswerKind.CODE_TESTS,
        scorer={"code": {key: value for key, value in code.items() if value is not None}},
        level=DIFFICULTIES.get(str(row.get("difficulty") or "").casefold()),
        subject=row.get("platform"),
    )


def _tests(cell: Any) -> list[dict[str, str]]:
    """Test cases as a list, as JSON, or as base64 of a compressed pickle of JSON (how the private ones are published)."""
    if isinstance(cell, str) and not cell.lstrip().startswith("["):
        cell = pickled_text(_inflated(base64.b64decode(cell)))
    return json.loads(cell) if isinstance(cell, str) else list(cell)


def _inflated(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    found = stream.decompress(data, MAX_TESTS_BYTES)
    if stream.unconsumed_tail:
        raise ValueError(f"tests of more than {MAX_TESTS_BYTES:,} bytes")
    return found


def pickled_text(data: bytes) -> str:
    """The one string that a pickle holds, read from its opcodes: nothing is unpickled, so nothing can run."""
    found = [argument for _, argument, _ in pickletools.genops(data) if isinstance(argument, str)]
    if len(found) != 1:
        raise ValueError(f"a pickle of one text was expected, found {len(found)} texts")
    return found[0]


LAYOUTS: Mapping[str, tuple[tuple[str, ...], Callable[[Row], Made | str]]] = {
    "gpqa": (("Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"), gpqa),
    "knights": (("quiz", "names", "solution"), knights),
    "humaneval": (("prompt", "canonical_solution", "test", "entry_point"), humaneval),
    "mbpp": (("task_id", "code", "test_list"), mbpp),
    "livecodebench": (("question_content", "public_test_cases"), livecodebench),
}
"""By name: the columns that must be there, and what reads a row."""
