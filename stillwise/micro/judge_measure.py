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
from collections.abc import Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import Any

from stillwise.micro import corpus, families, judge_card, judge_corpus, judging
from stillwise.micro.judge_card import Agreement, Real
from stillwise.micro.judging import RUBRICS, Judged, Rubric
from stillwise.micro.paradigms import PARADIGMS, Job, answer_all

SEED = 7
BATCH = 64
MAX_TOKENS = 80
"""A judgement has about 30."""
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
    model, tokenizer = load(folder).eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))
    prompts = [tokenizer.encode(corpus.prompt(judge_corpus.question(rubric, judged))).ids for rubric, judged in asked]
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    found: dict[int, int | None] = {}
    for first in range(0, len(order), BATCH):
        places = order[first : first + BATCH]
        for place, ids in zip(places, _greedy(model, [prompts[place] for place in places]), strict=True):
            mark = MARK.search(tokenizer.decode(ids, skip_special_tokens=True))
            found[place] = int(mark[1]) if mark else None
    return [found[place] for place in range(len(asked))]


def _greedy(model: Any, rows: Sequence[list[int]]) -> list[list[int]]:
    """The greedy continuation of each row; shorter rows are padded to the left."""
    import torch

    longest, pad = max(map(len, rows)), model.config.pad_token_id
    ids_BT = torch.tensor([[pad] * (longest - len(row)) + row for row in rows])
    mask_BT = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    with torch.inference_mode():
        out = model.generate(input_ids=ids_BT, attention_mask=mask_BT, do_sample=False, max_new_tokens=MAX_TOKENS)
    made: list[list[int]] = out[:, longest:].tolist()
    return made


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
    traces = [
        Judged(problem, job.paradigm.prefilled + made.text, judging.facts_of(problem))
        for job, samples in zip(jobs, answer_all(jobs, processes), strict=True)
        for problem, made in zip(job.problems, samples, strict=True)
    ]
    lengths = [float(len(one.text)) for one in traces]
    marks = {rubric: judgements(root / "judge", [(rubric, one) for one in traces]) for rubric in RUBRICS}
    cells = [_cell(*key, slice(count * i, count * (i + 1)), marks, lengths) for i, key in enumerate(keys)]
    known = {rubric: [(m, n) for m, n in zip(given, lengths, strict=True) if m is not None] for rubric, given in marks.items()}
    return cells, {rubric: spearman([m for m, _ in held], [n for _, n in held]) for rubric, held in known.items()}


def _cell(
    paradigm: str, level: int, part: slice, marks: Mapping[Rubric, Sequence[int | None]], lengths: Sequence[float]
) -> Real:
    given = {rubric: held[part] for rubric, held in marks.items()}
    read = {rubric: [mark for mark in held if mark is not None] for rubric, held in given.items()}
    return Real(
        paradigm=paradigm,
        level=level,
        means={rubric: sum(held) / max(1, len(held)) for rubric, held in read.items()},
        unread=sum(len(given[rubric]) - len(held) for rubric, held in read.items()),
        length=sum(lengths[part]) / max(1, len(lengths[part])),
    )


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
    spent = json.loads((options.models / "training.json").read_text())["judge"]
    size = sum(file.stat().st_size for file in (options.models / "judge").iterdir())
    command = f"--count {options.count} --real {options.real} --seed {options.seed}"
    text = judge_card.write(agreed, outputs, lengths, claims(outputs), spent, size, command)
    options.card.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
