"""One training in two processes is the training of one: losses, weights and the order of the rows."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Tools
from stillwise.cli.flags import training_flag, training_of
from stillwise.errors import StillwiseError, UserError
from stillwise.machine import Site, Training
from stillwise.recipe.api import Recipe
from stillwise.train import processes
from stillwise.train.launch import command, config_file, train
from stillwise.train.losses.preference import REDI
from stillwise.train.pairwise import Pairwise
from stillwise.train.render import Row
from stillwise.train.sft import SFT
from tests.train.conftest import Heard, sums

COMMON: dict[str, Any] = {"batch_tokens": 400, "micro_batch_tokens": 300, "learning_rate": 1e-3, "steps": 4}
SHARDED = """\
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from stillwise.train import packing, processes
from stillwise.train.packing import ATTENTION, Pack, loss_sum
from stillwise.train.render import render
from tests.train.conftest import make_model, make_tokenizer, sums
torch.set_num_threads(1)
packing.register_attention()
rows = render(sums(5), make_tokenizer(), 1000).rows

def model():
    made = make_model()
    made.set_attn_implementation(ATTENTION)
    return made

plain = model()
for row in rows:
    loss_sum(plain, Pack.of([row])).backward()
distributed.init_process_group("gloo")
for most in (packing.FULL_ELEMENTS, 0):
    packing.FULL_ELEMENTS = most
    shared = model()
    packing._PLAIN[shared] = True
    mesh = init_device_mesh("cpu", (2,))
    for layer in shared.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(shared, mesh=mesh)
    for part in processes.mine([[row] for row in rows]):
        loss, _ = processes.through(shared, shared, lambda: (loss_sum(shared, Pack.of(part)), {}))
        loss.backward()
    for one, other in zip(plain.parameters(), shared.parameters()):
        gathered = 2 * other.grad.full_tensor()
        assert torch.allclose(gathered, one.grad, atol=1e-4 * float(one.grad.abs().max())), most
distributed.destroy_process_group()
print("equal")
"""


def weights(folder: Path) -> Mapping[str, Any]:
    from safetensors.torch import load_file

    return load_file(str(folder / "model.safetensors"))


def shared(tools: Tools, **settings: Any) -> Tools:
    return replace(tools, site=Site(training=Training(devices=2, **settings)))


@pytest.mark.usefixtures("threads")
def test_two_processes_train_what_one_does(student: Path, tmp_path: Path, tools: Tools, bars: list[Heard]) -> None:
    import torch

    part = SFT(**COMMON)
    one = train(part, sums(9), student, tmp_path / "one", tools)
    two = train(part, sums(9), student, tmp_path / "two", shared(tools))
    assert two["order"] == one["order"], "every row in the planned order"
    assert [step for step, *_ in two["curve"]] == [1, 2, 3, 4]
    for (_, mine, rate), (_, theirs, other) in zip(one["curve"], two["curve"], strict=True):
        assert (mine, rate) == (pytest.approx(theirs, abs=1e-5), other)
    mine, theirs = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert mine.keys() == theirs.keys()
    assert all(torch.allclose(mine[name], theirs[name], atol=1e-5) for name in mine)
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == sorted(p.name for p in (tmp_path / "two").iterdir())
    assert [bar.done for bar in bars] == [4, 4], "the driver's bar hears of every step once"


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
def test_pairs_stay_together(student: Path, tmp_path: Path, tools: Tools) -> None:
    part, pairs = Pairwise(objective=REDI(), **COMMON), [replace(e, rejected=e.assistant + " no") for e in sums(9)]
    one = train(part, pairs, student, tmp_path / "one", tools)
    two = train(part, pairs, student, tmp_path / "two", shared(tools))
    assert two["order"] == one["order"]
    assert two["last_loss"] == pytest.approx(one["last_loss"], abs=1e-5)
    assert two["chosen_logprob"] == pytest.approx(one["chosen_logprob"], abs=1e-5)


@pytest.mark.slow
def test_what_goes_wrong_in_a_process_is_told_as_it_is(student: Path, tmp_path: Path, tools: Tools) -> None:
    with pytest.raises(UserError, match="nothing to train on: 3 too_long"):
        train(SFT(max_length=10), sums(3), student, tmp_path / "out", shared(tools))
    with pytest.raises(StillwiseError, match=r"the loss is .* at optimiser step"):
        train(SFT(**{**COMMON, "learning_rate": 1e30, "steps": 9}), sums(9), student, tmp_path / "out", shared(tools))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_shards_are_gathered_where_the_loss_reads_them() -> None:
    """FSDP2 over gloo: hidden states, the head and the loss inside the wrapper's forward pass, in full and in chunks."""
    script = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    done = subprocess.run(
        [*script, sys.executable, "-c", SHARDED],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("equal") == 2


def test_every_process_has_as_many_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    passes = [[Row(id=name, ids=(1, 2), start=1)] for name in "abc"]
    found = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        found.append(processes.mine(passes))
    assert [[row.id for rows in held for row in rows] for held in found] == [["a", "c"], ["b", "a"]]
    assert [row.weight for rows in found[1] for row in rows] == [1.0, 0.0], "what is made up for counts nothing"
    assert processes.budget(1000, 301) == 151
    assert processes.budget(100, 301) == 100


@pytest.mark.parametrize("name", ["data_parallel", "fsdp2", "deepspeed_zero2"])
def test_accelerate_reads_the_configs_that_ship(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils import DistributedType

    held = load_config_from_file(str(config_file(name)))
    kinds = {"data_parallel": "MULTI_GPU", "fsdp2": "FSDP", "deepspeed_zero2": "DEEPSPEED"}
    assert held.distributed_type == DistributedType[kinds[name]]
    if name == "fsdp2":
        assert held.fsdp_config["fsdp_version"] == 2
    words = command(Training(launch=name, devices=3))
    assert words[-4:] == ["--config_file", str(config_file(name)), "--num_processes", "3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("deepspeed_config: {zero_stage: 3}\ndistributed_type: DEEPSPEED\n", "ZeRO stage 3"),
        ("distributed_type: FSDP\nfsdp_config: {fsdp_version: 1}\n", "only FSDP2"),
        ("a: 1\n", "no accelerate config file"),
        (None, "did you mean 'fsdp2'"),
    ],
)
def test_configs_that_would_not_work_are_refused(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        config_file(str(tmp_path / "config.yaml") if text is not None else "fsdp")


def test_a_machine_that_cannot_train_so_is_found_before_anything_runs(tmp_path: Path) -> None:
    recipe = Recipe.load("white-box-kd", binding="micro")
    for training, message in (({"launch": "fsdp"}, "did you mean 'fsdp2'"), ({"report_to": ("tensorbord",)}, "tensorboard")):
        with pytest.raises(UserError, match=message):
            recipe.run(tmp_path / "out", training=training)
    assert not (tmp_path / "out").exists()


def test_the_command_line_says_how_to_train() -> None:
    parser = argparse.ArgumentParser()
    training_flag(parser)
    words = ["--training", "devices=2", "--training", "report_to=wandb,mlflow", "--training", "checkpoint_s=30"]
    found = training_of(parser.parse_args(words))
    assert found == {"devices": 2, "report_to": ("wandb", "mlflow"), "checkpoint_s": 30.0}
    assert training_of(parser.parse_args(["--training", "report_to=none"])) == {"report_to": ()}
    with pytest.raises(UserError, match=r"--training devises: .*did you mean 'devices'"):
        training_of(parser.parse_args(["--training", "devises=2"]))
    with pytest.raises(UserError, match="--training devices: Input should be greater than or equal to 1"):
        training_of(parser.parse_args(["--training", "devices=0"]))
