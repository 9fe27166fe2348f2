"""Training rows of the micro judge: the packaged rubric prompts around traces with known facts; and its tokenizer.

Tokens are coarse on purpose: a stretch of a rubric that never changes is one token, and so is a column of a sum or a short
number. A judge counts steps; it calculates nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from string import Template
from typing import Any

from stillwise.micro import corpus, families, judging
from stillwise.micro.corpus import Row
from stillwise.micro.judging import RUBRICS, Judged, Rubric

PROMPTS = Path(__file__).parents[1] / "score" / "prompts"
"""The rubrics are data of the package; no code of that folder is needed."""
VERSION = 1
VOCABULARY = 1024
SHARES = (0.28, 0.28, 0.24, 0.2)
"""Of the rubrics, in their order."""
LEVELS = (0.2, 0.2, 0.2, 0.2, 0.2)
TRANSFER = 0.25
"""Share of the family with brackets."""
STUDENTS = (
    "a language model of a few billion parameters",
    "a language model of a few billion parameters",
    "a small language model",
    "a tiny language model",
    "the micro student",
    "Qwen2.5-7B-Instruct",
    "a language model of 7 billion parameters",
)
"""How a prompt may name the student; the micro judge means the micro student whatever it is called."""
_PLACES = re.compile(r"\$(?:problem|trace|student)")
_SPLIT = "|".join(
    (
        r"\d[+-]\d(?:[+-]1)?=\d+(?:, |\. )",
        r"1\d-\d(?:-1)?=\d+(?:, |\. )",
        r"\p{N}{1,4}",
        r"[ ]?(?:->|=)[ ]",
        r"\p{L}+[,:.?!]*[ ]?",
        r"[ ]?[^\s\p{L}\p{N}]+[ \n]?",
        r"\s+",
    )
)
"""A column with its comma stands together, so does a number of up to four digits."""
OPENING = '{"score": '


@cache
def rubric_text(rubric: Rubric) -> str:
    """The packaged prompt, as a scorer fills it in."""
    return (PROMPTS / f"{rubric}-{VERSION}.txt").read_text(encoding="utf-8").strip()


def question(rubric: Rubric, judged: Judged, student: str = STUDENTS[0]) -> str:
    """What the judge is asked about a trace."""
    return Template(rubric_text(rubric)).substitute(problem=judged.problem.question, trace=judged.text, student=student)


def answer(rubric: Rubric, judged: Judged, score: int) -> str:
    """The facts, then the mark as the one JSON object on the last line."""
    return f"{judging.reason(rubric, judged.facts)}\n{OPENING}{score}}}"


def stretches() -> list[str]:
    """What never changes of the rubrics, and of an answer; longest first."""
    found = {piece for rubric in RUBRICS for piece in _PLACES.split(rubric_text(rubric)) if len(piece) > 8}
    return sorted({*found, OPENING}, key=lambda piece: (-len(piece), piece))


def traces(seed: int, split: families.Split = "train") -> Iterator[Judged]:
    """Endless traces of every manner, apart from level and family; held-out ones hold sentences that training never had."""
    rng = Random(f"judged {seed} {split}")
    for problem in corpus.problems(LEVELS, TRANSFER, seed, split):
        yield judging.judged(problem, judging.manner(rng, unseen=split == "held_out"), rng)


def judge_rows(seed: int) -> Iterator[Row]:
    """One rubric for each trace, with a noisy mark."""
    rng = Random(f"judge {seed}")
    for judged in traces(seed):
        rubric = rng.choices(RUBRICS, SHARES)[0]
        text = answer(rubric, judged, judging.mark(rubric, judged.facts, rng))
        yield Row(corpus.prompt(question(rubric, judged, rng.choice(STUDENTS))), [(text, True)])


PANEL_SEED = 11
PANEL_TRACES = 32


def panel() -> list[dict[str, Any]]:
    """Held-out traces with the marks that follow from their facts, without noise: what the packaged panel ``sums-1`` holds."""
    rows = []
    for one in islice(traces(PANEL_SEED, "held_out"), PANEL_TRACES):
        marks = {rubric: judging.noiseless(rubric, one.facts) for rubric in RUBRICS}
        rows.append({"question": one.problem.question, "trace": one.text, "marks": marks})
    return rows


def train_tokenizer(seed: int, rows: int = 6000) -> Any:
    """A byte-level BPE tokenizer in which fixed prompt text, columns and short numbers take a token each."""
    texts = _texts(seed, rows)
    return corpus.trained_tokenizer(texts, VOCABULARY, _SPLIT, tuple(stretches()))


def _texts(seed: int, rows: int) -> Iterator[str]:
    source, known = judge_rows(seed), [*corpus.SPECIALS, *stretches()]
    for _ in range(rows):
        row = next(source)
        text = row.prompt + row.script[0][0]
        for mark in known:
            text = text.replace(mark, " ")
        yield text
