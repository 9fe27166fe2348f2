"""Offline, one thread, and a toy world: problems, scripted teachers and a binding in a temporary folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    # It loads the client, which most tests do without.
    from tests.models.serving import Scripted

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

RECIPE = """\
paper: {title: Toy}
about: one teacher, one stage
roles: [teacher, student]
steps:
  - sample: {as: traces, by: teacher, paradigm: {kind: instruct, instruction: ""}, tries: 2, max_tokens: 64}
  - select: {as: kept, kind: first_correct}
  - curriculum:
      as: lessons
      stages:
        - {name: easy, take: [{from: traces, levels: 1}]}
        - {name: hard, take: [{from: traces, levels: 2}]}
  - train: {as: distilled, epochs: 1, learning_rate: 1.0e-3, batch_tokens: 512, max_length: 256, instruction: ""}
  - evaluate: {as: after, model: distilled, samples: 1, max_tokens: 24, instruction: ""}
"""


@dataclass(frozen=True)
class Toy:
    """Files of a toy run."""

    folder: Path
    recipe: Path
    binding: Path
    problems: Path
    script: Path
    validation: Path
    """Problems that are not in the benchmark, which is made of ``problems``."""

    def command(self, out: Path, *more: str) -> list[str]:
        """Arguments of ``stillwise run`` for this toy."""
        return ["run", str(self.recipe), "--binding", str(self.binding), "--out", str(out), "--threads", "1", "--quiet", *more]


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """Eight sums at two levels, a teacher that gets all but one right, the micro student."""
    folder = tmp_path / "toy"
    folder.mkdir()
    sums = [(a, a + 3, 1 + a % 2) for a in range(1, 9)]
    questions = [(f"What is {a} + {b}?", a + b, level) for a, b, level in sums]
    rows = [{"question": q, "answer": str(n), "level": level} for q, n, level in questions]
    answers = [{"question": q, "answer": f"The answer is \\boxed{{{n + (n == 7)}}}."} for q, n, _ in questions]
    problems, script = _jsonl(folder / "problems.jsonl", rows), _jsonl(folder / "teacher.jsonl", answers)
    others = [{"question": f"What is {a} + 9?", "answer": str(a + 9), "level": 1} for a in range(1, 9)]
    validation = _jsonl(folder / "validation.jsonl", others)
    recipe, binding = folder / "toy.yaml", folder / "bound.yaml"
    recipe.write_text(RECIPE)
    binding.write_text(
        f"roles: {{teacher: 'scripted:{script}', student: 'micro:student'}}\n"
        f"problems: {{kind: file, path: '{problems}'}}\n"
        f"benchmarks: {{same: {{source: {{kind: file, path: '{problems}'}}}}}}\n"
    )
    return Toy(folder, recipe, binding, problems, script, validation)


@pytest.fixture(scope="module")
def scripted_process() -> Iterator[Scripted]:
    """The scripted server, for a whole module."""
    from tests.models.serving import serving

    with serving() as process:
        yield process


@pytest.fixture
def server(scripted_process: Scripted) -> Scripted:
    """The module's scripted server as it was at the start."""
    scripted_process.become()
    return scripted_process


def _jsonl(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
