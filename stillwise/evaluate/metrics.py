"""Figures of repeated samples: pass@k, majority, lengths, rates, their errors, and paired differences. Pure functions.

Two spreads are kept apart. The *standard error over problems* says how far the mean would move with other problems of the
same kind; it is what the ± of Table 1 fits (ten MATH-500 values between 1.75 and 1.82 points), although the caption calls it
a standard deviation (Teach Small Models to Reason by Curriculum Distillation, Table 1). The *standard deviation over runs*
says how far one more run of one sample per problem would move on these same problems.

Intervals are 95 %: percentile bootstrap over problems (10,000 resamples, fixed seed). Where every problem's share is 0 or 1
(one sample each, or all right, where a bootstrap would claim certainty) it is Wilson's, with each problem as one trial.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stillwise.evaluate.shape import Comparison, Counts, Estimate, Lengths, Measurement
from stillwise.records import Finish, Outcome, derive_seed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RESAMPLES = 10_000
Z95 = 1.959963984540054
BOOTSTRAP = "bootstrap over problems"
WILSON = "Wilson"
FEW_VALUES = 64
"""Up to this many distinct values a resample is drawn as their counts: the same distribution, far fewer draws."""
CHUNK = 1_000
NUMBER_LIST = re.compile(r"\[\n([-+.eE\d,\s]*)\]")
"""A list of numbers as the indented writer breaks it; strings hold no raw line break, so none can match."""
UNKNOWN_LEVEL = "unknown"
AVERAGE = "average"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The narrow columns of one graded sample."""

    benchmark: str
    problem_id: str
    level: int | None
    sample_index: int
    outcome: Outcome
    rule: str | None = None
    num_tokens: int | None = None
    finish: Finish = Finish.STOP
    extracted: str | None = None

    @property
    def correct(self) -> bool:
        """True only for the outcome ``correct``."""
        return self.outcome is Outcome.CORRECT


def level_key(level: int | None) -> str:
    """The level as a key of ``metrics.json``."""
    return UNKNOWN_LEVEL if level is None else str(level)


def level_order(key: str) -> tuple[bool, float, str]:
    """Sorting key of level keys: by number, unknown last."""
    return (not key.isdigit(), float(key) if key.isdigit() else 0.0, key)


def by_problem(rows: Iterable[Measured]) -> dict[str, list[Measured]]:
    """Rows by problem id, ids and sample indices ascending: no number depends on the order of arrival."""
    groups: dict[str, list[Measured]] = defaultdict(list)
    for row in rows:
        groups[row.problem_id].append(row)
    return {key: sorted(groups[key], key=lambda row: row.sample_index) for key in sorted(groups)}


def by_level(rows: Iterable[Measured]) -> dict[str, list[Measured]]:
    """Rows by level key, easiest first."""
    groups: dict[str, list[Measured]] = defaultdict(list)
    for row in rows:
        groups[level_key(row.level)].append(row)
    return {key: groups[key] for key in sorted(groups, key=level_order)}


def bootstrap_means(values: Sequence[float], seed: int = 0) -> Floats:
    """The means of 10,000 resamples (with replacement) of the values, unsorted; shape (10,000,)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    array = np.asarray(values, dtype=np.float64)
    distinct, counts = np.unique(array, return_counts=True)
    if len(distinct) <= FEW_VALUES:
        drawn = rng.multinomial(len(array), counts / len(array), size=RESAMPLES)
        return np.asarray((drawn * distinct).sum(axis=1) / len(array))
    chunks = [rng.integers(0, len(array), (CHUNK, len(array)), dtype=np.int32) for _ in range(RESAMPLES // CHUNK)]
    return np.concatenate([array[chunk].mean(axis=1) for chunk in chunks])


def percentile_interval(means: Floats) -> list[float]:
    """The middle 95 % of bootstrap means."""
    import numpy as np

    low, high = np.quantile(means, [0.025, 0.975])
    return [float(low), float(high)]


def wilson_interval(share: float, n: int) -> list[float]:
    """Wilson's 95 % score interval of a share of n trials."""
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    return [max(0.0, centre - half), min(1.0, centre + half)]


def standard_error(values: Sequence[float]) -> float | None:
    """Standard deviation (ddof 1) over the root of n; None under two values."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))


def nothing(reason: str) -> Estimate:
    """The estimate of a mean that nobody measured."""
    return Estimate(value=None, se=None, ci=None, interval=None, n=0, reason=reason)


def estimate(values: Sequence[float], *, share: bool, seed: int = 0, empty: str = "no problems") -> Estimate:
    """The mean of one value per problem, its standard error and its interval; ``share`` says that values lie in 0 … 1."""
    n = len(values)
    if n == 0:
        return nothing(empty)
    mean = math.fsum(values) / n
    found = Estimate(value=mean, se=standard_error(values), ci=None, interval=None, n=n)
    if share and set(values) <= {0.0, 1.0}:
        found["ci"], found["interval"] = wilson_interval(mean, n), WILSON
    elif n == 1:
        found["reason"] = "one problem: no spread over problems"
    else:
        found["ci"], found["interval"] = percentile_interval(bootstrap_means(values, seed)), BOOTSTRAP
    return found


def pass_at_k(correct: int, samples: int, k: int) -> float:
    """1 - C(samples - correct, k) / C(samples, k), the unbiased estimate for one problem; k above samples is an error."""
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples, not {samples}")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def majority_share(rows: Sequence[Measured]) -> float:
    """1 if the most frequent answer of one problem's samples is right, else 0; ties go to the earliest sample.

    Correct samples are one class whatever they look like (the grader called them equal to the reference); wrong ones are
    classes by extracted text. A sample without an answer does not vote.
    """
    votes = [("correct", "") if row.correct else ("wrong", row.extracted) for row in rows]
    counts = Counter(vote for vote in votes if vote[1] is not None)
    return float(bool(counts) and counts.most_common(1)[0][0][0] == "correct")


def shares(rows: Iterable[Measured], hit: Callable[[Measured], bool]) -> list[float]:
    """Each problem's share of samples that hit, by problem id ascending."""
    return [sum(map(hit, group)) / len(group) for group in by_problem(rows).values()]


def rate(rows: Iterable[Measured], outcome: Outcome) -> Estimate:
    """The mean over problems of the share of samples with this outcome."""
    return estimate(shares(rows, lambda row: row.outcome is outcome), share=True)


def outcome_counts(outcomes: Iterable[Outcome]) -> Counts:
    """Samples by outcome; all six words are present, 0 included."""
    counted = Counter(outcomes)
    return {outcome.value: counted[outcome] for outcome in Outcome}


def token_means(rows: Iterable[Measured]) -> Estimate:
    """Mean over problems of the mean tokens of the samples whose count is known."""
    groups = by_problem(row for row in rows if row.num_tokens is not None).values()
    return estimate([_mean_tokens(group) for group in groups], share=False, empty="no token counts")


def _mean_tokens(rows: Sequence[Measured]) -> float:
    return sum(row.num_tokens or 0 for row in rows) / len(rows)


def lengths(rows: Sequence[Measured]) -> Lengths:
    """Tokens per answer: mean with its interval, median, 90th percentile, total, and per correct answer."""
    import numpy as np

    known = [row for row in rows if row.num_tokens is not None]
    counts = [row.num_tokens or 0 for row in known]
    right, wrong = [r for r in known if r.correct], [r for r in known if r.outcome is Outcome.INCORRECT]
    return Lengths(
        mean=token_means(rows),
        median=float(np.median(counts)) if counts else None,
        p90=float(np.quantile(counts, 0.9)) if counts else None,
        max=max(counts, default=None),
        total=sum(counts),
        per_correct=sum(counts) / len(right) if right else None,
        mean_when_correct=_mean_tokens(right) if right else None,
        mean_when_incorrect=_mean_tokens(wrong) if wrong else None,
        unknown=len(rows) - len(known),
    )


def accuracy_by_run(rows: Iterable[Measured]) -> list[float]:
    """Accuracy of each run (every problem's sample i), runs ascending; a run counts the problems that have such a sample."""
    runs: dict[int, list[bool]] = defaultdict(list)
    for row in rows:
        runs[row.sample_index].append(row.correct)
    return [sum(runs[i]) / len(runs[i]) for i in sorted(runs)]


def deviation(values: Sequence[float]) -> float | None:
    """Standard deviation (ddof 1); None under two values."""
    error = standard_error(values)
    return None if error is None else error * math.sqrt(len(values))


def all_pass_at_k(groups: Iterable[Sequence[Measured]]) -> dict[str, Estimate]:
    """pass@k for k = 1, 2, 4, … up to the smallest number of samples of a problem."""
    pairs = [(sum(row.correct for row in group), len(group)) for group in groups]
    smallest = min((n for _, n in pairs), default=0)
    ks = [2**i for i in range(smallest.bit_length()) if 2**i <= smallest]
    return {str(k): estimate([pass_at_k(c, n, k) for c, n in pairs], share=True) for k in ks}


def measure_group(rows: Sequence[Measured]) -> Measurement:
    """Every figure of one group of samples, without its levels."""
    groups = by_problem(rows)
    runs = accuracy_by_run(rows)
    return Measurement(
        problems=len(groups),
        samples=len(rows),
        pass_at_1=estimate(shares(rows, lambda row: row.correct), share=True),
        std_over_runs=deviation(runs),
        accuracy_by_run=runs,
        pass_at_k=all_pass_at_k(groups.values()),
        maj_at_n=estimate([majority_share(group) for group in groups.values()], share=True),
        tokens=lengths(rows),
        truncated_rate=rate(rows, Outcome.TRUNCATED),
        no_answer_rate=rate(rows, Outcome.UNDECIDED),
        outcomes=outcome_counts(row.outcome for row in rows),
        rules=dict(sorted(Counter(row.rule or "none" for row in rows).items())),
    )


def measurement(rows: Sequence[Measured]) -> Measurement:
    """Every figure of one benchmark, overall and by level."""
    whole = measure_group(rows)
    whole["by_level"] = {key: measure_group(group) for key, group in by_level(rows).items()}
    return whole


def average(values: Mapping[str, Sequence[float]], *, share: bool = True) -> Estimate:
    """The unweighted mean over benchmarks of their means over problems (the paper's Average).

    Benchmarks are independent: squared errors add, and every benchmark is resampled on its own. n counts all problems.
    """
    import numpy as np

    named = {name: list(values[name]) for name in sorted(values) if len(values[name])}
    if len(named) == 0:
        return nothing("no problems")
    if len(named) == 1:
        return estimate(next(iter(named.values())), share=share)
    means = [math.fsum(v) / len(v) for v in named.values()]
    errors = [standard_error(v) for v in named.values()]
    drawn = np.mean([bootstrap_means(v, derive_seed("bootstrap", name)) for name, v in named.items()], axis=0)
    squares = [e**2 for e in errors if e is not None]
    return Estimate(
        value=math.fsum(means) / len(means),
        se=math.sqrt(math.fsum(squares)) / len(means) if len(squares) == len(means) else None,
        ci=percentile_interval(drawn),
        interval=BOOTSTRAP,
        n=sum(map(len, named.values())),
    )


PerProblem = Mapping[str, Sequence[float]]
"""Problem id: [correct, samples] or any other pair whose quotient is the problem's share."""


def tally(rows: Iterable[Measured]) -> dict[str, list[int]]:
    """Problem id: [correct, samples]."""
    return {key: [sum(row.correct for row in group), len(group)] for key, group in by_problem(rows).items()}


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
