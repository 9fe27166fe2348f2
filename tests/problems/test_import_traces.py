"""Published traces of many shapes become the same records; duplicates and empty rows are counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stillwise.errors import UserError
from stillwise.problems.import_traces import import_files, read_traces
from stillwise.problems.trace_shapes import samples_of, untagged
from stillwise.records import Failure, Finish, Outcome, Problem, Trace, Verdict
from stillwise.runtime import tables
from stillwise.runtime.graders import GraderPool
from stillwise.runtime.tables import Judged, Scored
from stillwise.score.rethink import rethink_rates
from stillwise.verify.dispatch import ByAnswerKind

FULL = "<think>\nWait, 1+1.\n</think>\n\nSo \\boxed{2}"
ASK, THOUGHT, SAY = "1+1?", "Wait, 1+1.", "So \\boxed{2}"
SHAPES: dict[str, dict[str, Any]] = {
    "message fields": {"problem": ASK, "gtruth_answer": "2", "message_thinking": THOUGHT, "message_content": SAY},
    "reasoning_content": {"question": ASK, "answer": "2", "reasoning_content": THOUGHT, "content": SAY},
    "inline tags": {"prompt": ASK, "answer": "2", "response": FULL},
    "template opened": {"prompt": ASK, "answer": "2", "response": f"{THOUGHT}\n</think>\n{SAY}"},
    "Thought tags": {"prompt": ASK, "answer": "2", "output": f"<Thought>\n{THOUGHT}\n</Thought>\n<Output>\n{SAY}\n</Output>"},
    "begin_of_thought": {
        "prompt": ASK,
        "answer": "2",
        "output": f"<|begin_of_thought|>{THOUGHT}<|end_of_thought|>\n<|begin_of_solution|>{SAY}<|end_of_solution|>",
    },
    "messages": {
        "answer": "2",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": ASK},
            {"role": "assistant", "content": SAY, "reasoning_content": THOUGHT},
        ],
    },
    "ShareGPT": {"answer": "2", "conversations": [{"from": "human", "value": ASK}, {"from": "gpt", "value": FULL}]},
    "samples": {"prompt": ASK, "answer": "2", "samples": [{"thinking": THOUGHT, "output": SAY}]},
    "lists": {"question": ASK, "gt": "2", "code": [FULL]},
    "OpenThoughts": {"problem": ASK, "answer": "2", "deepseek_reasoning": THOUGHT, "deepseek_solution": SAY, "domain": "math"},
    "OmniThought": {"question": ASK, "answer": "2", "reasoning": [{"full_response": FULL, "teacher": "traces"}]},
    "s1K": {"question": ASK, "answer": "2", "solution": "2", "thinking_trajectories": [THOUGHT], "attempt": SAY},
    "OpenR1": {
        "problem": ASK,
        "answer": "2",
        "generations": [FULL],
        "correctness_math_verify": [True],
        "messages": [{"role": "user", "content": ASK}, {"role": "assistant", "content": "another"}],
    },
    "OpenCodeReasoning": {"input": ASK, "answer": "2", "output": FULL, "solution": "print(2)"},
    "DeepMath": {"question": ASK, "final_answer": "2", "r1_solution_1": f"{THOUGHT}\n</think>\n{SAY}"},
    "answer tags": {"prompt": ASK, "answer": "2", "response": f"<think>{THOUGHT}</think>\n<answer>{SAY}</answer>"},
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def make(*rows: Any, name: str = "traces.jsonl") -> Path:
        (tmp_path / name).write_text("\n".join(json.dumps(row) for row in rows))
        return tmp_path / name

    return make


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_trace(shape: str, write: Callable[..., Path]) -> None:
    imported = read_traces([write(SHAPES[shape])])
    assert imported.failures == []
    (trace,), (problem,) = imported.traces, imported.problems.values()
    assert trace.text == FULL
    assert (trace.span("thinking"), trace.span("solution")) == (f"\n{THOUGHT}\n", f"\n\n{SAY}")
    assert (trace.paradigm, trace.finish, trace.role) == ("think", Finish.IMPORTED, "imported")
    assert (problem.question, problem.answer, trace.problem_id) == (ASK, "2", problem.id)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain", (None, "plain")),
        ("<think>a</think>b", ("a", "b")),
        ("<think>a", ("a", None)),
        ("a</think>b", ("a", "b")),
        ("<think></think>b", ("", "b")),
        ("say <think> in words", (None, "say <think> in words")),
    ],
)
def test_inline_tags(text: str, parts: tuple[str | None, str | None]) -> None:
    assert untagged(text) == parts


def test_lists_are_taken_apart_and_samples_numbered() -> None:
    found = samples_of({"question": ASK, "code": ["a", "b"], "score": [True, False], "pred": ["1", "2"], "idx": 0})
    assert [(sample.content, sample.score) for sample in found] == [("a", True), ("b", False)]


def test_what_the_source_says_of_tokens_and_endings(write: Callable[..., Path]) -> None:
    row = {
        "question": ASK,
        "content": "1 and",
        "usage": {"completion_tokens": 7},
        "finish_reason": "length",
        "level": "Level 2",
    }
    imported = read_traces([write(row)])
    assert (imported.traces[0].num_tokens, imported.traces[0].finish) == (7, Finish.LENGTH)
    assert [p.level for p in imported.problems.values()] == [2]


def test_import_writes_tables_verdicts_and_a_summary(write: Callable[..., Path], tmp_path: Path) -> None:
    think = write(
        {"question": ASK, "answer": "2", "model": "m", "samples": [{"thinking": "hmm", "output": SAY, "score": 1.0}]},
        {
            "question": "2x?",
            "answer": "x+1",
            "model": "m",
            "samples": [{"thinking": "but", "output": r"\boxed{x}", "score": 0.5}],
        },
        {"question": "why?", "model": "m", "samples": [{"thinking": "so", "output": "because", "score": True}]},
    )
    plain = write({"question": ASK, "answer": "2", "model": "m", "output": r"\boxed{1 + 1}"}, name="plain.jsonl")
    with GraderPool(workers=1) as pool:
        summary = import_files(
            [think, plain], tmp_path / "out", verify=partial(pool.verify, ByAnswerKind()), measure=rethink_rates
        )
    traces = tables.read(tmp_path / "out" / "traces.parquet", Trace)
    outcomes = {j.trace_id: j.verdict.outcome for j in tables.read(tmp_path / "out" / "verdicts.parquet", Judged)}
    assert [outcomes.get(t.id) for t in traces] == [Outcome.CORRECT, Outcome.INCORRECT, None, Outcome.CORRECT]
    assert [s.score.value for s in tables.read(tmp_path / "out" / "scores.parquet", Scored)] == [1.0, 0.5, 1.0]
    assert len(tables.read(tmp_path / "out" / "problems.parquet", Problem)) == 3
    assert summary == json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["by_paradigm"]["think"]["verdicts"] == {"correct": 1, "incorrect": 1}
    assert summary["by_paradigm"]["think"]["rethink_words"] == {"but": 1, "hmm": 1}
    assert summary["by_paradigm"]["think"]["agrees_with_source"] == {"n": 1, "same": 1}
    assert summary["by_paradigm"]["no_think"]["verdicts"] == {"correct": 1}


def test_unusable_rows_are_counted_and_a_flag_names_the_paradigm(write: Callable[..., Path]) -> None:
    good = {"question": ASK, "content": "2"}
    imported = read_traces(
        [write(good, good, {"content": "2"}, {"question": ASK}, {"question": ASK, "content": " "})], "instruct"
    )
    assert [trace.paradigm for trace in imported.traces] == ["instruct"]
    assert sorted(failure.reason for failure in imported.failures) == ["duplicate", "no_question", "no_text", "no_trace"]


def test_nothing_to_import_writes_nothing(write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no trace in .*1 no_trace.*known shapes"):
        import_files([write({"a": 1})], tmp_path / "out")
    with pytest.raises(UserError, match="did you mean"):
        import_files([tmp_path / "trace.jsonl"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_failures_are_stored(write: Callable[..., Path], tmp_path: Path) -> None:
    import_files([write({"question": ASK, "content": "2"}, {"a": 1})], tmp_path / "out")
    assert [f.reason for f in tables.read(tmp_path / "out" / "failures.parquet", Failure)] == ["no_trace"]


def test_omnithought_keeps_teachers_and_scores(write: Callable[..., Path], tmp_path: Path) -> None:
    def response(teacher: str, rv: object, cd: object) -> dict[str, object]:
        return {"full_response": f"{teacher} {FULL}", "teacher": teacher, "Reasoning_Verbosity": rv, "Cognitive_Difficulty": cd}

    held = [response("DeepSeek-R1", {"level": 4, "judge": "QwQ"}, {"level": 3}), response("QwQ-32B", 7, None)]
    file = write({"question": ASK, "answer": "2", "reasoning": held})
    imported = read_traces([file])
    assert [trace.model for trace in imported.traces] == ["DeepSeek-R1", "QwQ-32B"]
    found = [(held.score.name, held.score.value) for held in imported.scores]
    assert found == [("verbosity", 4.0), ("cognitive_difficulty", 3.0), ("verbosity", 7.0)]
    assert imported.scores[0].score.detail == "traces.jsonl: QwQ"
    right = import_files([file], tmp_path / "out", verify=lambda pairs: [Verdict(outcome=Outcome.CORRECT) for _ in pairs])
    [counts] = right["by_paradigm"].values()
    assert (counts["mean_source_score"], counts["agrees_with_source"]) == (None, None), "marks say nothing about what is right"


def test_s1k_has_a_sample_for_each_teacher(write: Callable[..., Path]) -> None:
    row = {
        "question": ASK,
        "solution": "2",
        "deepseek_thinking_trajectory": THOUGHT,
        "deepseek_attempt": SAY,
        "deepseek_grade": "Yes",
    }
    row |= {"gemini_thinking_trajectory": "Easy.", "gemini_attempt": "\\boxed{3}", "gemini_grade": "No"}
    imported = read_traces([write(row)])
    assert [(trace.model, trace.span("thinking")) for trace in imported.traces] == [
        ("deepseek", f"\n{THOUGHT}\n"),
        ("gemini", "\nEasy.\n"),
    ]
    assert [held.score.value for held in imported.scores] == [1.0, 0.0]


def test_openr1_has_all_generations_with_their_verdicts(write: Callable[..., Path]) -> None:
    row = {"problem": ASK, "answer": "2", "generations": [FULL, "<think>hm"], "correctness_math_verify": [True, False]}
    imported = read_traces([write({**row, "finish_reasons": ["stop", "length"]})])
    assert [held.score.value for held in imported.scores] == [1.0, 0.0]
    assert [trace.finish for trace in imported.traces] == [Finish.IMPORTED, Finish.LENGTH]


def test_limo_and_alpaca(write: Callable[..., Path]) -> None:
    limo = read_traces([write({"question": ASK, "solution": "Long work. \\boxed{2}", "answer": "2"})])
    assert [trace.text for trace in limo.traces] == ["Long work. \\boxed{2}"]
    rows = [{"instruction": "Add.", "input": "1+1", "output": "2"}, {"instruction": ASK, "input": "", "output": "2"}]
    assert [p.question for p in read_traces([write(*rows)]).problems.values()] == ["Add.\n\n1+1", ASK]


def test_a_question_that_may_not_be_printed_is_none(write: Callable[..., Path]) -> None:
    imported = read_traces([write({"input": "-", "output": FULL})])
    assert [failure.reason for failure in imported.failures] == ["no_question"]
