"""Kill -9 in the middle of a recipe's training: it goes on, and its weights are those of a run that nobody disturbed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLED = """\
paper: {title: Killed}
about: A training that is killed.
roles: [reasoner, student]
steps:
  - sample: {as: think, by: reasoner, paradigm: {kind: instruct, instruction: ""}, tries: 1, max_tokens: 256}
"""
WHITE_BOX = """\
  - select: {as: solved, kind: first_correct, from: think}
  - curriculum: {as: lessons, stages: [{name: one, take: [{from: think, target: full}]}]}
  - train: {as: made, kind: white_box, top_k: 16, signals: cached, on_policy: 0, steps: 8, batch_tokens: 256, instruction: ""}
"""
PAIRWISE = """\
  - sample: {as: attempts, by: student, kind: all, tries: 2, paradigm: {kind: instruct, instruction: ""}, max_tokens: 256}
  - pair: {as: mined, kind: right_wrong, chosen: think, rejected: attempts}
  - train: {as: made, kind: pairwise, objective: dpo, steps: 8, batch_tokens: 512, instruction: ""}
"""
BINDING = """\
roles: {reasoner: "micro:reasoner", student: "micro:student"}
problems: {kind: micro, family: chain_sum, per_level: 3}
set: {train.learning_rate: 1.0e-3, train.max_length: 768}
training: {checkpoint_steps: 2}
"""
SCRIPT = """\
import os, signal, sys
from stillwise.train import folder, loop
kill_at, *arguments = sys.argv[1:]
if kill_at == "saving":
    whole = folder.save_student
    def save(*given):
        whole(*given)
        os.kill(os.getpid(), signal.SIGKILL)
    folder.save_student = save
elif kill_at != "never":
    point = loop._ids
    def stop(number, *given):
        if number == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)
        return point(number, *given)
    loop._ids = stop
from stillwise.cli import main
sys.exit(main(arguments))
"""


def run(tmp_path: Path, out: str, kill_at: str) -> tuple[int, str]:
    """Exit code (minus the signal that ended it) and what it complained about."""
    command = ["run", str(tmp_path / "killed.yaml"), "--binding", str(tmp_path / "toy.yaml"), "--out", str(tmp_path / out)]
    script = [sys.executable, "-c", SCRIPT, kill_at, *command, "--threads", "1", "--quiet"]
    done = subprocess.run(script, check=False, capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize(("steps", "moment"), [(WHITE_BOX, "3"), (PAIRWISE, "saving")], ids=["white_box", "pairwise"])
def test_a_killed_stage_goes_on_and_leaves_the_same_weights(tmp_path: Path, steps: str, moment: str) -> None:
    (tmp_path / "killed.yaml").write_text(SAMPLED + steps)
    (tmp_path / "toy.yaml").write_text(BINDING)
    assert run(tmp_path, "killed", moment) == (-signal.SIGKILL, "")
    assert not list((tmp_path / "killed").rglob("student/model.safetensors")), "no half a student under its name"
    kept = list((tmp_path / "killed").rglob("checkpoints/*/complete.json"))
    assert [path.parent.name for path in kept] == ["checkpoint-2" if moment == "3" else "checkpoint-6"]
    assert run(tmp_path, "killed", "never") == (0, "")
    assert not list((tmp_path / "killed").rglob("checkpoint*")), "they go with the end of the stage"
    assert run(tmp_path, "whole", "never") == (0, "")
    weights = [(tmp_path / out / "student" / "model.safetensors").read_bytes() for out in ("killed", "whole")]
    assert weights[0] == weights[1]
    metrics = [(tmp_path / out / "metrics.json").read_bytes() for out in ("killed", "whole")]
    assert metrics[0].replace(b"/killed", b"/whole") == metrics[1].replace(b"/killed", b"/whole")
