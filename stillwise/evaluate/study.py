"""A study as a table: students by benchmarks, over several seeds, each against one reference (as in the paper's Table 1).

Every figure comes from the ``evaluation`` sections of the runs. A cell pools a student's seeds problem by problem: its ± is
the standard error over problems of those pooled shares. How far another training seed moves the mean is a separate column,
the standard deviation over seeds; the paired intervals resample problems only, so they hold for these trained students.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillwise.evaluate import metrics
from stillwise.evaluate.metrics import AVERAGE
from stillwise.evaluate.sections import flat
from stillwise.evaluate.shape import Estimate
from stillwise.evaluate.wording import levels_of, markdown_table, number, percent, percent_error, points, sure

Section = Mapping[str, Any]
"""One ``EvaluationSection``, as made or as read from JSON."""
Rows = Mapping[str, Sequence[Section]]
"""Student: one section per seed."""
Pooled = dict[str, list[float]]
"""Problem id: [correct, samples], summed over seeds."""


@dataclass(frozen=True)
class Student:
    """One student's runs."""

    name: str
    seeds: Sequence[Section]

    @property
    def benchmarks(self) -> list[str]:
        """Benchmarks that every seed was measured on, in the recipe's order."""
        first = self.seeds[0]
        held = [name for name in first["benchmarks"] if all(name in one["benchmarks"] for one in self.seeds)]
        order = [name for name in first.get("order", []) if name in held]
        return order + sorted(set(held) - set(order))

    def pooled(self, benchmark: str, level: str | None = None) -> Pooled:
        """The problems of one benchmark (and level), counts summed over seeds."""
        total: Pooled = {}
        for one in self.seeds:
            held = one["per_problem"][benchmark]
            for key, (correct, samples) in (flat(held) if level is None else held.get(level, {})).items():
                before = total.get(key, [0, 0])
                total[key] = [before[0] + correct, before[1] + samples]
        return total

    def passed(self, benchmark: str, level: str | None = None) -> Estimate:
        """pass@1 over the pooled seeds, with its error over problems."""
        return metrics.estimate(_shares(self.pooled(benchmark, level)), share=True)

    def average(self) -> Estimate:
        """The unweighted average over benchmarks."""
        return metrics.average({name: _shares(self.pooled(name)) for name in self.benchmarks})

    def over_seeds(self) -> float | None:
        """Standard deviation (ddof 1) over seeds of the average."""
        return metrics.deviation([value for one in self.seeds if (value := one["average"]["value"]) is not None])

    def mean_of(self, benchmark: str, *path: str) -> float | None:
        """The mean over seeds of one figure of a benchmark; None where a seed lacks it."""
        found = [_at(one["benchmarks"][benchmark], path) for one in self.seeds]
        return None if None in found else sum(value for value in found if value is not None) / len(found)


def _at(group: Any, path: Sequence[str]) -> float | None:
    for key in path:
        group = group[key]
    return None if group is None else float(group)


def _shares(pooled: Pooled) -> list[float]:
    return [pooled[key][0] / pooled[key][1] for key in sorted(pooled)]


def differences(student: Student, reference: Student) -> dict[str, Estimate]:
    """Student minus reference on the same problems: for each common benchmark and, where there are several, their average."""
    common = [name for name in reference.benchmarks if name in student.benchmarks]
    pairs = {name: (reference.pooled(name), student.pooled(name)) for name in common}
    found = {name: metrics.paired_difference(*pair) for name, pair in pairs.items()}
    if len(common) > 1:
        values = {name: metrics.paired_values(*pair) for name, pair in pairs.items()}
        found[AVERAGE] = metrics.average(values, share=False)
    return found


def study_section(rows: Rows, reference: str) -> dict[str, Any]:
    """The study's figures as JSON values: cells, differences from the reference, spread over seeds, by student."""
    students = [Student(name, seeds) for name, seeds in rows.items() if seeds]
    base = next((student for student in students if student.name == reference), None)
    return {student.name: _figures(student, base) for student in students}


def _figures(student: Student, reference: Student | None) -> dict[str, Any]:
    levels = {name: levels_of(one["per_problem"][name] for one in student.seeds) for name in student.benchmarks}
    return {
        "seeds": len(student.seeds),
        "pass_at_1": {name: student.passed(name) for name in student.benchmarks},
        "by_level": {name: {key: student.passed(name, key) for key in keys} for name, keys in levels.items()},
        "average": student.average(),
        "std_over_seeds": student.over_seeds(),
        "tokens": {name: student.mean_of(name, "tokens", "mean", "value") for name in student.benchmarks},
        "truncated_rate": {name: student.mean_of(name, "truncated_rate", "value") for name in student.benchmarks},
        "no_answer_rate": {name: student.mean_of(name, "no_answer_rate", "value") for name in student.benchmarks},
        "difference": differences(student, reference) if reference and student is not reference else {},
    }


def study_markdown(rows: Rows, *, reference: str, title: str, command: str) -> str:
    """The study as a Markdown page: pass@1 by benchmark, by level, lengths, and paired differences from the reference."""
    found = study_section(rows, reference)
    benchmarks = list(dict.fromkeys(name for one in found.values() for name in one["pass_at_1"]))
    blocks = [
        f"# {title}",
        f"Made by `{command}`.",
        _passed(found, benchmarks, reference),
        _explained(found, benchmarks),
        f"## Paired differences from {reference}, in points",
        _differences(found, reference),
        *(block for name in benchmarks for block in _leveled(found, name, reference)),
        "## Lengths and answers",
        _lengths(found, benchmarks),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _named(name: str, reference: str) -> str:
    return f"**{name}**" if name == reference else name


def _passed(found: Mapping[str, Any], benchmarks: Sequence[str], reference: str) -> str:
    body = [
        [
            _named(name, reference),
            *(percent_error(one["pass_at_1"][b], 2) if b in one["pass_at_1"] else "–" for b in benchmarks),
            percent_error(one["average"], 2),
            percent(one["std_over_seeds"], 2),
            str(one["seeds"]),
        ]
        for name, one in found.items()
    ]
    return markdown_table(["student", *benchmarks, "average", "s.d. over seeds", "seeds"], body)


def _explained(found: Mapping[str, Any], benchmarks: Sequence[str]) -> str:
    counts = {
        b: max((one["pass_at_1"][b]["n"] for one in found.values() if b in one["pass_at_1"]), default=0) for b in benchmarks
    }
    problems = ", ".join(f"{name} {n:,}" for name, n in counts.items())
    return (
        "pass@1 in percent, the mean over problems of the share of correct samples, all seeds pooled; ± is the standard error "
        "over problems. The average is the unweighted mean over benchmarks; the standard deviation over seeds (ddof 1) is "
        f"of that average. Problems: {problems}."
    )


def _differences(found: Mapping[str, Any], reference: str) -> str:
    body = [
        [name, benchmark, f"{change['n']:,}", points(change), sure(change)]
        for name, one in found.items()
        for benchmark, change in one["difference"].items()
    ]
    if not body:
        return f"No student was measured on the same problems as {reference}."
    words = "Student minus reference on the same problems; 95 % paired bootstrap over problems, 10,000 resamples."
    return (
        words + "\n\n" + markdown_table(["student", "benchmark", "problems", "difference [95 % interval]", "student is"], body)
    )


def _leveled(found: Mapping[str, Any], benchmark: str, reference: str) -> list[str]:
    groups = {name: one["by_level"][benchmark] for name, one in found.items() if benchmark in one["by_level"]}
    levels = levels_of(groups.values())
    if len(levels) < 2:
        return []
    body = [
        [_named(name, reference), *(percent_error(one[key]) if key in one else "–" for key in levels)]
        for name, one in groups.items()
    ]
    return [f"## {benchmark} by level, pass@1 in percent", markdown_table(["student", *map(_level, levels)], body)]


def _level(key: str) -> str:
    return f"level {key}" if key.isdigit() else key


def _lengths(found: Mapping[str, Any], benchmarks: Sequence[str]) -> str:
    body = [
        [name, b, number(one["tokens"][b]), percent(one["truncated_rate"][b]), percent(one["no_answer_rate"][b])]
        for name, one in found.items()
        for b in benchmarks
        if b in one["tokens"]
    ]
    return markdown_table(["student", "benchmark", "tokens per answer", "truncated", "no answer"], body)
