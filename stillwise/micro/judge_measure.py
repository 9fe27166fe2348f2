"""Measure the micro judge on held-out traces with known facts and on real outputs, and write its card.

    python -m stillwise.micro.judge_measure [--models DIR] [--count 500] [--real 40] [--seed 7] [--threads N]
    python -m stillwise.micro.judge_measure --panel stillwise/score/panels/sums-1.json

`--count` held-out traces for each rubric, whose marks follow from facts; `--real` held-out problems of each level, answered by
the other micro models in every paradigm. Ranks are compared with the bare length of the traces throughout: a judge whose marks
are explained by length is a ruler.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import Any

from stillwise.micro import corpus, families, judge_card, judge_corpus, judging
from stillwise.micro.judge_card import Agreement, Real
from stillwise.micro.judging import RUBRICS, Judged, Rubric
from stillwise.micro.paradigms import PARADIGMS, Job, answer_all
from stillwise.micro.sampler import sample

SEED = 7
MARK = re.compile(r'\{"score": (\d)\}$')
SHOWN = ("think", "no_rethink", "no_think", "instruct", "student")
"""From the most to the least that is written; the student mostly answers without working."""


def ranks(values: Sequence[float]) -> Any:
    """Ranks from 0, ties at their mean."""
    import numpy

    _, place, count = numpy.unique(numpy.asarray(values, dtype=float), return_inverse=True, return_counts=True)
    return (numpy.cumsum(count) - (count + 1) / 2)[place]


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation; 0 where one side is constant."""
    import numpy

    a, b = ranks(first), ranks(second)
    return float(numpy.corrcoef(a, b)[0, 1]) if a.std() and b.std() else 0.0


def partial(first: Sequence[float], second: Sequence[float], given: Sequence[float]) -> float:
    """Spearman's correlation of two with the ranks of a third held fixed."""
    ab, ac, bc = spearman(first, second), spearman(first, given), spearman(second, given)
    rest = ((1 - ac * ac) * (1 - bc * bc)) ** 0.5
    return (ab - ac * bc) / rest if rest else 0.0


def judgements(folder: Path, asked: Sequence[tuple[Rubric, Judged]]) -> list[int | None]:
    """The judge's greedy mark of each; None where its answer cannot be read."""
    import torch
    from tokenizers import Tokenizer

    from stillwise.micro.build import load

    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    prompts = [corpus.prompt(judge_corpus.question(rubric, judged)) for rubric, judged in asked]
    made = sample(load(folder).eval(), tokenizer, prompts, seed=0, temperature=0, max_tokens=80)
    found = [MARK.search(one.text) for one in made]
    return [int(one[1]) if one else None for one in found]


def agreement(folder: Path, rubric: Rubric, count: int, seed: int) -> Agreement:
    """How far the judge agrees with the marks of held-out traces, and with their length."""
    rng = Random(f"measure {seed} {rubric}")
    traces = list(islice(judge_corpus.traces(seed, "held_out"), count))
    marks = [judging.mark(rubric, one.facts, rng) for one in traces]
    given = judgements(folder, [(rubric, one) for one in traces])
    read = [place for place, mark in enumerate(given) if mark is not None]
    judged, wanted = [float(given[p] or 0) for p in read], [float(marks[p]) for p in read]
    length = [float(len(traces[p].text)) for p in read]
    exact = [judging.exact(rubric, traces[p].facts) for p in read]
    gaps = [abs(a - b) for a, b in zip(judged, wanted, strict=True)]
    return Agreement(
        rubric=rubric,
        n=count,
        unread=count - len(read),
        error=sum(gaps) / len(gaps),
        exact=sum(gap == 0 for gap in gaps) / len(gaps),
        rank=spearman(judged, wanted),
        best=spearman(exact, wanted),
        mark_length=spearman(wanted, length),
        judgement_length=spearman(judged, length),
        given_length=partial(judged, wanted, length),
    )


def real(root: Path, count: int, seed: int, processes: int) -> tuple[list[Real], dict[str, float]]:
    """Marks of the other models' answers to held-out problems, and the rank correlation of each rubric's marks with length."""
    keys = [(paradigm, level) for paradigm in SHOWN for level in families.LEVELS]
    problems = {level: tuple(families.generate("chain_sum", level, count, seed, "held_out")) for level in families.LEVELS}
    jobs = [Job(str(root / PARADIGMS[p].model), PARADIGMS[p], problems[level], seed) for p, level in keys]
    found: list[Real] = []
    every: dict[Rubric, list[tuple[float, float]]] = {rubric: [] for rubric in RUBRICS}
    for (paradigm, level), job, samples in zip(keys, jobs, answer_all(jobs, processes), strict=True):
        texts = [job.paradigm.prefilled + made.text for made in samples]
        traces = [Judged(p, text, judging.facts_of(p)) for p, text in zip(job.problems, texts, strict=True)]
        means: dict[str, float] = {}
        unread = 0
        for rubric in RUBRICS:
            marks = judgements(root / "judge", [(rubric, one) for one in traces])
            known = [(float(mark), float(len(one.text))) for mark, one in zip(marks, traces, strict=True) if mark is not None]
            every[rubric] += known
            unread += len(marks) - len(known)
            means[rubric] = sum(mark for mark, _ in known) / max(1, len(known))
        found.append(Real(paradigm, level, means, unread, sum(map(len, texts)) / len(texts)))
    return found, {r: spearman([m for m, _ in held], [length for _, length in held]) for r, held in every.items()}


def claims(found: Sequence[Real]) -> list[tuple[str, str, bool]]:
    """What should be monotone, what was measured, and whether it is."""
    cell = {(one.paradigm, one.level): one.means for one in found}
    out = []
    for level in families.LEVELS:
        means = [cell[paradigm, level]["verbosity"] for paradigm in SHOWN[:4]]
        held = all(a > b for a, b in pairwise(means))
        out.append((f"level {level}, verbosity: {' > '.join(SHOWN[:4])}", " > ".join(f"{m:.2f}" for m in means), held))
    for paradigm in SHOWN:
        means = [cell[paradigm, level]["cognitive_difficulty"] for level in families.LEVELS]
        held = all(a < b for a, b in pairwise(means))
        out.append((f"{paradigm}, cognitive difficulty rises with the level", " < ".join(f"{m:.2f}" for m in means), held))
    for paradigm in SHOWN:
        means = [cell[paradigm, level]["difficulty"] for level in families.LEVELS]
        held = all(a <= b for a, b in pairwise(means))
        out.append((f"{paradigm}, difficulty does not fall with the level", ", ".join(f"{m:.2f}" for m in means), held))
    return out


def main() -> None:
    """Measure, print, and write JUDGE_CARD.md next to this file (or to --card)."""
    parser = argparse.ArgumentParser(prog="python -m stillwise.micro.judge_measure", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path(__file__).parent / "models")
    parser.add_argument("--card", type=Path, default=Path(__file__).parent / "JUDGE_CARD.md")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--real", type=int, default=40)
    parser.add_argument("--seed", type=int, default=SEED, help="another seed draws other held-out problems and traces")
    parser.add_argument("--panel", type=Path, help="write the panel sums-1 to this file, and measure nothing")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.panel:
        options.panel.write_text(json.dumps(judge_corpus.panel(), indent=1) + "\n")
        return
    agreed = [agreement(options.models / "judge", rubric, options.count, options.seed) for rubric in RUBRICS]
    outputs, lengths = real(options.models, options.real, options.seed, options.threads)
    spent = json.loads((options.models / "training.json").read_text())
    size = sum(file.stat().st_size for file in (options.models / "judge").iterdir())
    command = f"--count {options.count} --real {options.real} --seed {options.seed}"
    text = judge_card.write(agreed, outputs, lengths, claims(outputs), spent, size, command)
    options.card.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
