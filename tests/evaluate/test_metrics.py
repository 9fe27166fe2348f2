"""Every figure against a closed form, an enumeration or a simulation."""

from __future__ import annotations

import itertools
import json
import math
import random
import subprocess
import sys

import numpy as np
import pytest

from stillwise.evaluate import metrics as m
from stillwise.evaluate.metrics import Measured
from stillwise.records import Outcome


def row(problem: str, index: int, outcome: Outcome = Outcome.CORRECT, **rest: object) -> Measured:
    fields: dict[str, object] = {"level": 1, "benchmark": "sums", "num_tokens": 10, **rest}
    return Measured(problem_id=problem, sample_index=index, outcome=outcome, **fields)  # type: ignore[arg-type]


def grid(counts: list[int], samples: int) -> list[Measured]:
    """Problems with this many correct samples, the correct ones first."""
    words = [[Outcome.CORRECT] * c + [Outcome.INCORRECT] * (samples - c) for c in counts]
    return [row(f"p{i:03d}", j, word) for i, words_i in enumerate(words) for j, word in enumerate(words_i)]


@pytest.mark.parametrize(("correct", "samples", "k"), [(0, 5, 2), (2, 5, 1), (2, 5, 3), (4, 6, 3), (5, 5, 5), (1, 8, 8)])
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(correct: int, samples: int, k: int) -> None:
    subsets = list(itertools.combinations([i < correct for i in range(samples)], k))
    assert m.pass_at_k(correct, samples, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


# Problems by number of correct samples of ten, with the pass@1 and pass@5 that the source published for them: CodeLlama-7B on
# CRUXEval's 800 inputs and outputs (facebookresearch/cruxeval@190faf1, samples/evaluation_results, MIT).
CRUX_INPUTS = ([420, 22, 32, 18, 16, 20, 14, 17, 10, 21, 210], 35.94999999999998, 44.991071428571416)
CRUX_OUTPUTS = ([465, 17, 11, 16, 16, 12, 10, 8, 14, 12, 219], 34.212500000000006, 40.286706349206355)


@pytest.mark.parametrize(("problems", "pass_1", "pass_5"), [CRUX_INPUTS, CRUX_OUTPUTS], ids=["inputs", "outputs"])
def test_published_pass_at_k_of_public_generations(problems: list[int], pass_1: float, pass_5: float) -> None:
    counts = [correct for correct, number in enumerate(problems) for _ in range(number)]
    assert len(counts) == 800
    for k, published in ((1, pass_1), (5, pass_5)):
        mean = m.estimate([m.pass_at_k(correct, 10, k) for correct in counts], share=True)["value"]
        assert 100 * (mean or 0) == pytest.approx(published, rel=1e-12)


def test_the_cluster_bootstrap_has_the_spread_of_problems_and_samples() -> None:
    """Against a plain simulation of the two stages; wider than resampling problems alone."""
    rng = np.random.default_rng(2)
    counts = [(int(rng.binomial(4, p)), 4) for p in rng.uniform(0.2, 0.8, 60)] + [(3, 8), (5, 8)]
    found = m.cluster_estimate(counts)
    means = []
    for _ in range(4000):
        drawn = [counts[i] for i in rng.integers(0, len(counts), len(counts))]
        means.append(np.mean([rng.binomial(n, c / n) / n for c, n in drawn]))
    low, high = found["ci"] or (0, 0)
    assert found["interval"] == m.CLUSTER
    assert (low, high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.012)
    plain = m.estimate([c / n for c, n in counts], share=True)["ci"] or [0, 0]
    assert high - low > 1.1 * (plain[1] - plain[0])
    assert found["value"] == pytest.approx(np.mean([c / n for c, n in counts]))
    assert m.cluster_estimate([(1, 2)])["ci"] is None
    assert m.cluster_estimate([])["reason"] == "no problems"


def test_pass_at_more_than_the_samples_is_refused_not_one() -> None:
    with pytest.raises(ValueError, match="at least 4 samples"):
        m.pass_at_k(3, 3, 4)


def test_pass_at_1_is_the_mean_over_problems_of_the_mean_over_samples() -> None:
    found = m.measure_group(grid([0, 2, 4, 3], 4))
    shares = [0, 0.5, 1, 0.75]
    assert found["pass_at_1"]["value"] == pytest.approx(np.mean(shares))
    assert found["pass_at_1"]["se"] == pytest.approx(np.std(shares, ddof=1) / 2)
    assert found["pass_at_1"]["n"] == 4
    assert found["samples"] == 16
    assert found["pass_at_k"]["1"]["value"] == pytest.approx(found["pass_at_1"]["value"])
    assert list(found["pass_at_k"]) == ["1", "2", "4"]
    assert found["pass_at_k"]["4"]["value"] == 0.75


def test_the_standard_error_over_problems_fits_table_1_and_the_deviation_over_runs_does_not() -> None:
    """MATH-500 at 63 % with eight samples: the paper's ± lies between 1.75 and 1.82 points."""
    rng = random.Random(0)
    skill = [rng.betavariate(0.46, 0.27) for _ in range(500)]
    found = m.measure_group(grid([sum(rng.random() < p for _ in range(8)) for p in skill], 8))
    assert found["pass_at_1"]["value"] == pytest.approx(0.63, abs=0.03)
    assert 1.6 < 100 * (found["pass_at_1"]["se"] or 0) < 1.95
    mixed = [r for i, r in enumerate(grid([4] * 500, 8))]
    runs = m.measure_group([row(r.problem_id, (r.sample_index + i) % 8, r.outcome) for i, r in enumerate(mixed)])
    assert runs["pass_at_1"]["se"] == 0
    assert runs["std_over_runs"] is not None


def test_the_deviation_over_runs_is_over_sample_indices() -> None:
    rows = [
        row(p, i, Outcome.CORRECT if hit else Outcome.INCORRECT)
        for p, i, hit in [("a", 0, 1), ("a", 1, 0), ("b", 0, 1), ("b", 1, 1)]
    ]
    found = m.measure_group(rows)
    assert found["accuracy_by_run"] == [1.0, 0.5]
    assert found["std_over_runs"] == pytest.approx(np.std([1.0, 0.5], ddof=1))


def test_wilson_matches_the_textbook_and_stays_inside() -> None:
    low, high = m.wilson_interval(0.5, 20)
    assert (low, high) == pytest.approx((0.2993, 0.7007), abs=1e-4)
    low, high = m.wilson_interval(1.0, 20)
    assert low == pytest.approx(0.8389, abs=1e-4)
    assert high == 1.0


def test_single_samples_and_perfect_scores_get_wilson_and_mixed_ones_a_bootstrap() -> None:
    assert m.measure_group(grid([1, 0, 1], 1))["pass_at_1"]["interval"] == m.WILSON
    perfect = m.measure_group(grid([4] * 30, 4))["pass_at_1"]
    assert perfect["interval"] == m.WILSON
    assert perfect["ci"] is not None
    assert perfect["ci"][0] < 0.9
    assert m.measure_group(grid([1, 3, 2], 4))["pass_at_1"]["interval"] == m.BOOTSTRAP


@pytest.mark.parametrize("distinct", [9, 400])
def test_the_bootstrap_has_the_spread_that_theory_gives(distinct: int) -> None:
    """Both ways of resampling: counts of few values, and indices of many."""
    rng = np.random.default_rng(1)
    values = rng.integers(0, distinct, 400) / distinct
    means = m.bootstrap_means(list(values), seed=3)
    assert means.shape == (m.RESAMPLES,)
    assert means.mean() == pytest.approx(values.mean(), abs=1e-3)
    assert means.std() == pytest.approx(values.std() / 20, rel=0.03)


def test_the_paired_bootstrap_covers_the_true_difference() -> None:
    """About 95 of 100 intervals hold the truth (0.10), on correlated pairs of 8 samples; far from 100 and from 80."""
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(100):
        skill = rng.uniform(0.1, 0.8, 120)
        before = {str(i): [int(rng.binomial(8, p)), 8] for i, p in enumerate(skill)}
        after = {str(i): [int(rng.binomial(8, p + 0.1)), 8] for i, p in enumerate(skill)}
        low, high = m.paired_difference(before, after, seed=trial)["ci"] or (1.0, 0.0)
        held += low <= 0.1 <= high
    assert 88 <= held <= 99


def test_pairing_uses_only_common_problems_and_counts_the_rest() -> None:
    before, after = {"a": [1, 2], "b": [0, 2], "c": [2, 2]}, {"a": [2, 2], "b": [1, 2], "d": [0, 2]}
    found = m.comparison(("before", "after"), "sums", before, after)
    assert found["difference"]["value"] == 0.5
    assert found["difference"]["n"] == 2
    assert found["unpaired"] == 2
    assert m.paired_difference({"a": [1, 1]}, {"b": [1, 1]})["reason"] == "no problem was measured on both sides"


def test_pairing_is_narrower_than_two_separate_intervals() -> None:
    rng = np.random.default_rng(5)
    before = {str(i): [int(c), 8] for i, c in enumerate(rng.choice([0, 7], 200))}
    after = {key: [c + 1, n] for key, (c, n) in before.items()}
    low, high = m.paired_difference(before, after)["ci"] or (0.0, 9.0)
    assert high - low < 1e-9
    assert low == pytest.approx(0.125)


def test_majority_votes_by_class_and_ties_go_to_the_earliest() -> None:
    def answers(*pairs: tuple[bool, str | None]) -> list[Measured]:
        words = {True: Outcome.CORRECT, False: Outcome.INCORRECT}
        return [row("p", i, words[hit], extracted=text) for i, (hit, text) in enumerate(pairs)]

    assert m.majority_share(answers((True, "1/2"), (True, "0.5"), (False, "3"))) == 1
    assert m.majority_share(answers((False, "3"), (True, "1"))) == 0
    assert m.majority_share(answers((True, "1"), (False, "3"))) == 1
    assert m.majority_share(answers((False, None), (False, None), (True, "1"))) == 1
    assert m.majority_share([]) == 0


def test_every_outcome_word_is_counted_apart() -> None:
    rows = [row("p", i, outcome) for i, outcome in enumerate(Outcome)]
    found = m.measure_group(rows)
    assert found["outcomes"] == dict.fromkeys([o.value for o in Outcome], 1)
    assert found["truncated_rate"]["value"] == pytest.approx(1 / 6)
    assert found["no_answer_rate"]["value"] == pytest.approx(1 / 6)
    assert found["pass_at_1"]["value"] == pytest.approx(1 / 6)
    assert m.measure_group(rows[:1])["outcomes"]["timed_out"] == 0


def test_lengths_leave_unknown_counts_out_and_count_them() -> None:
    rows = [
        row("a", 0, num_tokens=10),
        row("a", 1, Outcome.INCORRECT, num_tokens=30),
        row("b", 0, num_tokens=100),
        row("c", 0, Outcome.INCORRECT, num_tokens=None),
    ]
    found = m.lengths(rows)
    assert found["mean"]["value"] == pytest.approx((20 + 100) / 2)
    assert found["mean"]["n"] == 2
    assert (found["median"], found["max"], found["total"], found["unknown"]) == (30, 100, 140, 1)
    assert found["per_correct"] == 70
    assert found["mean_when_correct"] == 55
    assert found["mean_when_incorrect"] == 30


def test_thinking_and_answer_tokens_stand_apart() -> None:
    rows = [
        row("a", 0, num_tokens=100, num_thinking_tokens=80),
        row("a", 1, Outcome.INCORRECT, num_tokens=50, num_thinking_tokens=50),
        row("b", 0, Outcome.INCORRECT, num_tokens=40, num_thinking_tokens=0),
        row("c", 0, Outcome.TRUNCATED, num_tokens=500, num_thinking_tokens=None),
    ]
    found = m.lengths(rows)
    assert found["thinking"]["mean"]["value"] == pytest.approx((65 + 0) / 2)
    assert found["answer"]["mean"]["value"] == pytest.approx((10 + 40) / 2)
    assert (found["thinking"]["median"], found["thinking"]["samples"]) == (50, 3)
    assert found["thinking"]["p95"] == pytest.approx(np.quantile([80, 50, 0], 0.95))
    assert found["when_correct"]["mean"]["value"] == 100
    assert found["when_incorrect"]["mean"]["value"] == 45
    assert found["when_incorrect"]["samples"] == 2
    assert found["per_solved_problem"] == 690
    assert found["p95"] == pytest.approx(np.quantile([100, 50, 40, 500], 0.95))


def test_shares_of_rules_and_the_best_by_score_have_intervals() -> None:
    rows = [
        row("a", 0, rule="boxed", scores={"r": 0.1}),
        row("a", 1, Outcome.INCORRECT, rule="last_number", scores={"r": 0.9}),
        row("b", 0, rule="boxed", scores={"r": 0.9}),
        row("b", 1, Outcome.UNDECIDED, scores={"r": 0.1}),
    ]
    found = m.measure_group(rows)
    assert {name: one["value"] for name, one in found["rule_shares"].items()} == {
        "boxed": 0.5,
        "last_number": 0.25,
        "none": 0.25,
    }
    assert found["rule_shares"]["boxed"]["n"] == 2
    assert found["best_of_n"]["r"]["value"] == 0.5
    assert found["best_of_n"]["r"]["ci"] is not None
    assert list(found["maj_at_k"]) == ["1", "2"]
    assert found["maj_at_k"]["1"]["value"] == pytest.approx(found["pass_at_1"]["value"])
    assert found["std_over_runs_ddof"] == 1
    assert found["g_pass_at_k"] == {}
    assert list(m.measure_group(grid([1, 4], 5))["g_pass_at_k"]) == ["4@0.5", "4@0.75", "4@1.0"]


def test_levels_come_easiest_first_and_no_level_last() -> None:
    rows = [row("a", 0, level=None), row("b", 0, level=10), row("c", 0, level=2)]
    found = m.measurement(rows)
    assert list(found["by_level"]) == ["2", "10", "unknown"]
    assert found["by_level"]["unknown"]["problems"] == 1


def test_nothing_measured_is_null_with_a_reason_everywhere() -> None:
    found = m.measurement([])
    assert found["pass_at_1"] == {"value": None, "se": None, "ci": None, "interval": None, "n": 0, "reason": "no problems"}
    assert found["tokens"]["mean"]["reason"] == "no token counts"
    assert found["tokens"]["per_correct"] is None
    assert found["std_over_runs"] is None
    assert "NaN" not in m.dumps(dict(found))


def test_one_problem_has_a_value_and_says_why_it_has_no_error() -> None:
    found = m.measure_group(grid([2], 4))["pass_at_1"]
    assert (found["value"], found["se"], found["ci"]) == (0.5, None, None)
    assert "one problem" in found["reason"]


def test_the_average_weighs_benchmarks_equally_and_adds_squared_errors() -> None:
    small, large = [0.0, 1.0, 0.5, 0.5], [0.25, 0.75] * 50
    found = m.average({"small": small, "large": large})
    assert found["value"] == pytest.approx(0.5)
    errors = [m.standard_error(small) or 0, m.standard_error(large) or 0]
    assert found["se"] == pytest.approx(math.hypot(*errors) / 2)
    low, high = found["ci"] or (0, 0)
    assert high - low == pytest.approx(2 * 1.96 * (found["se"] or 0), rel=0.2)
    assert found["n"] == 104
    assert m.average({})["value"] is None
    assert m.average({"only": small})["value"] == 0.5


def test_arrival_order_changes_no_byte() -> None:
    rows = [
        row(f"p{i % 37}", i // 37, random.Random(i).choice(list(Outcome)), level=i % 37 % 5, num_tokens=i) for i in range(296)
    ]
    shuffled = random.Random(1).sample(rows, len(rows))
    assert m.dumps(dict(m.measurement(rows))) == m.dumps(dict(m.measurement(shuffled)))


def test_the_json_is_sorted_rounded_and_refuses_what_is_not_a_number() -> None:
    text = m.dumps({"b": 1 / 3, "a": [[1, 2], -1e-9], "c": {"x": "[\n1\n]"}})
    assert json.loads(text) == {"a": [[1, 2], 0.0], "b": 0.333333, "c": {"x": "[\n1\n]"}}
    assert text.index('"a"') < text.index('"b"')
    assert "[1, 2]" in text
    assert "-0.0" not in text
    with pytest.raises(ValueError, match="NaN"):
        m.dumps({"x": float("nan")})


def test_numpy_is_not_imported_before_a_figure_is_asked_for() -> None:
    code = "import sys, stillwise.evaluate.metrics; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_thousand_problems_take_no_time() -> None:
    import time

    rows = [row(f"p{i % 1000}", i // 1000, num_tokens=i % 777, level=i % 5) for i in range(4000)]
    began = time.process_time()
    m.measurement(rows)
    assert time.process_time() - began < 5
