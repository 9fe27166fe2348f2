"""What a titration found: medians with censoring, rank correlations, and the points of Figure 2 (curriculum paper, §3.2).

A problem that no prefix solved is *censored*: its context ratio is somewhere above 1, so it takes part in a median as larger
than every number, and in a rank correlation as a tie at the top. Medians over the solved ones alone stand beside, labelled.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from stillwise.arrows import Scaffold
from stillwise.evaluate.metrics import level_key, level_order, nothing, percentile_interval
from stillwise.evaluate.shape import Estimate, Metrics, TitrationFacts, TitrationGroup, TitrationSection
from stillwise.evaluate.wording import NOTHING, level_name, markdown_table, percent, plain_table, points
from stillwise.records import derive_seed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RESAMPLES = 10_000
CHUNK = 500
BOOTSTRAP = "bootstrap over problems"
BONETT_WRIGHT = "Bonett–Wright"
"""Bonett & Wright (2000): Fisher's transformation of Spearman's coefficient with variance (1 + r²/2) / (n - 3)."""
Z95 = 1.959963984540054
AMONG_CENSORED = "the upper end lies among problems that were never solved: at least 1"
MOST_CENSORED = "half of the problems or more were never solved"


def titration_section(
    scaffolds: Sequence[Scaffold], *, groups: Sequence[str], attempts: int, facts: TitrationFacts
) -> TitrationSection:
    """All figures of one titration; ``groups`` the easiest first."""
    held = _grouped((item.group, item) for item in scaffolds)
    order = [name for name in groups if name in held] + sorted(set(held) - set(groups))
    levels = _grouped((level_key(item.level), item) for item in scaffolds)
    ends = [held[name] for name in (groups[0], groups[-1]) if name in held] if len(groups) > 1 else []
    given = sorted(item.units for item in scaffolds)
    return TitrationSection(
        **facts,
        attempts=attempts,
        order=order,
        groups={name: group_figures(held[name]) for name in order},
        by_level={key: group_figures(levels[key]) for key in sorted(levels, key=level_order)},
        difference=median_difference(*map(_contexts, ends)) if len(ends) == 2 else None,
        level_and_context=_level_and_context(scaffolds),
        context_and_generation=_context_and_generation(scaffolds),
        units=[given[(len(given) - 1) // 2], given[-1]] if given else [],
        points=[[item.group, item.level, item.context_ratio, item.generation_ratio] for item in scaffolds],
    )


def _grouped(items: Iterable[tuple[str, Scaffold]]) -> dict[str, list[Scaffold]]:
    groups: dict[str, list[Scaffold]] = {}
    for key, item in items:
        groups.setdefault(key, []).append(item)
    return groups


def _contexts(items: Iterable[Scaffold]) -> list[float]:
    """Context ratios by problem id ascending, infinity where the problem is censored."""
    ordered = sorted(items, key=lambda item: item.problem_id)
    return [math.inf if item.context_ratio is None else item.context_ratio for item in ordered]


def group_figures(items: Sequence[Scaffold]) -> TitrationGroup:
    """Counts and medians of one group."""
    contexts = _contexts(items)
    solved = [item for item in sorted(items, key=lambda item: item.problem_id) if item.censored is None]
    generated = [ratio for item in solved if (ratio := item.generation_ratio) is not None]
    return TitrationGroup(
        n=len(items),
        solved=len(solved),
        censored=dict(sorted(Counter(item.censored for item in items if item.censored).items())),
        context_ratio=median_estimate(contexts),
        context_ratio_solved=median_estimate([ratio for ratio in contexts if ratio < math.inf]),
        generation_ratio=median_estimate(generated),
    )


def median_estimate(values: Sequence[float], seed: int = 0) -> Estimate:
    """The median with a bootstrap interval; infinite values are censored ones, known to be above 1 only."""
    import numpy as np

    if not values:
        return nothing("no problems")
    value = float(np.median(values))
    found = Estimate(value=value, se=None, ci=None, interval=None, n=len(values))
    if value == math.inf:
        return {**found, "value": None, "reason": MOST_CENSORED}
    if len(values) == 1:
        return {**found, "reason": "one problem: no spread over problems"}
    return _with_interval(found, _medians(values, seed))


def _with_interval(found: Estimate, drawn: Floats) -> Estimate:
    import numpy as np

    reached = bool(np.isinf(np.quantile(drawn, 0.975, method="nearest")))
    found = {**found, "ci": percentile_interval(np.where(np.isinf(drawn), 1.0, drawn)), "interval": BOOTSTRAP}
    return {**found, "reason": AMONG_CENSORED} if reached else found


def _medians(values: Sequence[float], seed: int) -> Floats:
    """The medians of 10,000 resamples, unsorted."""
    import numpy as np

    rng, array = np.random.default_rng(seed), np.asarray(values, dtype=np.float64)
    shape = (CHUNK, len(array))
    drawn = [np.median(array[rng.integers(0, len(array), shape)], axis=1) for _ in range(RESAMPLES // CHUNK)]
    return np.concatenate(drawn)


def median_difference(first: Sequence[float], last: Sequence[float]) -> Estimate:
    """Median of the last minus median of the first; the two groups are resampled apart, for their problems are others."""
    import numpy as np

    value = float(np.median(last)) - float(np.median(first))
    found = Estimate(value=value, se=None, ci=None, interval=None, n=len(first) + len(last))
    if not math.isfinite(value):
        return {**found, "value": None, "reason": MOST_CENSORED}
    pairs = [_medians(group, derive_seed("titration", place)) for place, group in enumerate((first, last))]
    finite = [np.where(np.isinf(each), 1.0, each) for each in pairs]
    touched = bool(np.isinf(np.quantile(pairs[1], 0.975, method="nearest")))
    found = {**found, "ci": percentile_interval(finite[1] - finite[0]), "interval": BOOTSTRAP}
    return {**found, "reason": AMONG_CENSORED} if touched else found


def _level_and_context(items: Iterable[Scaffold]) -> Estimate:
    known = [item for item in items if item.level is not None]
    ratios = [math.inf if item.context_ratio is None else item.context_ratio for item in known]
    return rank_correlation([float(item.level or 0) for item in known], ratios)


def _context_and_generation(items: Iterable[Scaffold]) -> Estimate:
    pairs = [(item.context_ratio, item.generation_ratio) for item in items]
    known = [(context, generation) for context, generation in pairs if context is not None and generation is not None]
    return rank_correlation([context for context, _ in known], [generation for _, generation in known])


def rank_correlation(left: Sequence[float], right: Sequence[float]) -> Estimate:
    """Spearman's coefficient with mean ranks for ties and its Bonett-Wright interval; null where a side does not vary."""
    import numpy as np

    n = len(left)
    if n < 2 or len(set(left)) < 2 or len(set(right)) < 2:
        return {**nothing("nothing varies" if n > 1 else "too few problems"), "n": n}
    value = float(np.corrcoef(_ranks(left), _ranks(right))[0, 1])
    found = Estimate(value=value, se=None, ci=None, interval=None, n=n)
    if n < 4 or abs(value) > 1 - 1e-12:
        return {**found, "reason": "too few problems, or perfect agreement: no interval"}
    half = Z95 * math.sqrt((1 + value**2 / 2) / (n - 3))
    ci = [math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)]
    return {**found, "ci": ci, "interval": BONETT_WRIGHT}


def _ranks(values: Sequence[float]) -> Floats:
    """Ranks from 1, the mean of their places for ties."""
    import numpy as np

    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[inverse]
    return ranks


def titrations(found: Metrics) -> dict[str, TitrationSection]:
    """Sections by step, in the recipe's order."""
    held = found.get("titration", {})
    named = found.get("order", {}).get("titration", [])
    return {name: held[name] for name in (*named, *sorted(set(held) - set(named))) if name in held}


HEAD = ["", "problems", "solved", "never solved", "context ratio, all", "context ratio, solved", "generation ratio, solved"]


def titration_table(section: TitrationSection) -> list[list[str]]:
    """Rows under ``HEAD``: groups, then levels; medians in percent with 95 % intervals."""
    groups = [(name, section["groups"][name]) for name in section["order"]]
    levels = [(level_name(key), one) for key, one in section["by_level"].items()]
    return [[name, *_cells(one)] for name, one in (*groups, *levels)]


def _cells(one: TitrationGroup) -> list[str]:
    counts = [f"{one['n']:,}", f"{one['solved']:,}", f"{sum(one['censored'].values()):,}"]
    return [*counts, *(_ratio(one[key]) for key in ("context_ratio", "context_ratio_solved", "generation_ratio"))]


def _ratio(found: Estimate) -> str:
    if found["value"] is None:
        return "above 100 %" if found.get("reason") == MOST_CENSORED else NOTHING
    if found["ci"] is None:
        return percent(found["value"], 0)
    more = "≥ " if found.get("reason") == AMONG_CENSORED else ""
    return f"{100 * found['value']:.0f} % [{100 * found['ci'][0]:.0f}, {more}{100 * found['ci'][1]:.0f}]"


def titration_notes(section: TitrationSection) -> list[str]:
    """What stands under the table: the groups' difference and the two rank correlations."""
    lines = []
    if found := section["difference"]:
        ends = f"median context ratio, {section['order'][-1]} minus {section['order'][0]}"
        lines.append(f"{ends}: {points(found)} points" + (f" ({found['reason']})" if "reason" in found else ""))
    pairs = (("level_and_context", "level and context ratio"), ("context_and_generation", "context and generation ratio"))
    for key, words in pairs:
        one: Estimate = section[key]  # type: ignore[literal-required]
        lines.append(f"Spearman's ρ of {words}: {correlation(one)}")
    return lines


def correlation(found: Estimate) -> str:
    """A coefficient with interval and n."""
    if found["value"] is None:
        return f"{NOTHING} ({found.get('reason', '')})"
    interval = f" [{found['ci'][0]:+.2f}, {found['ci'][1]:+.2f}]" if found["ci"] else ""
    return f"{found['value']:+.2f}{interval}, n = {found['n']:,}"


def titration_text(found: Metrics) -> str:
    """The tables for a terminal; empty where nothing was titrated."""
    held = titrations(found).items()
    blocks = [[_title(name, one), plain_table(HEAD, titration_table(one)), *titration_notes(one)] for name, one in held]
    return "\n\n".join("\n".join(block) for block in blocks)


def titration_markdown(found: Metrics) -> str:
    """The tables as Markdown; empty where nothing was titrated."""
    blocks = []
    for name, one in titrations(found).items():
        notes = "\n".join(f"- {note}" for note in titration_notes(one))
        blocks.append("\n\n".join([f"## {_title(name, one)}", markdown_table(HEAD, titration_table(one)), notes]))
    return "\n\n".join(blocks)


def _title(name: str, one: TitrationSection) -> str:
    return f"{name}: thoughts given to the {one['role']}, {one['samples']} answers a prefix, {one['search']} search"
