"""Rejection sampling of the reasoner: only answers that reasoning-gym's scorer accepts are trained on again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

from stillwise.micro import corpus, families
from stillwise.micro.corpus import Row
from stillwise.micro.paradigms import PARADIGMS, Job, answer_all
from stillwise.micro.sampler import Sample

SHARES = {"think": 0.76, "no_rethink": 0.08, "no_think": 0.16}
"""How many of the problems are tried in each mode."""
SPREAD = {1: 0.05, 2: 0.10, 3: 0.15, 4: 0.25, 5: 0.45}
"""How many of them come from each level."""
TRIED = 900
PER_JOB = 128


def jobs(folder: Path, seed: int, scale: float) -> list[Job]:
    """Fresh training problems of the main family in every mode, in batches."""
    out = []
    for mode, share in SHARES.items():
        paradigm = replace(PARADIGMS[mode], model=folder.name)
        for level, part in SPREAD.items():
            wanted = max(4, int(TRIED * scale * share * part))
            problems = families.generate("chain_sum", level, wanted, seed + len(mode))
            for first in range(0, wanted, PER_JOB):
                batch = tuple(problems[first : first + PER_JOB])
                out.append(Job(str(folder), paradigm, batch, seed + first))
    return out


def verified_rows(folder: Path, seed: int, scale: float, processes: int) -> list[Row]:
    """Rows of all answers that were right; what was put into the model's mouth is not learnt."""
    todo = jobs(folder, seed, scale)
    rows = []
    for job, samples in zip(todo, answer_all(todo, processes), strict=True):
        for problem, made in zip(job.problems, samples, strict=True):
            if _accepted(problem, made):
                script = [(job.paradigm.prefilled, False), (made.text, True)]
                rows.append(Row(corpus.prompt(problem.question), [piece for piece in script if piece[0]]))
    return rows


def _accepted(problem: families.Sum, made: Sample) -> bool:
    return made.finished and families.is_correct(problem, made.text)


def mixed(kept: list[Row], fresh: Iterator[Row], seed: int) -> Iterator[Row]:
    """Half verified answers, drawn at random; half fresh texts of the earlier distribution."""
    rng = Random(f"mixed {seed}")
    while True:
        yield rng.choice(kept) if kept and rng.random() < 0.5 else next(fresh)
