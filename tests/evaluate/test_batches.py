"""Cost, lengths and scores against the traces that they were counted from."""

from __future__ import annotations

from dataclasses import replace

from stillwise.evaluate.batches import Batch, ScoreTable, cost_section, edges, lengths_section, scores_section
from stillwise.evaluate.sections import Output
from stillwise.records import Finish, Score
from tests.evaluate.synthetic_run import batches, score_tables


def test_cost_counts_what_was_generated_and_trained() -> None:
    held = batches()
    stages = [{"stage": "one", "tokens": 1_000, "steps": 10}, {"stage": "two", "tokens": 500}]
    found = cost_section(held, {"distilled": stages})
    think = held[3].output.traces
    assert found["think"]["answers"] == len(think)
    assert found["think"]["tokens"] == sum(trace.num_tokens or 0 for trace in think)
    assert found["think_solution"] == {"kind": "rewrite", "answers": 0, "prompt_tokens": 0, "tokens": 0}
    assert found["distilled"] == {"kind": "train", "trained_tokens": 1_500, "training_steps": 10}
    assert list(found)[-1] == "distilled"


def test_benchmarks_of_one_step_are_one_cost() -> None:
    last = batches()[-1]
    found = cost_section([last, replace(last, benchmark="more")], {})
    assert found["after"]["answers"] == 2 * len(last.output.traces)


def test_every_answer_falls_into_one_bin() -> None:
    for batch in batches()[:4]:
        one = lengths_section([batch])[batch.name]
        counts = [trace.num_tokens or 0 for trace in batch.output.traces]
        assert sum(one["correct"]) + sum(one["wrong"]) == len(counts)
        assert (one["shortest"], one["longest"]) == (min(counts), max(counts))
        assert one["edges"][0] <= min(counts)
        assert max(counts) < one["edges"][-1]
        assert len(one["edges"]) == len(one["correct"]) + 1 == len(one["wrong"]) + 1
        middle = one["edges"][len(one["edges"]) // 2]
        below = sum(n for n, end in zip(one["correct"], one["edges"][1:], strict=True) if end <= middle)
        below += sum(n for n, end in zip(one["wrong"], one["edges"][1:], strict=True) if end <= middle)
        assert below == sum(count < middle for count in counts)


def test_edges_double_every_four_bins() -> None:
    assert edges()[0] == 1
    assert [edges()[i] for i in (4, 8, 40)] == [2, 4, 1024]


def test_edited_and_uncounted_answers_are_no_lengths_and_imported_ones_no_cost() -> None:
    held = batches()
    assert lengths_section([held[4]]) == {}
    [first, *rest] = held[0].output.traces
    changed = [replace(first, finish=Finish.IMPORTED), replace(rest[0], num_tokens=None), *rest[1:]]
    batch = replace(held[0], output=replace(held[0].output, traces=changed))
    found = lengths_section([batch])["instruct"]
    assert found["unknown"] == 1
    assert sum(found["correct"]) + sum(found["wrong"]) == len(rest)
    assert cost_section([batch], {})["instruct"]["answers"] == len(rest)


def test_scores_spread_and_meet() -> None:
    traces = batches()[3].output.traces
    verbosity, difficulty = score_tables(traces)
    unknown = replace(difficulty, scores=[(key, replace(score, value=None)) for key, score in difficulty.scores[:3]])
    less = replace(difficulty, scores=[*unknown.scores, *difficulty.scores[3:]])
    found = scores_section([verbosity, less])
    heat = found["verbosity_by_difficulty"]["think"]
    assert sum(map(sum, heat["cells"])) == len(traces) - 3
    assert heat["unscored"] == 3
    values = dict(zip([key for key, _ in verbosity.scores], [score.value for _, score in verbosity.scores], strict=True))
    pairs = [(values[key], score.value) for key, score in less.scores if score.value is not None]
    column, row = heat["verbosity"][2], heat["difficulty"][1]
    assert heat["cells"][1][2] == pairs.count((column, row))
    assert found["by_step"]["cognitive_difficulty"]["cognitive_difficulty"]["missing"] == 3
    wild = replace(verbosity, scores=[(key, replace(score, value=1e9)) for key, score in verbosity.scores])
    assert scores_section([wild, less])["verbosity_by_difficulty"] == {}


def test_one_score_alone_is_a_row_and_no_heat() -> None:
    table = ScoreTable(step="rethink", of="think", scores=[("a", Score(name="rethink_words", value=2.5))])
    found = scores_section([table])
    assert found["verbosity_by_difficulty"] == {}
    assert found["by_step"]["rethink"]["rethink_words"]["median"] == 2.5
    assert scores_section([]) == {}


def test_a_batch_without_traces_costs_nothing() -> None:
    empty = Batch(step="s", kind="sample", problems=[], output=Output(traces=[], verdicts={}))
    assert cost_section([empty], {})["s"]["answers"] == 0
    assert lengths_section([empty]) == {}
