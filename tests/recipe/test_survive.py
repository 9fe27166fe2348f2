"""Kill -9 at any moment, then the same command: nothing lost or doubled, equal bytes in every published file."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = """\
paper: {title: Toy}
about: sampled thoughts, two stages
roles: [reasoner, student]
steps:
  - sample: {as: think, by: reasoner, paradigm: {kind: think, instruction: ""}, tries: 2, max_tokens: 400}
  - sample: {as: no_think, by: reasoner, paradigm: {kind: no_think, instruction: ""}, tries: 2, max_tokens: 200}
  - select: {as: kept, kind: first_correct, from: think}
  - curriculum:
      as: lessons
      stages: [{name: one, take: [{from: think, target: full}]}, {name: two, take: [{from: think}]}]
  - train: {as: distilled, epochs: 1, learning_rate: 1.0e-3, batch_tokens: 1024, max_length: 768, instruction: ""}
  - evaluate: {as: after, model: distilled, samples: 1, max_tokens: 60, instruction: ""}
"""
BINDING = """\
roles: {reasoner: "micro:reasoner", student: "micro:student"}
problems: {kind: micro, family: chain_sum, per_level: 4, levels: [1, 2]}
benchmarks: {held: {source: {kind: micro, family: chain_sum, split: heldout, per_level: 3, levels: [1]}}}
"""


def survive(tmp_path: Path, shares: list[float]) -> None:
    (tmp_path / "toy.yaml").write_text(RECIPE)
    (tmp_path / "bound.yaml").write_text(BINDING)
    script = Path(__file__).with_name("killing.py")
    command = [sys.executable, str(script), str(tmp_path / "toy.yaml"), str(tmp_path / "bound.yaml"), str(tmp_path)]
    done = subprocess.run([*command, *map(str, shares)], capture_output=True, text=True, check=False, cwd=script.parents[2])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["code"] == 0
    assert {"metrics.json", "recipe.yaml", "report.html", "problems.parquet", "student/model.safetensors"} <= set(
        found["digests"]
    )
    assert {"traces/think.parquet", "verdicts/think.parquet"} <= set(found["digests"])
    assert found["keys"]
    hits = [kill["killed"] for kill in found["killed"]]
    assert sum(hits) >= len(shares) - 1, f"too few runs were alive when their kill came: {hits}"
    assert found["publishing"]["killed"], "the run ended before it was killed while it published"
    assert found["publishing"]["unpublished"], "metrics.json, which is written last, was there before the kill"
    for kill in [*found["killed"], found["publishing"]]:
        assert kill["code"] == 0
        assert kill["stale"] == []
        assert kill["keys"] == found["keys"], "a batch was lost or asked twice"
        assert kill["digests"] == found["digests"]


def moments(seed: int, count: int) -> list[float]:
    """Shares of a run's length between 0.05 and 0.75, one in each of ``count`` equal parts."""
    chosen = random.Random(seed)
    return [0.05 + 0.7 * (i + chosen.random()) / count for i in range(count)]


def test_three_kills_and_one_while_publishing(tmp_path: Path) -> None:
    survive(tmp_path, moments(0, 3))


@pytest.mark.slow
def test_ten_kills(tmp_path: Path) -> None:
    survive(tmp_path, moments(1, 10))
