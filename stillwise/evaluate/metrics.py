"""Figures of repeated samples: pass@k, majority, lengths, rates, their errors, and paired differences. Pure functions.

Two spreads are kept apart. The *standard error over problems* says how far the mean would move with other problems of the
same kind; it is what the ± of Table 1 fits (ten MATH-500 values between 1.75 and 1.82 points), although the caption calls it
a standard deviation (Teach Small Models to Reason by Curriculum Distillation, Table 1). The *standard deviation over runs*
says how far one more run of one sample per problem would move on these same problems.

Means and intervals are made in ``estimates``, votes in ``votes``, token figures in ``lengths``; this module puts them together.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stillwise.evaluate.estimates import (
    BOOTSTRAP,
    CLUSTER,
    RESAMPLES,
    WILSON,
    average,
    bootstrap_means,
    cluster_estimate,
    deviation,
    estimate,
    nothing,
    percentile_interval,
    standard_error,
    wilson_interval,
)
from stillwise.evaluate.lengths import lengths, token_means
from stillwise.evaluate.rows import UNKNOWN_LEVEL, Measured, by_level, by_problem, level_key, level_order, shares
from stillwise.evaluate.shape import Comparison, Counts, Estimate, Measurement
from stillwise.evaluate.votes import best_share, g_pass_at_k, is_tied, majority_at_k, majority_share, pass_at_k
from stillwise.records import Outcome

__all__ = [
    "AVERAGE", "BOOTSTRAP", "CLUSTER", "RESAMPLES", "UNKNOWN_LEVEL", "WILSON", "Measured", "average", "bootstrap_means",
    "by_level", "by_problem", "cluster_estimate", "comparison", "deviation", "dumps", "estimate", "lengths", "level_key",
    "level_order", "majority_share", "measure_group", "measurement", "nothing", "outcome_counts", "paired_difference",
    "paired_values", "pass_at_k", "percentile_interval", "rate", "score_tally", "shares", "standard_error", "tally",
    "token_means", "tokens_tally", "wilson_interval",
]  # fmt: skip

NUMBER_LIST = re.compile(r"\[\n([-+.eE\d,\s]*)\]")
"""A list of numbers as the indented writer breaks it; strings hold no raw line break, so none can match."""
AVERAGE = "average"
DDOF = 1
LOWEST = " (lowest)"
"""Behind a score's name where the sample with the lowest score was chosen."""
STRICTNESS = (0.5, 0.75, 1.0)
"""The shares of correct samples that G-Pass@k asks for."""


def rate(rows: Iterable[Measured], outcome: Outcome) -> Estimate:
    """The mean over problems of the share of samples with this outcome."""
    return estimate(shares(rows, lambda row: row.outcome is outcome), share=True)


def outcome_counts(outcomes: Iterable[Outcome]) -> Counts:
    """Samples by outcome; all six words are present, 0 included."""
    counted = Counter(outcomes)
    return {outcome.value: counted[outcome] for outcome in Outcome}


def accuracy_by_run(rows: Iterable[Measured]) -> list[float]:
    """Accuracy of each run (every problem's sample i), runs ascending; a run counts the problems that have such a sample."""
    runs: dict[int, list[bool]] = defaultdict(list)
    for row in rows:
        runs[row.sample_index].append(row.correct)
    return [sum(runs[i]) / len(runs[i]) for i in sorted(runs)]


def _ks(groups: Iterable[Sequence[Measured]]) -> list[int]:
    """1, 2, 4, … up to the smallest number of samples of a problem."""
    smallest = min(map(len, groups), default=0)
    return [2**i for i in range(smallest.bit_length()) if 2**i <= smallest]


def all_pass_at_k(groups: Iterable[Sequence[Measured]]) -> dict[str, Estimate]:
    """pass@k for k = 1, 2, 4, … up to the smallest number of samples of a problem."""
    held = list(groups)
    pairs = [(sum(row.correct for row in group), len(group)) for group in held]
    return {str(k): estimate([pass_at_k(c, n, k) for c, n in pairs], share=True) for k in _ks(held)}


def all_majority_at_k(groups: Iterable[Sequence[Measured]]) -> dict[str, Estimate]:
    """maj@k for the same k."""
    held = list(groups)
    return {str(k): estimate([majority_at_k(group, k) for group in held], share=True) for k in _ks(held)}


def all_g_pass(groups: Iterable[Sequence[Measured]]) -> dict[str, Estimate]:
    """G-Pass@k for the largest k of ``pass_at_k``, by the share of correct samples asked for: ``8@0.75``; none below four."""
    held = list(groups)
    k = max(_ks(held), default=0)
    pairs = [(sum(row.correct for row in group), len(group)) for group in held] if k >= 4 else []
    return {
        f"{k}@{share}": estimate([g_pass_at_k(c, n, k, share) for c, n in pairs], share=True) for share in STRICTNESS if pairs
    }


def best_of_n(rows: Sequence[Measured]) -> dict[str, Estimate]:
    """By score, highest and lowest: the share of problems whose sample with that score is right."""
    names = sorted({name for row in rows for name in row.scores})
    groups = by_problem(rows).values()
    return {
        f"{name}{LOWEST if lowest else ''}": estimate([best_share(group, name, lowest=lowest) for group in groups], share=True)
        for name in names
        for lowest in (False, True)
    }


def mean_scores(rows: Sequence[Measured]) -> dict[str, Estimate]:
    """By score, the mean over problems of the mean over their samples that have it."""
    groups, names = by_problem(rows).values(), sorted({name for row in rows for name in row.scores})
    held = {name: [[row.scores[name] for row in group if name in row.scores] for group in groups] for name in names}
    return {name: estimate([sum(each) / len(each) for each in found if each], share=False) for name, found in held.items()}


def rule_shares(rows: Sequence[Measured]) -> dict[str, Estimate]:
    """By the rule that found the answer (``none`` where none did): the mean over problems of its share of samples."""
    rules = sorted({row.rule or "none" for row in rows})
    return {rule: estimate(shares(rows, _found_by(rule)), share=True) for rule in rules}


def _found_by(rule: str) -> Callable[[Measured], bool]:
    return lambda row: (row.rule or "none") == rule


def measure_group(rows: Sequence[Measured]) -> Measurement:
    """Every figure of one group of samples, without its levels."""
    groups = by_problem(rows)
    runs = accuracy_by_run(rows)
    return Measurement(
        problems=len(groups),
        samples=len(rows),
        pass_at_1=estimate(shares(rows, lambda row: row.correct), share=True),
        pass_at_1_cluster=cluster_estimate([(c, n) for c, n in tally(rows).values()]),
        std_over_runs=deviation(runs),
        std_over_runs_ddof=DDOF,
        accuracy_by_run=runs,
        pass_at_k=all_pass_at_k(groups.values()),
        g_pass_at_k=all_g_pass(groups.values()),
        maj_at_n=estimate([majority_share(group) for group in groups.values()], share=True),
        maj_at_k=all_majority_at_k(groups.values()),
        maj_ties=sum(map(is_tied, groups.values())),
        best_of_n=best_of_n(rows),
        mean_scores=mean_scores(rows),
        tokens=lengths(rows),
        truncated_rate=rate(rows, Outcome.TRUNCATED),
        no_answer_rate=rate(rows, Outcome.UNDECIDED),
        outcomes=outcome_counts(row.outcome for row in rows),
        rules=dict(sorted(Counter(row.rule or "none" for row in rows).items())),
        rule_shares=rule_shares(rows),
        graders=dict(sorted(Counter(row.grader or "none" for row in rows).items())),
    )


def measurement(rows: Sequence[Measured]) -> Measurement:
    """Every figure of one benchmark, overall and by level."""
    whole = measure_group(rows)
    whole["by_level"] = {key: measure_group(group) for key, group in by_level(rows).items()}
    return whole


PerProblem = Mapping[str, Sequence[float]]
"""Problem id: [correct, samples] or any other pair whose quotient is the problem's share."""


def tally(rows: Iterable[Measured]) -> dict[str, list[int]]:
    """Problem id: [correct, samples]."""
    return {key: [sum(row.correct for row in group), len(group)] for key, group in by_problem(rows).items()}


def tokens_tally(rows: Iterable[Measured]) -> dict[str, list[int]]:
    """Problem id: [tokens, samples whose tokens are known]; problems without any are left out."""
    groups = by_problem(row for row in rows if row.num_tokens is not None)
    return {key: [sum(row.num_tokens or 0 for row in group), len(group)] for key, group in groups.items()}


def score_tally(rows: Iterable[Measured], name: str) -> dict[str, list[float]]:
    """Problem id: [sum of this score, samples that have it]; problems without any are left out."""
    groups = by_problem(row for row in rows if name in row.scores)
    return {key: [sum(row.scores[name] for row in group), float(len(group))] for key, group in groups.items()}


def paired_values(before: PerProblem, after: PerProblem) -> list[float]:
    """After minus before for every problem that both have, by problem id ascending."""
    common = sorted(set(before) & set(after))
    return [after[key][0] / after[key][1] - before[key][0] / before[key][1] for key in common]


def paired_difference(before: PerProblem, after: PerProblem, seed: int = 0) -> Estimate:
    """The mean difference after minus before on the same problems, with a paired bootstrap interval over problems."""
    return estimate(paired_values(before, after), share=False, seed=seed, empty="no problem was measured on both sides")


def comparison(
    names: tuple[str, str], benchmark: str, before: PerProblem, after: PerProblem, level: str | None = None
) -> Comparison:
    """One row of the comparison table; ``names`` are from and to."""
    return Comparison(
        {
            "from": names[0],
            "to": names[1],
            "benchmark": benchmark,
            "level": level,
            "difference": paired_difference(before, after),
            "unpaired": len(set(before) ^ set(after)),
        }
    )


def rounded(value: Any) -> Any:
    """The value with every float at six decimals; a NaN or an infinity is an error, not a number."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("metrics hold no NaN and no infinity: unknown is null, with a reason")
        return round(value, 6) + 0.0
    if isinstance(value, Mapping):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return value


def dumps(metrics: Mapping[str, Any]) -> str:
    """``metrics.json`` as text: sorted keys, six decimals, equal bytes for equal figures."""
    text = json.dumps(rounded(metrics), sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False)
    return NUMBER_LIST.sub(lambda found: "[" + " ".join(found[1].split()) + "]", text) + "\n"
