"""The sample of traces: bounded, spread over steps, outcomes and levels, the same bytes in any order, inert in a page."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from stillwise.evaluate import browse
from stillwise.evaluate.batches import Batch, lengths_section
from stillwise.evaluate.browse import browse_section, embedded, fitted
from stillwise.evaluate.report import write_report
from stillwise.evaluate.sections import Output
from stillwise.records import Finish, Outcome, Problem, Trace, Verdict, thinking_spans
from tests.evaluate.synthetic_run import batches, score_tables

HOSTILE = "</script><script>alert(1)</script><!--<script>\u2028&amp;]]>"


def many(number: int, rare: int) -> Batch:
    """One step with ``number`` correct answers of a level and ``rare`` timed out ones."""
    asked = [Problem.of(f"question {i}", "1", level=1 + i % 2) for i in range(number)]
    traces = [
        Trace(id=f"t{i}", problem_id=p.id, role="r", model="m", paradigm="think", prompt="", text="x" * 900)
        for i, p in enumerate(asked)
    ]
    outcomes = [Outcome.TIMED_OUT if i < rare else Outcome.CORRECT for i in range(number)]
    verdicts = {trace.id: Verdict(outcome=outcome) for trace, outcome in zip(traces, outcomes, strict=True)}
    return Batch(step="big", kind="sample", problems=asked, output=Output(traces=traces, verdicts=verdicts))


def test_a_small_run_is_shown_whole() -> None:
    found = browse_section(batches())
    assert found["shown"] == found["of"] == len(found["traces"]) == sum(len(one.output.traces) for one in batches())
    assert {trace["problem"] for trace in found["traces"]} == set(found["problems"])


def test_a_large_run_keeps_to_the_room_and_shows_what_is_rare() -> None:
    found = browse_section([many(5_000, rare=6)], room=200_000)
    assert found["of"] == 5_000
    assert 100 < found["shown"] == len(found["traces"]) < 400
    assert len(embedded(found).encode()) < 215_000
    shown = Counter(trace["outcome"] for trace in found["traces"])
    assert shown["timed_out"] == 6
    levels = Counter(found["problems"][trace["problem"]]["level"] for trace in found["traces"] if trace["outcome"] == "correct")
    assert abs(levels["1"] - levels["2"]) <= 6


@pytest.mark.slow
def test_a_hundred_thousand_traces_make_a_page_under_three_megabytes(tmp_path: Path) -> None:
    batch = many(100_000, rare=50)
    (tmp_path / browse.FILE).write_text(embedded(browse_section([batch])), encoding="utf-8")
    write_report({"lengths": lengths_section([batch])}, tmp_path / "report.html")
    size = (tmp_path / "report.html").stat().st_size
    assert 1_500_000 < size < 3_000_000


def test_the_order_of_traces_changes_no_byte() -> None:
    held = batches()
    shuffled = [
        replace(
            one, output=replace(one.output, traces=random.Random(i).sample(list(one.output.traces), len(one.output.traces)))
        )
        for i, one in enumerate(held)
    ]
    for room in (browse.BYTES, 20_000):
        assert embedded(browse_section(held, room=room)) == embedded(browse_section(shuffled, room=room))


def test_the_same_problems_come_up_in_every_step() -> None:
    found = browse_section(batches(), room=60_000)
    steps = {step: {t["problem"] for t in found["traces"] if t["in"] == step} for step in ("instruct", "think", "no_think")}
    common = set.intersection(*steps.values())
    assert len(common) > len(steps["think"]) / 2


def test_an_edited_trace_brings_its_parent() -> None:
    found = browse_section(batches(), room=15_000)
    ids = {trace["id"] for trace in found["traces"]}
    edited = [trace for trace in found["traces"] if trace.get("parent")]
    assert edited
    assert all(trace["parent"] in ids for trace in edited)
    assert {trace["edit"] for trace in edited} == {"think_solution"}
    assert {trace["by"] for trace in edited} == {"think_solution"}


def test_banned_words_are_counted_in_every_trace_of_the_run() -> None:
    found = browse_section(batches())
    assert found["words"] == ["alternatively", "another", "but", "hmm", "verify", "wait"]
    thoughts = [trace for trace in found["traces"] if trace["in"] == "think"]
    assert all(trace["said"] == {"verify": 1, "wait": 1} for trace in thoughts)
    assert all("banned" not in trace for trace in thoughts)
    linear = [trace for trace in found["traces"] if trace["in"] == "no_rethink"]
    assert all(trace["banned"] == found["words"] and "said" not in trace for trace in linear)


def test_scores_stand_beside_their_traces() -> None:
    held = batches()
    found = browse_section(held, score_tables(held[3].output.traces))
    scored = [trace for trace in found["traces"] if "scores" in trace]
    assert {trace["in"] for trace in scored} == {"think"}
    assert set(scored[0]["scores"]) == {"reasoning_verbosity", "cognitive_difficulty"}


def test_long_texts_are_cut_and_say_so() -> None:
    text = f"<think>{'a' * 50_000}</think>{'b' * 50_000}"
    trace = Trace(id="t", problem_id="p", role="r", model="m", paradigm="p", prompt="q", text=text, spans=thinking_spans(text))
    batch = Batch(step="s", kind="sample", problems=[], output=Output(traces=[trace], verdicts={}))
    [record] = browse_section([batch])["traces"]
    assert len(record["thinking"]) + len(record["solution"]) < 13_000
    assert "characters left out" in record["thinking"]
    assert record["outcome"] == "undecided"


def test_no_tag_survives_in_the_embedded_sample() -> None:
    trace = Trace(id="t", problem_id="p", role="r", model="m", paradigm="p", prompt=HOSTILE, text=HOSTILE)
    trace = replace(trace, spans=thinking_spans(HOSTILE), finish=Finish.IMPORTED)
    section = browse_section([Batch(step=HOSTILE, kind="sample", problems=[], output=Output(traces=[trace], verdicts={}))])
    text = embedded(section)
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text)["traces"][0]["solution"] == HOSTILE
    assert json.loads(text)["problems"]["p"]["question"] == HOSTILE


def test_a_lone_surrogate_is_no_crash() -> None:
    assert json.loads(embedded({"a": "x\ud800y"})) == {"a": "x?y"}


@pytest.mark.parametrize("room", [3_000, 10_000, 40_000])
def test_less_room_shows_fewer_and_says_how_many(room: int) -> None:
    whole = browse_section(batches())
    found = fitted(whole, room)
    assert len(embedded(found).encode()) <= room
    assert found["shown"] == len(found["traces"]) < whole["shown"]
    assert found["of"] == whole["of"]
    assert {trace["problem"] for trace in found["traces"]} == set(found["problems"])
