"""Means over problems with their uncertainty: standard errors, three intervals, averages over benchmarks, paired differences.

Intervals are 95 %. *Bootstrap over problems* resamples the problems' shares (percentile, 10,000 resamples, fixed seed). Where
every share is 0 or 1 (one sample each, or all right, where a bootstrap would claim certainty) it is *Wilson's*, with each
problem as one trial. The *cluster bootstrap* resamples problems and then the samples within each drawn problem.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from stillwise.evaluate.shape import Estimate
from stillwise.records import derive_seed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RESAMPLES = 10_000
Z95 = 1.959963984540054
BOOTSTRAP = "bootstrap over problems"
CLUSTER = "cluster bootstrap: problems, then samples"
WILSON = "Wilson"
FEW_VALUES = 64
"""Up to this many distinct values a resample is drawn as their counts: the same distribution, far fewer draws."""
CHUNK = 1_000


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


@lru_cache(maxsize=256)
def _bootstrap_interval(values: tuple[float, ...], seed: int) -> tuple[float, ...]:
    """Kept, because pass@1, avg@n and maj@1 are one list of values, and so are those of a single level."""
    return tuple(percentile_interval(bootstrap_means(values, seed)))


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


def deviation(values: Sequence[float]) -> float | None:
    """Standard deviation (ddof 1); None under two values."""
    error = standard_error(values)
    return None if error is None else error * math.sqrt(len(values))


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
        found["ci"], found["interval"] = list(_bootstrap_interval(tuple(values), seed)), BOOTSTRAP
    return found


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


def cluster_interval(counts: Sequence[tuple[int, int]], seed: int = 0) -> list[float] | None:
    """The middle 95 % of mean shares when problems are drawn and then, within each, its samples; None under two problems.

    ``counts`` are (correct, samples). Equal problems are drawn together: the sum of m binomials of n draws is one of m times n.
    """
    import numpy as np

    if len(counts) < 2:
        return None
    groups = sorted(Counter(counts).items())
    shares = np.array([correct / samples for (correct, samples), _ in groups])
    sizes = np.array([samples for (_, samples), _ in groups])
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(counts), np.array([number for _, number in groups]) / len(counts), size=RESAMPLES)
    means = (rng.binomial(drawn * sizes, shares) / sizes).sum(axis=1) / len(counts)
    return percentile_interval(means)


def cluster_estimate(counts: Sequence[tuple[int, int]]) -> Estimate:
    """The mean share of (correct, samples) with the interval of the cluster bootstrap."""
    if not counts:
        return nothing("no problems")
    shares = [correct / samples for correct, samples in counts]
    found = Estimate(
        value=math.fsum(shares) / len(shares),
        se=standard_error(shares),
        ci=cluster_interval(counts),
        interval=CLUSTER,
        n=len(shares),
    )
    if found["ci"] is None:
        found["interval"], found["reason"] = None, "one problem: no spread over problems"
    return found
