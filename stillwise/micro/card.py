"""The text of the micro models' card, from measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_HEAD = """# The micro models

Four tiny Qwen3 models, trained from scratch on synthetic sums in worked steps; they are the default models of this
package, so that every method runs offline, on two CPU cores, on models that were really trained. A fifth model judges their
answers: [its card](JUDGE_CARD.md).

| model | layers | width | heads (key-value) | feed-forward | parameters | is |
|---|---|---|---|---|---|---|
| base | 4 | 128 | 4 (2) of 32 | 384 | 0.84 M | the start of both teachers |
| instructor | 4 | 128 | 4 (2) of 32 | 384 | 0.84 M | base, fine-tuned on one line per operation |
| reasoner | 4 | 128 | 4 (2) of 32 | 384 | 0.84 M | base, trained on checked column thoughts, then on its own verified answers |
| student | 3 | 96 | 4 (2) of 24 | 288 | 0.37 M | a smaller base, which mostly answers without working |

Tied embeddings, bf16 on disk, computed in fp32, at most 2,048 positions. The tokenizer is a byte-level BPE trained on the
same texts; every digit is one token. Licence: as the package's.

## Data

Problems come from reasoning-gym (`chain_sum`, the main family; `basic_arithmetic` with + and - and parentheses, the
transfer family, 12 % of the problems), answers are judged by its scorers. Training and held-out questions are disjoint: by
seed range, and by a hash of the question. Single operations inside longer training texts are not held apart: the line
`47 + 85 = 132` may occur in one of them while a level-1 question asks for 47 + 85.

| level | main family | transfer family |
|---|---|---|
| 1 | 2 terms of 1 or 2 digits | 2 terms of 1 or 2 digits |
| 2 | 3 terms of 1 or 2 digits | 3 terms of 1 or 2 digits |
| 3 | 4 terms of 2 digits | 4 terms of 1 or 2 digits |
| 4 | 4 terms of 3 digits | 5 terms of up to 2 digits |
| 5 | 6 terms of 3 digits | 6 terms of up to 2 digits |

The instructor writes one line per operation. The reasoner thinks in columns and doubts: a check computes the operation
by another route, and a mismatch leads to a new column. 30 % of the checked operations of its texts (45 % at the end) hold an
injected mistake, whose own tokens are never learnt: it learns to find and correct mistakes, not to make them. Checked, half
checked, unchecked, and short or empty thoughts occur at every level (72, 5, 8 and 15 %; at the end 61, 2, 2 and 35 %). At the
end only what follows a short thought is learnt, not the choice of one: it is what NoThink puts into the model's mouth.
After a short or empty thought the solution does the work, digit by digit; after a worked thought it is the boxed answer
alone (so the solution of a Think trace holds no working). Both teachers see the same mix of
levels; the reasoner's last stage, on its own verified answers, is of the main family and leans on level 5 (45 %).
The reasoner had about three times the instructor's tokens, in rows several times as long: see the table.
"""


def _inequalities(checked: Sequence[tuple[str, str, bool]]) -> str:
    lines = ["| asked for | measured, 95 % interval | held |", "|---|---|---|"]
    lines += [f"| {asked} | {measured} | {'yes' if held else '**no**'} |" for asked, measured, held in checked]
    return "\n".join(lines)


def _accuracies(rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    lines = ["| paradigm | level 1 | level 2 | level 3 | level 4 | level 5 |", "|---|---|---|---|---|---|"]
    lines += [f"| {mode} | " + " | ".join(cells) + " |" for mode, cells in rows]
    return "\n".join(lines)


def _training(spent: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["| stage | starts from | tokens | of these learnt | minutes |", "|---|---|---|---|---|"]
    for name, one in spent.items():
        start, minutes = one["from"] or "nothing", one["seconds"] / 60
        lines.append(f"| {name} | {start} | {one['tokens']:,} | {one['learnt_tokens']:,} | {minutes:.1f} |")
    return "\n".join(lines)


def write(
    tables: Mapping[str, Sequence[tuple[str, Sequence[str]]]],
    checked: Sequence[tuple[str, str, bool]],
    spent: Mapping[str, Mapping[str, Any]],
    count: int,
    other: int,
    seed: int,
) -> str:
    """The whole card, in Markdown."""
    parts = [
        _HEAD,
        "## Training\n\n`python -m stillwise.micro.build --out DIR` rebuilds everything from seeds, in two single-threaded\n"
        "processes; `DIR/models` then holds what the package ships. Pupil and scholar are earlier stages of\n"
        "the student; apprentice and finisher of the reasoner, so the reasoner's tokens are the sum of three lines.\n"
        "Minutes are of one core.\n",
        _training(spent),
        f"\n## Measured\n\n`python -m stillwise.micro.measure --count {count} --other {other} --seed {seed}`\n"
        "printed the rest of this card: held-out problems, one\n"
        f"sample each at temperature 0.6 and top-p 0.95; {count:,} problems at level 5 of the main family, {other:,}\n"
        "elsewhere. A cell is accuracy in % [95 % Wilson interval] · mean tokens generated. think, no_rethink and no_think\n"
        "are one set of weights.\n",
        "### Main family (`chain_sum`)\n",
        _accuracies(tables["chain_sum"]),
        "\n### Transfer family (`basic_arithmetic`)\n",
        _accuracies(tables["basic_arithmetic"]),
        "\n### What was asked for\n\nA difference holds when its paired bootstrap interval (10,000 resamples) lies above 0.\n",
        _inequalities(checked),
    ]
    return "\n".join(parts) + "\n"
