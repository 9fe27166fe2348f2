"""Kill -9 at any moment of a training, then go on: the student is that of a training that nobody disturbed, byte for byte."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stillwise.train import keeping

SCRIPT = """\
import json, os, signal, sys
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.train.conftest import Heard, NoGraders, sums
from stillwise.arrows import Tools
from stillwise.machine import Site, Training
from stillwise.parts import builtin_catalogue
from stillwise.arrows import Trainer
from stillwise.records import Problem
from stillwise.train import folder, keeping, loop, stepper, reward_fit
kind, moment, student, out, kept = sys.argv[1:]
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
if moment.startswith("step"):
    whole = loop._ids
    def stop(number, *given):
        die() if number == int(moment[4:]) else None
        return whole(number, *given)
    loop._ids = stop
elif moment == "sealing":
    marked = keeping.write_json
    keeping.write_json = lambda path, value: die() if path.name == keeping.MARK else marked(path, value)
elif moment == "half":
    keeping.seal = lambda path, state: ((path / "optimizer.pt").write_bytes(b"half"), die())
elif moment == "pruning":
    keeping.prune = lambda *given: die()
elif moment == "writing":
    saved, valued = folder.save_student, reward_fit.Base.save
    folder.save_student = lambda *given, **more: (saved(*given, **more), die())
    reward_fit.Base.save = lambda *given: (valued(*given), die())
problem = Problem.of("What is 1?", "1")
examples = [replace(e, rejected=e.assistant + " no", label=float(i), problem=problem) for i, e in enumerate(sums(9))]
common = dict(batch_tokens=300, micro_batch_tokens=200, learning_rate=1e-2, steps=9)
lengths = {"kind": "scored", "score": {"kind": "length", "unit": "characters"}}
# Three updates on the same answers: checkpoints, every two steps, fall between them.
policy = {"group_size": 4, "problems_per_step": 2, "updates": 3, "max_tokens": 12, "rewards": (lengths,)}
own = {"pairwise": {"objective": "dpo"}, "white_box": {"on_policy": 0.5, "max_rollout_tokens": 8}, "grpo": policy}
# Dropout draws from torch's generator, whose state a checkpoint has to hold.
own["lora"] = {"adapter": {"rank": 2, "dropout": 0.3}}
extra = own.get(kind, {})
part = builtin_catalogue().find("sft" if kind == "lora" else kind, Trainer)(**common, **extra)
site = Site(training=Training(checkpoint_steps=2, report_to=()), kept=Path(kept))
folders = {"reasoner": Path(student)}
tools = Tools(step="train", seed=7, callers={}, graders=NoGraders(), progress=Heard, folders=folders, site=site)
trained, step = [], stepper._Stepping.training_step
def counted(self, model, inputs, *given):
    trained.append(inputs["step"])
    return step(self, model, inputs, *given)
stepper._Stepping.training_step = counted
found = part.train(examples, Path(student), Path(out), tools)
found.pop("timing")
print(json.dumps([found, trained]))
"""
STEPS = 9
KINDS = ("sft", "lora", "white_box", "pairwise", "grpo", "reward_model")
MOMENTS = ("step0", "step3", "sealing", "half", "pruning", "writing")


def train(kind: str, moment: str, student: Path, out: Path, kept: Path) -> tuple[int, Any]:
    """Exit code (minus the signal that ended it); the training's figures, and which steps this process trained."""
    command = [sys.executable, "-c", SCRIPT, kind, moment, str(student), str(out), str(kept)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env, cwd=Path(__file__).parents[2])
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-2000:]
    return done.returncode, json.loads(done.stdout.splitlines()[-1]) if done.stdout else None


def compare(kind: str, moments: tuple[str, ...], student: Path, tmp_path: Path) -> list[int]:
    """Trains with and without kills, to equal bytes; the steps that the last process trained."""
    whole, every = train(kind, "never", student, tmp_path / "whole", tmp_path / "kept-whole")[1]
    assert every == list(range(STEPS))
    for moment in moments:
        assert train(kind, moment, student, tmp_path / "out", tmp_path / "kept")[0] == -signal.SIGKILL
        assert not (tmp_path / "out").exists(), "no half a student under its name"
    found, trained = train(kind, "never", student, tmp_path / "out", tmp_path / "kept")[1]
    assert found == whole
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "out").iterdir())
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    return list(trained)


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_a_killed_training_goes_on_from_its_checkpoint_with_the_same_weights(kind: str, student: Path, tmp_path: Path) -> None:
    assert compare(kind, ("step5",), student, tmp_path) == [4, 5, 6, 7, 8], "the steps after the last checkpoint"
    left = sorted(path.name for path in (tmp_path / "kept" / "checkpoints").iterdir())
    assert len(left) == 1, "older checkpoints are removed"
    state = keeping.remembered(tmp_path / "kept" / "checkpoints" / left[0])
    assert len(state["points"]) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_every_trainer_survives_a_kill_at_every_moment(kind: str, moment: str, student: Path, tmp_path: Path) -> None:
    first = {"step0": 0, "step3": 2, "sealing": 0, "half": 0, "pruning": 2, "writing": 8}[moment]
    assert compare(kind, (moment,), student, tmp_path) == list(range(first, STEPS))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_several_kills_at_seeded_moments(kind: str, seed: int, student: Path, tmp_path: Path) -> None:
    steps = sorted(random.Random(f"{kind}{seed}").sample(range(2, 9), 3))
    compare(kind, tuple(f"step{step}" for step in steps), student, tmp_path)


def test_only_a_checkpoint_that_is_whole_counts(tmp_path: Path) -> None:
    for step in (2, 4, 10):
        path = tmp_path / f"checkpoint-{step}"
        path.mkdir()
        (path / "weights").write_bytes(b"x" * step)
        keeping.seal(path, {"points": []})
    assert keeping.newest(tmp_path) == tmp_path / "checkpoint-10"
    (tmp_path / "checkpoint-10" / "weights").write_bytes(b"x")
    assert keeping.newest(tmp_path) == tmp_path / "checkpoint-4"
    (tmp_path / "checkpoint-4" / keeping.MARK).unlink()
    assert keeping.newest(tmp_path) == tmp_path / "checkpoint-2"
    (tmp_path / "checkpoint-2" / keeping.MARK).write_text("{")
    assert keeping.newest(tmp_path) is None
    assert keeping.newest(tmp_path / "nowhere") is None


def test_checkpoints_wait_until_they_are_worth_their_time() -> None:
    clock = keeping.Clock(keeping.Keeping(folder=Path("x"), every_s=10))
    assert not clock.due(1)
    clock.last -= 11
    assert clock.due(2)
    clock.written(5.0)
    clock.last -= 50
    assert not clock.due(3), "five seconds of writing are worth a hundred of training"
    clock.last -= 51
    assert clock.due(4)
    assert not keeping.Clock(keeping.Keeping(every_steps=1)).due(1), "nowhere to keep it"
