"""The text of the micro judge's card, from measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillwise.micro.judging import Rubric

_HEAD = """# The micro judge

A tiny Qwen3 model (4 layers, width 128) that answers the packaged rubrics `verbosity`, `cognitive_difficulty`, `difficulty` and
`verbosity_fit` (version 1) behind the same chat interface as any judge: `--judge micro:judge`. It tells the rubrics apart by
their prompts, names the facts that its mark rests on, and ends in the one JSON object that is read.

## What its marks mean

Marks follow from facts that the generator of its training texts knows, with noise (standard deviation 0.6 of a point; of
difficulty 0.25 of its burden), never from length.

- **Reasoning Verbosity**: what is written out for each operation that the sum needs (a line 1, a split line 2, columns 3, a
  check 2, a second attempt 1.5, a result said again 1, empty words 0), along the rubric's anchors: 2.5 for a line, 5 for
  columns, 7 for checked columns; a little more for longer sums.
- **Cognitive Difficulty**: operations, digits, carries, results below zero and brackets, and what the trace leaves out or
  tangles. All of these are primary-school sums, 0 to 2 on the rubric's own words: the marks are spread over the micro world's
  range, and compare with no other judge's.
- **Difficulty** is that for the micro student, whatever student the prompt names: the widest leap, the chain of steps, the
  tangles.
- **Fit**: how far the verbosity is from the one that suits the sum's difficulty.

It was trained on traces in which length and content are apart: empty sentences and repeated results make easy sums long, lines
and left-out steps make hard ones short. The held-out traces below hold empty sentences and endings, too, that training did not.
It knows no other prompts, no other problems, and not whether an answer is right.
"""

_RANKS = """
Spearman's rank correlations. “Best” is that of the facts without noise: what no judge exceeds. “Length alone” is that of the
mark with the trace's characters: what a ruler reaches. “Length held fixed” is the partial correlation of judgement and mark.
"""
_ANSWERS = """### Answers of the other micro models

Held-out problems of the main family. A cell is the mean verbosity · cognitive difficulty · difficulty (0 to 2) · fit, and the
answers' mean length in characters.
"""


@dataclass(frozen=True, slots=True)
class Agreement:
    """One rubric on held-out traces."""

    rubric: Rubric
    n: int
    unread: int
    error: float
    """Mean absolute."""
    exact: float
    rank: float
    """Spearman's, judgement against mark."""
    best: float
    """Spearman's of the facts without noise against the mark: what a perfect judge reaches."""
    mark_length: float
    judgement_length: float
    given_length: float
    """Partial rank correlation of judgement and mark, length held fixed."""


@dataclass(frozen=True, slots=True)
class Real:
    """What the judge says of one paradigm's answers at one level: mean marks, and the answers' mean length in characters."""

    paradigm: str
    level: int
    means: dict[str, float]
    unread: int
    length: float


def write(
    agreed: Sequence[Agreement],
    outputs: Sequence[Real],
    lengths: Mapping[str, float],
    checked: Sequence[tuple[str, str, bool]],
    spent: Mapping[str, Any],
    size: int,
    command: str,
) -> str:
    """The whole card, in Markdown."""
    parts = [
        _HEAD,
        "## Training\n\n`python -m stillwise.micro.build --out DIR --only judge` rebuilds it from seeds: "
        f"{spent['tokens']:,} tokens ({spent['learnt_tokens']:,} learnt),\n{spent['seconds'] / 60:.1f} minutes of a "
        f"shared core; {size / 1e6:.2f} MB in bf16.\n",
        f"## Measured\n\n`python -m stillwise.micro.judge_measure {command}`\nprinted this card. Greedy judgements.\n",
        "### Held-out traces with known facts\n",
        _agreement(agreed),
        _RANKS,
        _ANSWERS,
        _outputs(outputs),
        "\nRank correlation of the marks with the answers' length, over all of these answers: "
        + ", ".join(f"{name.replace('_', ' ')} {value:+.2f}" for name, value in lengths.items())
        + f". Judgements that could not be read: {sum(one.unread for one in outputs)}.\n",
        "### What should be monotone\n",
        _claims(checked),
    ]
    return "\n".join(parts) + "\n"


def _agreement(agreed: Sequence[Agreement]) -> str:
    head = (
        "rubric", "traces", "unread", "mean abs. error", "exact", "Spearman", "best",
        "length alone", "judgement with length", "length held fixed",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for one in agreed:
        cells = (
            one.rubric, f"{one.n:,}", str(one.unread), f"{one.error:.2f}", f"{100 * one.exact:.0f} %", f"{one.rank:.2f}",
            f"{one.best:.2f}", f"{one.mark_length:+.2f}", f"{one.judgement_length:+.2f}", f"{one.given_length:.2f}",
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _outputs(outputs: Sequence[Real]) -> str:
    levels = sorted({one.level for one in outputs})
    lines = ["| paradigm | " + " | ".join(f"level {level}" for level in levels) + " |", "|---" * (len(levels) + 1) + "|"]
    for paradigm in dict.fromkeys(one.paradigm for one in outputs):
        cells = [" · ".join(_cell(one)) for one in outputs if one.paradigm == paradigm]
        lines.append(f"| {paradigm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(one: Real) -> list[str]:
    names = ("verbosity", "cognitive_difficulty", "difficulty", "verbosity_fit")
    return [*(f"{one.means[name]:.1f}" for name in names), f"{one.length:.0f} chars"]


def _claims(checked: Sequence[tuple[str, str, bool]]) -> str:
    lines = ["| asked for | measured | held |", "|---|---|---|"]
    lines += [f"| {asked} | {measured} | {'yes' if held else '**no**'} |" for asked, measured, held in checked]
    return "\n".join(lines)
