"""Every reference solution of HumanEval and MBPP passes its own tests, and none passes once it is spoilt."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import cast

import pytest

from stillwise.arrows import Tools
from stillwise.errors import UserError
from stillwise.problems.columns import Columns
from stillwise.problems.file import File
from stillwise.records import Outcome, Problem, Trace, Verdict, thinking_spans
from stillwise.runtime.sandbox import Sandbox
from stillwise.verify.code import Code
from tests.realdata.conftest import FOLDER

pytestmark = pytest.mark.realdata
SETS = {"humaneval": ("humaneval_164.jsonl", 164), "mbpp": ("mbpp_974.jsonl", 500)}
SAMPLE = 12


@pytest.fixture(scope="module", autouse=True)
def _isolated() -> None:
    try:
        Sandbox().tier()
    except UserError as err:
        pytest.skip(str(err))


def problems(name: str) -> list[Problem]:
    file, count = SETS[name]
    if not (FOLDER / file).is_file():
        pytest.skip(f"{file} is not in {FOLDER}")
    found = list(File(path=str(Path(FOLDER) / file), columns=Columns.model_validate({"layout": name})).problems())
    kept = [problem for problem in found if isinstance(problem, Problem)]
    assert len(kept) == count
    return kept


def decided(pairs: list[tuple[Problem, str]]) -> list[Verdict]:
    traces = []
    for problem, source in pairs:
        text = f"Let me think.\n</think>\nThe function:\n\n```python\n{source}\n```\n"
        spans = thinking_spans(text)
        trace = Trace(id="t", problem_id=problem.id, role="r", model="m", paradigm="think", prompt="", text=text, spans=spans)
        traces.append((problem, trace))
    return Code().decide(traces, cast(Tools, None))


def entry(problem: Problem) -> str:
    held = json.loads(problem.scorer or "")["code"]
    if "entry" in held:
        return str(held["entry"])
    called = re.findall(r"\b\w+(?=\s*\()", held["tests"][0])
    return next(str(name) for name in called if re.search(rf"^def {name}\b", problem.answer or "", re.MULTILINE))


def spoilt(problem: Problem) -> str:
    """The reference whose results come in a pair with something else."""
    name = entry(problem)
    wrapper = f"_right = {name}\ndef {name}(*args, **named):\n    return _right(*args, **named), 'spoilt'\n"
    return f"{problem.answer}\n\n{wrapper}"


def check(found: list[Problem]) -> None:
    for problem, verdict in zip(found, decided([(p, p.answer or "") for p in found]), strict=True):
        assert verdict.outcome is Outcome.CORRECT, (problem.question, verdict)
    for problem, verdict in zip(found, decided([(p, spoilt(p)) for p in found]), strict=True):
        assert verdict.outcome is Outcome.INCORRECT, (problem.question, verdict)
        assert (verdict.detail or "").split(":")[0] in ("wrong_answer", "runtime_error"), verdict


@pytest.mark.parametrize("name", SETS)
def test_a_sample_of_references_passes_and_fails_when_spoilt(name: str) -> None:
    check(random.Random(0).sample(problems(name), SAMPLE))


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_all_references_pass_and_fail_when_spoilt(name: str) -> None:
    check(problems(name))
