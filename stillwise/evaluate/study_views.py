"""More tables of a study, for those that ask for them: lengths by level, pass@k, what a processor left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from stillwise.evaluate import metrics
from stillwise.evaluate.metrics import level_order
from stillwise.evaluate.policy_views import policy_tables, reward_tables, score_tables
from stillwise.evaluate.shape import Estimate
from stillwise.evaluate.view_kinds import Table
from stillwise.evaluate.views_survival import survival_tables
from stillwise.evaluate.wording import markdown_table, percent

Show = Literal["tokens_by_level", "pass_at_k", "survival", "scores", "rewards", "policies"]
Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Student: one evaluation section for each seed."""


def shown(show: Sequence[Show], rows: Rows, held: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Markdown blocks in the order asked for; ``held`` are the other sections of each student's first run, ``trained`` in it
    the training sections of all its seeds."""
    trained = {name: sections.get("trained", []) for name, sections in held.items()}
    made: Mapping[Show, Callable[[], list[str]]] = {
        "tokens_by_level": lambda: _per_benchmark(rows, _tokens_by_level),
        "pass_at_k": lambda: _per_benchmark(rows, _pass_at_k),
        "survival": lambda: _survival(held),
        "scores": lambda: _per_benchmark(rows, score_tables),
        "rewards": lambda: reward_tables(trained),
        "policies": lambda: policy_tables(trained),
    }
    return [block for name in show for block in made[name]()]


def _per_benchmark(rows: Rows, make: Callable[[Rows, str], list[str]]) -> list[str]:
    names = dict.fromkeys(name for sections in rows.values() for one in sections for name in one["order"])
    return [block for name in names for block in make(rows, name)]


def _tokens_by_level(rows: Rows, benchmark: str) -> list[str]:
    held = {
        name: _pooled_tokens([one for one in sections if benchmark in one["order"]], benchmark)
        for name, sections in rows.items()
    }
    levels = sorted({level for found in held.values() for level in found}, key=level_order)
    body = [[name, *(_with_error(found.get(level)) for level in levels)] for name, found in held.items() if found]
    title = f"## {benchmark}: tokens per answer by level"
    words = "Mean over problems of the mean over samples, all seeds pooled; ± is the standard error over problems."
    return [title, words, markdown_table(["student", *(f"level {level}" for level in levels)], body)] if body else []


def _pooled_tokens(sections: Sequence[Mapping[str, Any]], benchmark: str) -> dict[str, Estimate]:
    """Mean tokens at each level, with the error over problems."""
    sums: dict[str, dict[str, list[int]]] = {}
    for one in sections:
        for level, problems in one["tokens_per_problem"][benchmark].items():
            for problem, (tokens, samples) in problems.items():
                held = sums.setdefault(level, {}).setdefault(problem, [0, 0])
                held[0], held[1] = held[0] + tokens, held[1] + samples
    return {
        level: metrics.estimate([tokens / samples for tokens, samples in problems.values()], share=False)
        for level, problems in sums.items()
    }


def _with_error(found: Estimate | None) -> str:
    if found is None or found["value"] is None:
        return "–"
    error = found["se"]
    return f"{found['value']:.0f}" + (f" ± {error:.0f}" if error is not None else "")


def _pass_at_k(rows: Rows, benchmark: str) -> list[str]:
    held = {
        name: [one["benchmarks"][benchmark]["pass_at_k"] for one in sections if benchmark in one["benchmarks"]]
        for name, sections in rows.items()
    }
    ks = sorted({k for found in held.values() for one in found for k in one}, key=int)
    body = [
        [name, *(percent(_mean([one[k]["value"] for one in found if k in one])) for k in ks)] for name, found in held.items()
    ]
    title = f"## {benchmark}: pass@K"
    words = "Unbiased, in percent, the mean over seeds."
    return [title, words, markdown_table(["student", *(f"K = {k}" for k in ks)], body)] if len(ks) > 1 else []


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _survival(held: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Each run's tables once: students of one processor share them, under the first one's name."""
    blocks: list[str] = []
    seen: list[Table] = []
    for name, sections in held.items():
        tables: list[Table] = survival_tables(sections)  # type: ignore[arg-type]
        for one in (each for each in tables if each not in seen):
            seen.append(one)
            blocks += [f"## {name}: {one.title[0].lower()}{one.title[1:]}", one.note, markdown_table(one.head, one.body)]
    return blocks
