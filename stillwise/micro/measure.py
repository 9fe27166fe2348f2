"""Measure the shipped micro models on held-out problems and write their model card.

    python -m stillwise.micro.measure [--models DIR] [--count 1000] [--other 300] [--seed 7] [--threads N]

Level 5 of the main family is measured on `--count` problems, every other level and family on `--other`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillwise.micro import SOLVERS, card, families
from stillwise.micro.paradigms import PARADIGMS, Job, answer_all

SEED = 7
RESAMPLES = 10_000
PER_JOB = 250
Key = tuple[str, str, int]
"""Paradigm, family, level."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What one paradigm did on the problems of one level, in the order of the problems."""

    correct: tuple[bool, ...]
    tokens: tuple[int, ...]
    parsed: tuple[bool, ...]


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share."""
    z = 1.96
    middle, spread = right + z * z / 2, z * math.sqrt(right * (count - right) / count + z * z / 4)
    return (middle - spread) / (count + z * z), (middle + spread) / (count + z * z)


def paired(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """Mean of first - second over the same problems, with its paired bootstrap 95 % interval."""
    import numpy

    difference = numpy.asarray(first, dtype=float) - numpy.asarray(second, dtype=float)
    picks = numpy.random.default_rng(SEED).integers(0, len(difference), (RESAMPLES, len(difference)), dtype=numpy.int32)
    means = difference[picks].mean(1)
    low, high = numpy.quantile(means, (0.025, 0.975))
    return float(difference.mean()), float(low), float(high)


def measure(root: Path, count: int, other: int, processes: int, seed: int = SEED) -> dict[Key, Cell]:
    """Every paradigm on every family and level, one sample per problem; the seed draws problems and samples."""
    keys, todo = [], []
    for mode, paradigm in PARADIGMS.items():
        for family in families.FAMILIES:
            for level in families.LEVELS:
                many = count if family == "chain_sum" and level == 5 else other
                problems = tuple(families.generate(family, level, many, seed, "held_out"))
                for first in range(0, many, PER_JOB):
                    keys.append((mode, family, level))
                    part = problems[first : first + PER_JOB]
                    todo.append(Job(str(root / paradigm.model), paradigm, part, seed + first))
    cells: dict[Key, Cell] = {}
    for key, job, samples in zip(keys, todo, answer_all(todo, processes), strict=True):
        cell = _cell(job, samples)
        old = cells.get(key, Cell((), (), ()))
        cells[key] = Cell(old.correct + cell.correct, old.tokens + cell.tokens, old.parsed + cell.parsed)
    return cells


def _cell(job: Job, samples: Any) -> Cell:
    pairs = list(zip(job.problems, samples, strict=True))
    return Cell(
        tuple(made.finished and families.is_correct(problem, made.text) for problem, made in pairs),
        tuple(made.tokens for _, made in pairs),
        tuple(made.finished and families.boxed(made.text) is not None for _, made in pairs),
    )


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that was asked for, what was measured, and whether it held."""

    asked: str
    measured: str
    held: bool


def _greater(cells: dict[Key, Cell], what: str, first: str, second: str) -> Claim:
    one, two = cells[first, "chain_sum", 5], cells[second, "chain_sum", 5]
    mean, low, high = paired(getattr(one, what), getattr(two, what))
    scale, unit = (100, " points") if what == "correct" else (1, " tokens")
    shown = f"{mean * scale:+.1f}{unit} [{low * scale:+.1f}, {high * scale:+.1f}], n = {len(one.correct)}"
    name = "accuracy" if what == "correct" else "tokens"
    return Claim(f"level 5, {name}: {first} > {second}", shown, low > 0)


def claims(cells: dict[Key, Cell], size: int) -> list[Claim]:
    """All that the micro world promises, checked."""
    order = ("think", "no_rethink", "no_think", "instruct")
    out = [_greater(cells, "correct", one, two) for one, two in itertools.pairwise(order)]
    out += [_greater(cells, "tokens", one, two) for one, two in itertools.pairwise(order[:3])]
    for mode in order:
        share = _share(cells[mode, "chain_sum", 1].correct)
        out.append(Claim(f"level 1, {mode}: at least 95 %", f"{share:.1f} %", share >= 95))
    share = _share(cells["student", "chain_sum", 1].correct)
    out.append(Claim("level 1, student: at least 90 %", f"{share:.1f} %", share >= 90))
    for level in (3, 4, 5):
        share = _share(cells["student", "chain_sum", level].correct)
        out.append(Claim(f"level {level}, student: 5 to 40 %", f"{share:.1f} %", 5 <= share <= 40))
    parsed = [flag for level in families.LEVELS for flag in cells["student", "chain_sum", level].parsed]
    out.append(Claim("student: at least 95 % parseable", f"{_share(parsed):.1f} %", _share(parsed) >= 95))
    out.append(Claim("all four folders: at most 12 MB", f"{size / 1e6:.2f} MB", size <= 12_000_000))
    return out


def _share(flags: Sequence[bool]) -> float:
    return 100 * sum(flags) / len(flags)


def folder_size(root: Path) -> int:
    """Bytes of the four checkpoints."""
    return sum(file.stat().st_size for name in SOLVERS for file in (root / name).iterdir())


def table(cells: dict[Key, Cell], family: str) -> list[tuple[str, list[str]]]:
    """Rows of a table: a paradigm, then accuracy with its interval and mean tokens for every level."""
    rows = []
    for mode in PARADIGMS:
        shown = []
        for level in families.LEVELS:
            cell = cells[mode, family, level]
            right, count = sum(cell.correct), len(cell.correct)
            low, high = wilson(right, count)
            mean = sum(cell.tokens) / count
            shown.append(f"{100 * right / count:.1f} [{100 * low:.0f}, {100 * high:.0f}] · {mean:.0f}")
        rows.append((mode, shown))
    return rows


def main() -> None:
    """Measure, print, and write the card next to this file (or to --card)."""
    parser = argparse.ArgumentParser(prog="python -m stillwise.micro.measure", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path(__file__).parent / "models")
    parser.add_argument("--card", type=Path, default=Path(__file__).parent / "MODEL_CARD.md")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--other", type=int, default=300)
    parser.add_argument("--seed", type=int, default=SEED, help="another seed draws other held-out problems")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    cells = measure(options.models, options.count, options.other, options.threads, options.seed)
    tables = {family: table(cells, family) for family in families.FAMILIES}
    checked = [(c.asked, c.measured, c.held) for c in claims(cells, folder_size(options.models))]
    spent = json.loads((options.models / "training.json").read_text())
    text = card.write(tables, checked, spent, options.count, options.other, options.seed)
    options.card.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
