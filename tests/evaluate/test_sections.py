"""Records to sections: every count against the records that it came from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stillwise.evaluate import metrics, page, sections
from stillwise.evaluate.sections import Output
from stillwise.records import Failure, Outcome, Verdict
from tests.evaluate.synthetic_run import examined, problems, rejection, run_metrics, solved

ASKED = problems(12)


def test_sampling_counts_attempts_and_solved_problems_and_judges_first_tries_alone() -> None:
    output = rejection(ASKED, "instruct")
    found = sections.sampling_section(ASKED, output)
    first = [trace for trace in output.traces if trace.sample_index == 0]
    right = [trace for trace in first if output.verdict(trace).outcome is Outcome.CORRECT]
    assert found["n"] == 60
    assert found["attempts"] == len(output.traces) > 60
    assert found["solved"] == len(solved(output))
    assert found["pass_at_1_first_try"]["value"] == pytest.approx(len(right) / 60)
    assert found["pass_at_1_first_try"]["interval"] == metrics.WILSON
    assert found["mean_tokens"]["value"] == pytest.approx(sum(t.num_tokens or 0 for t in first) / 60)
    assert sum(found["outcomes"].values()) == len(output.traces)
    assert (found["role"], found["paradigm"], found["derived"]) == ("instructor", "instruct", False)
    assert [found["by_level"][str(level)]["n"] for level in range(1, 6)] == [12] * 5
    assert sum(group["solved"] for group in found["by_level"].values()) == found["solved"]


def test_a_problem_whose_first_attempt_is_missing_has_no_first_try() -> None:
    output = rejection(ASKED, "instruct")
    later = Output(traces=[trace for trace in output.traces if trace.sample_index > 0], verdicts=output.verdicts)
    found = sections.sampling_section(ASKED, later)
    assert found["pass_at_1_first_try"]["n"] == 0
    assert found["solved"] == len(solved(later)) > 0


def test_an_output_without_traces_still_says_how_many_were_asked() -> None:
    found = sections.sampling_section(ASKED, Output(traces=[], verdicts={}))
    assert (found["n"], found["solved"], found["derived"]) == (60, 0, False)
    assert found["pass_at_1_first_try"]["value"] is None
    assert found["by_level"]["5"]["pass_at_1_first_try"]["reason"] == "no problems"


def test_derived_traces_are_marked_and_a_missing_verdict_is_undecided() -> None:
    output = rejection(ASKED, "think")
    cut = [replace(trace, parent=trace.id, id=f"cut-{trace.id}") for trace in output.traces]
    found = sections.sampling_section(ASKED, Output(traces=cut, verdicts={}))
    assert found["derived"] is True
    assert found["outcomes"]["undecided"] == len(cut)


def test_selection_counts_problems_once_and_reasons() -> None:
    kept = [one.id for one in ASKED if one.level != 5] * 2 + [ASKED[-1].id]
    dropped = [Failure(step="common", item="x", reason="think_unsolved")] * 3
    found = sections.selection_section(ASKED, kept, dropped)
    assert (found["problems"], found["kept"]) == (60, 49)
    assert found["by_level"] == {"1": 12, "2": 12, "3": 12, "4": 12, "5": 1}
    assert found["share_by_level"]["5"] == pytest.approx(1 / 49)
    assert found["dropped"] == {"think_unsolved": 3}


def test_an_evaluation_keeps_what_a_later_comparison_needs() -> None:
    rows = sections.measured("sums", ASKED, examined(ASKED, "after", 4))
    found = sections.evaluation_section("student", "abc", {"sums": rows})
    tallies = sections.flat(found["per_problem"]["sums"])
    assert sum(correct for correct, _ in tallies.values()) == found["benchmarks"]["sums"]["outcomes"]["correct"]
    assert {samples for _, samples in tallies.values()} == {4}
    assert found["average"]["value"] == found["benchmarks"]["sums"]["pass_at_1"]["value"]


def test_comparisons_come_overall_by_level_and_for_the_average() -> None:
    first = {name: sections.measured(name, ASKED, examined(ASKED, "before", 4)) for name in ("sums", "more")}
    then = {name: sections.measured(name, ASKED, examined(ASKED, "after", 4)) for name in ("sums", "more", "new")}
    both = {"a": sections.evaluation_section("a", "", first), "b": sections.evaluation_section("b", "", then)}
    found = sections.comparison_section("a", "b", both)
    assert [(row["benchmark"], row["level"]) for row in found] == [
        *[(name, level) for name in ("sums", "more") for level in (None, "1", "2", "3", "4", "5")],
        ("average", None),
    ]
    expected = both["b"]["benchmarks"]["sums"]["pass_at_1"]["value"] - both["a"]["benchmarks"]["sums"]["pass_at_1"]["value"]  # type: ignore[operator]
    assert found[0]["difference"]["value"] == pytest.approx(expected)
    assert found[0]["difference"]["n"] == 60
    assert found[-1]["difference"]["value"] == pytest.approx(expected)


def test_a_stage_keeps_its_figures_thins_its_curve_and_drops_seconds() -> None:
    found = sections.stage_section(
        {"stage": "unfolding", "rows": 3, "steps": 999, "seconds": 12.5, "curve": list(range(999, 0, -1))}
    )
    assert "seconds" not in found
    assert (found["first_loss"], found["last_loss"]) == (999, 1)
    assert len(found["curve"]) == sections.CURVE_POINTS
    assert (found["curve"][0], found["curve"][-1]) == ([1, 999], [999, 1])
    assert sections.stage_section({"stage": "empty"})["curve"] == []


def test_the_example_is_a_hardest_problem_that_every_output_solved() -> None:
    outputs = {mode: rejection(ASKED, mode) for mode in ("instruct", "think")}
    [found] = sections.example_section(ASKED, outputs)
    assert found["level"] == "5"
    assert [trace["outcome"] for trace in found["traces"]] == ["correct", "correct"]
    assert found["traces"][0]["thinking"] is None
    assert "verify" in (found["traces"][1]["thinking"] or "")
    assert sections.example_section([], outputs) == []
    assert sections.example_section(ASKED, {"none": Output(traces=[], verdicts={})}) == []


def test_long_texts_are_cut_in_the_middle_and_say_so() -> None:
    text = sections.shortened("a" * 5_000 + "b" * 5_000)
    assert text is not None
    assert text.startswith("a")
    assert text.endswith("b")
    assert "4,000 characters left out" in text
    assert sections.shortened("short") == "short"


def test_a_whole_run_is_byte_equal_when_built_again(run: dict[str, Any]) -> None:
    assert metrics.dumps(run_metrics()) == metrics.dumps(run)


def test_verdicts_of_other_problems_do_not_leak_in() -> None:
    output = examined(ASKED, "before", 1)
    rows = sections.measured("sums", ASKED[:3], output)
    assert {row.problem_id for row in rows} == {one.id for one in ASKED[:3]}
    assert sections.measured("sums", [], Output(traces=[], verdicts={"x": Verdict(outcome=Outcome.CORRECT)})) == []


def test_the_run_table_says_how_a_server_did_what_was_asked() -> None:
    plain: Any = {"recipe": {"binding": "b"}}
    notes = {"hard": {"ban": ["approximate: bad_words"], "prefill": ["exact: raw completion", "approximate: continued"]}}
    served: Any = {**plain, "served": notes}
    rows: dict[str, str] = {str(row[0]): str(row[1]) for row in page.facts_table(served).body}
    assert rows["ban by the server in “hard”"] == "approximate: bad_words"
    assert rows["prefill by the server in “hard”"] == "exact: raw completion; approximate: continued"
    assert not any("server" in name for name, _ in page.facts_table(plain).body)
