"""The paradigm probe: what each way of asking gains and costs (Teach Small Models to Reason by Curriculum Distillation, §3.1).

Every condition has all its samples of every problem (no retries, which go to hard problems alone); neighbours in the recipe's
order are compared on the same problems, in pass@1 and in tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from stillwise.evaluate import metrics
from stillwise.evaluate.metrics import Measured, level_order
from stillwise.evaluate.sections import Output, measured
from stillwise.evaluate.shape import Condition, Contrast, Metrics, ParadigmSection
from stillwise.evaluate.wording import level_name, markdown_table, number, percent_error, plain_table, points
from stillwise.records import Problem


def paradigm_section(problems: Sequence[Problem], outputs: Mapping[str, Output]) -> ParadigmSection:
    """Conditions in the order of the outputs, and the paired differences of neighbours, overall and by level."""
    rows = {name: measured("", problems, output) for name, output in outputs.items()}
    contrasts = [found for to, before in pairwise(rows) for found in _contrasts(before, to, rows[before], rows[to])]
    conditions = {name: _condition(output, rows[name]) for name, output in outputs.items()}
    return ParadigmSection(order=list(outputs), conditions=conditions, contrasts=contrasts)


def _condition(output: Output, rows: Sequence[Measured]) -> Condition:
    first = output.traces[0] if output.traces else None
    return Condition(
        role=first.role if first else "", model=first.model if first else "", measurement=metrics.measurement(rows)
    )


def _contrasts(before: str, to: str, old: Sequence[Measured], new: Sequence[Measured]) -> list[Contrast]:
    levels = [metrics.by_level(rows) for rows in (old, new)]
    keys = sorted(set(levels[0]) & set(levels[1]), key=level_order)
    return [_contrast((before, to), None, old, new), *(_contrast((before, to), k, levels[0][k], levels[1][k]) for k in keys)]


def _contrast(names: tuple[str, str], level: str | None, old: Sequence[Measured], new: Sequence[Measured]) -> Contrast:
    right = metrics.tally(old), metrics.tally(new)
    return Contrast(
        {
            "from": names[0],
            "to": names[1],
            "level": level,
            "pass_at_1": metrics.paired_difference(*right),
            "tokens": metrics.paired_difference(_tokens(old), _tokens(new)),
            "unpaired": len(set(right[0]) ^ set(right[1])),
        }
    )


def _tokens(rows: Iterable[Measured]) -> dict[str, list[int]]:
    """Problem id: [tokens, answers] over the answers whose count is known."""
    groups = metrics.by_problem(row for row in rows if row.num_tokens is not None)
    return {key: [sum(row.num_tokens or 0 for row in group), len(group)] for key, group in groups.items()}


def scales(found: Metrics) -> dict[str, ParadigmSection]:
    """The sections of all scales, in the order of the study or run."""
    held = found.get("paradigms", {})
    named = found.get("order", {}).get("paradigms", [])
    return {name: held[name] for name in (*named, *sorted(set(held) - set(named))) if name in held}


def paradigm_tables(found: Metrics) -> list[tuple[str, list[str], list[list[str]]]]:
    """(title, head, rows): for each scale the conditions by level, then the differences by level."""
    return [
        table
        for scale, section in scales(found).items()
        for table in (_condition_table(scale, section), *_contrast_tables(scale, section))
    ]


def _condition_table(scale: str, section: ParadigmSection) -> tuple[str, list[str], list[list[str]]]:
    held = [section["conditions"][name]["measurement"] for name in section["order"]]
    levels = sorted({key for one in held for key in one.get("by_level", {})}, key=level_order)
    rows = []
    for key in [*levels, None]:
        groups = [one if key is None else one.get("by_level", {}).get(key) for one in held]
        passed = [percent_error(group["pass_at_1"]) if group else "–" for group in groups]
        tokens = [number(group["tokens"]["mean"]["value"]) if group else "–" for group in groups]
        problems = max((group["problems"] for group in groups if group), default=0)
        rows.append([level_name(key) if key else "all", f"{problems:,}", *passed, *tokens])
    names = section["order"]
    return f"{scale}: pass@1 in % and tokens", ["", "problems", *names, *(f"{name}, tokens" for name in names)], rows


def _contrast_tables(scale: str, section: ParadigmSection) -> list[tuple[str, list[str], list[list[str]]]]:
    pairs = [(to, before) for to, before in pairwise(section["order"])]
    found = {(row["to"], row["from"], row["level"]): row for row in section["contrasts"]}
    levels = list(dict.fromkeys(row["level"] for row in section["contrasts"] if row["level"] is not None))
    head = ["", *(f"{to} − {before}" for to, before in pairs)]
    tables = []
    for what, cell in (("pass@1, points [95 %]", accuracy_difference), ("tokens [95 %]", token_difference)):
        rows = [
            [
                level_name(key) if key else "all",
                *(cell(found[pair]) if (pair := (*names, key)) in found else "–" for names in pairs),
            ]
            for key in [*levels, None]
        ]
        tables.append((f"{scale}: differences on the same problems, {what}", head, rows))
    return tables


def accuracy_difference(row: Contrast) -> str:
    """A difference of pass@1 in points with its interval."""
    return points(row["pass_at_1"])


def token_difference(row: Contrast) -> str:
    """A difference of mean tokens per answer with its interval."""
    found = row["tokens"]
    if found["value"] is None:
        return "–"
    low, high = found["ci"] or (math.nan, math.nan)
    return f"{found['value']:+,.1f}" + (f" [{low:+,.1f}, {high:+,.1f}]" if found["ci"] else "")


def paradigm_text(found: Metrics) -> str:
    """The tables for a terminal; empty where nothing was probed."""
    return "\n\n".join(f"{title}\n{plain_table(head, rows)}" for title, head, rows in paradigm_tables(found))


def paradigm_markdown(found: Metrics) -> str:
    """The tables as Markdown; empty where nothing was probed."""
    return "\n\n".join(f"## {title}\n\n{markdown_table(head, rows)}" for title, head, rows in paradigm_tables(found))
