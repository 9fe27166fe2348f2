"""A leaderboard as a page and a picture: methods at equal training cost, each against one reference."""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from stillwise.evaluate import metrics
from stillwise.evaluate.compare import sign_flip_p
from stillwise.evaluate.study import Rows, Student, differences, study_section
from stillwise.evaluate.wording import levels_of, markdown_table, number, percent, percent_error, points

Entries = Sequence[Mapping[str, Any]]
"""As ``recipe.board.Entry`` makes them, or as read from JSON."""
SHOWN_BELOW = 0.05


def holm(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """p-values adjusted for all comparisons (Holm 1979): the smallest times their number, the next times one less, …"""
    known = sorted((value, name) for name, value in values.items() if value is not None)
    adjusted: dict[str, float | None] = dict.fromkeys(values)
    running = 0.0
    for place, (value, name) in enumerate(known):
        running = max(running, min(1.0, value * (len(known) - place)))
        adjusted[name] = running
    return adjusted


def board_section(entries: Entries, reference: str) -> dict[str, dict[str, Any]]:
    """Each method's figures: accuracy with interval, difference from the reference with adjusted p, lengths and costs."""
    rows: Rows = {one["name"]: one["evaluations"] for one in entries}
    students = {name: Student(name, seeds) for name, seeds in rows.items()}
    figures = study_section(rows, reference)
    adjusted = holm({name: _p(student, students[reference]) for name, student in students.items() if name != reference})
    return {
        one["name"]: {
            **figures[one["name"]],
            "p_holm": adjusted.get(one["name"]),
            "overall": _overall(students[one["name"]], students[reference]),
            "answer_tokens": _mean(figures[one["name"]]["tokens"].values()),
            "operations": statistics.fmean(cost["operations"] for cost in one["costs"]),
            "teacher_tokens": _teacher(one, "written"),
            "teacher_seconds": _seconds(one["teacher_seconds"]),
            "rate": one["rate"],
            "length": one["length"],
            "recipe": one["recipe"],
        }
        for one in entries
    }


def _p(student: Student, reference: Student) -> float | None:
    """Of the difference averaged over benchmarks, each problem weighed so that every benchmark counts the same."""
    held = {name: metrics.paired_values(reference.pooled(name), student.pooled(name)) for name in _common(student, reference)}
    return sign_flip_p([value / len(values) for values in held.values() for value in values])


def _common(student: Student, reference: Student) -> list[str]:
    return [name for name in reference.benchmarks if name in student.benchmarks]


def _overall(student: Student, reference: Student) -> Any:
    if student.name == reference.name:
        return None
    found = differences(student, reference)
    return found.get(metrics.AVERAGE) or next(iter(found.values()), None)


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _teacher(one: Mapping[str, Any], what: str) -> float:
    return statistics.fmean(sum(asked[what] for asked in cost["teachers"].values()) for cost in one["costs"])


def board_markdown(entries: Entries, *, reference: str, title: str, command: str) -> str:
    """The leaderboard as a Markdown page, best first."""
    found = board_section(entries, reference)
    ranked = sorted(found, key=lambda name: -(found[name]["average"]["value"] or 0.0))
    budget = found[reference]["operations"]
    blocks = [
        f"# {title}",
        f"Made by `{command}`.",
        "![Accuracy against tokens per answer](board.svg)",
        _main(found, ranked, reference),
        _explained(entries, reference, budget),
        "## By level",
        *(_levels(found, ranked, entries, benchmark) for benchmark in found[reference]["pass_at_1"]),
        "## What each cost",
        _costs(found, ranked, budget),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _main(found: Mapping[str, Any], ranked: Sequence[str], reference: str) -> str:
    benchmarks = list(found[reference]["pass_at_1"])
    body = [
        [
            f"**{name}**" if name == reference else name,
            *(percent_error(one["pass_at_1"][b]) if b in one["pass_at_1"] else "–" for b in benchmarks),
            "–" if one["overall"] is None else points(one["overall"]),
            _told(one["p_holm"]),
            percent(one["std_over_seeds"], 1),
            number(one["answer_tokens"]),
        ]
        for name in ranked
        for one in [found[name]]
    ]
    head = ["method", *benchmarks, f"against {reference}, points [95 %]", "p, adjusted", "s.d. over seeds", "tokens per answer"]
    return markdown_table(head, body)


def _told(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _explained(entries: Entries, reference: str, budget: float) -> str:
    seeds = len(entries[0]["evaluations"])
    better = f"a method is told apart from {reference} where p is below {SHOWN_BELOW}"
    return (
        f"pass@1 in percent, {seeds} training seeds pooled problem by problem; ± is the standard error over problems. Every "
        f"method started from the same student and was given the operations of {reference} ({budget:.3g}): its steps were cut "
        "or lengthened in proportion. Its learning rates were multiplied by the factor that did best on validation problems. "
        "Differences are paired by problem; p-values are of a sign-flip test, adjusted for all comparisons by Holm's method: "
        f"{better}."
    )


def _levels(found: Mapping[str, Any], ranked: Sequence[str], entries: Entries, benchmark: str) -> str:
    levels = levels_of(seed["per_problem"][benchmark] for one in entries for seed in one["evaluations"])
    if len(levels) < 2:
        return ""
    body = [
        [name, *(percent_error(held[key]) if key in held else "–" for key in levels)]
        for name in ranked
        if (held := found[name]["by_level"].get(benchmark))
    ]
    return markdown_table([benchmark, *(f"level {key}" if key.isdigit() else key for key in levels)], body)


def _seconds(by_role: Mapping[str, float | None]) -> float | None:
    known = [value for value in by_role.values() if value is not None]
    return sum(known) if known or not by_role else None


def _costs(found: Mapping[str, Any], ranked: Sequence[str], budget: float) -> str:
    body = [
        [
            name,
            f"`{one['recipe']}`",
            f"{one['operations']:.3g}",
            percent(one["operations"] / budget) if budget else "–",
            f"{one['length']:.2f}",
            f"{one['rate']:g}",
            f"{one['teacher_tokens']:,.0f}",
            "–" if one["teacher_seconds"] is None else f"{one['teacher_seconds']:,.0f}",
        ]
        for name in ranked
        for one in [found[name]]
    ]
    head = ["method", "recipe", "operations", "of the budget", "steps ×", "rate ×", "teachers' tokens", "seconds"]
    note = (
        "Teachers' tokens and seconds are charged in full to every method that uses them, whoever asked first; seconds are "
        "those of the machine that made this table. Programs among the teachers (micro:writer) take next to no time."
    )
    return f"{note}\n\n{markdown_table(head, body)}"


def board_picture(entries: Entries, reference: str) -> str:
    """Accuracy against tokens per answer, one point for each method, as SVG; equal entries give equal bytes."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "stillwise", "font.size": 9})
    from matplotlib import pyplot as plt

    points = _points(board_section(entries, reference))
    figure, axes = plt.subplots(figsize=(9, max(4.0, 0.3 * len(points))), layout="constrained")
    axes.set_xscale("log")
    for place, (name, tokens, value, low, high) in enumerate(points):
        colour = "#b3402a" if name == reference else "#2f5d8c"
        axes.errorbar(tokens, value, yerr=[[value - low], [high - value]], fmt="o", color=colour, elinewidth=0.8, markersize=5)
        # Names in a column of their own, best first: beside their points they would lie over each other.
        at = 1.02, 1 - (place + 0.5) / len(points)
        line = {"arrowstyle": "-", "linewidth": 0.4, "color": "#8a8a8a", "shrinkB": 4, "relpos": (0, 0.5)}
        axes.annotate(name, (tokens, value), at, textcoords="axes fraction", va="center", color=colour, arrowprops=line)
    axes.xaxis.set_major_formatter(lambda tokens, _: f"{tokens:g}")
    axes.set(xlabel="tokens per answer (logarithmic)", ylabel="pass@1, mean over benchmarks, percent")
    axes.spines[["top", "right"]].set_visible(False)
    held = io.StringIO()
    figure.savefig(held, format="svg", metadata={"Date": None})
    plt.close(figure)
    return held.getvalue()


def _points(found: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, float, float, float, float]]:
    """Name, tokens per answer, accuracy and its interval in percent of each method that was measured, best first."""
    points = []
    for name, one in found.items():
        value, tokens = one["average"]["value"], one["answer_tokens"]
        if value is not None and tokens:
            low, high = one["average"]["ci"] or (value, value)
            points.append((name, tokens, 100 * value, 100 * low, 100 * high))
    return sorted(points, key=lambda point: -point[2])
