"""The same recipe on a real cluster of several nodes: equal files, whatever is lost on the way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stillwise.runtime import journals
from stillwise.runtime.segments import Kind, transactions
from stillwise.runtime.storage import storage_at
from tests.runtime.ray_nodes import LEAVES_SOCKETS, STORE_BYTES, cluster, finished, published, started, wait_until

pytestmark = [pytest.mark.slow, LEAVES_SOCKETS]

RECIPE = """\
paper: {title: Toy}
about: sampled thoughts, one stage
roles: [reasoner, student]
steps:
  - sample: {as: think, by: reasoner, paradigm: {kind: think, instruction: ""}, tries: 1, max_tokens: 120}
  - score: {as: lengths, kind: length, from: think}
  - select: {as: kept, kind: first_correct, from: think}
  - curriculum: {as: lessons, stages: [{name: one, take: [{from: think, target: full}]}]}
  - train: {as: distilled, steps: 3, learning_rate: 1.0e-3, batch_tokens: 1024, max_length: 768, instruction: ""}
  - evaluate: {as: after, model: distilled, samples: 1, max_tokens: 60, instruction: ""}
"""
BINDING = """\
roles: {reasoner: "micro:reasoner", student: "micro:student"}
problems: {kind: micro, family: chain_sum, per_level: 1000, levels: [1]}
benchmarks: {held: {source: {kind: micro, family: chain_sum, split: heldout, per_level: 3, levels: [1]}}}
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, str], dict[str, int]]:
    """The command without its folder; the files and the answers of a run on this machine alone."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "toy.yaml").write_text(RECIPE)
    (folder / "bound.yaml").write_text(BINDING)
    command = ["run", str(folder / "toy.yaml"), "--binding", str(folder / "bound.yaml"), "--threads", "1", "--quiet"]
    finished([*command, "--out", str(folder / "local")])
    return command, published(folder / "local"), journals.held(folder / "local" / "work")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with cluster(2) as made:
        yield made


def batches(out: Path) -> list[str]:
    """The key of every batch in the segments, as often as it stands there."""
    folder = out / "work" / journals.SEGMENTS
    if not folder.is_dir():
        return []
    storage = storage_at(str(folder))
    found = [one.record for name in storage.names() for held in transactions(storage, name) for one in held]
    return [record.meta[0] for record in found if record.kind is Kind.BATCH]


def test_a_worker_node_lost_in_mid_step_changes_no_byte(nodes: Any, toy: Any, tmp_path: Path) -> None:
    command, files, answers = toy
    out = tmp_path / "out"
    process = started([*command, "--out", str(out), "--on", f"ray:{nodes.address}"])
    wait_until(lambda: bool(batches(out)), process)
    nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert published(out) == files
    assert journals.held(out / "work") == answers
    nodes.add_node(num_cpus=1, object_store_memory=STORE_BYTES)


def test_a_driver_killed_in_mid_step_goes_on_and_pays_nothing_twice(nodes: Any, toy: Any, tmp_path: Path) -> None:
    command, files, answers = toy
    out = tmp_path / "out"
    arguments = [*command, "--out", str(out), "--on", f"ray:{nodes.address}"]
    process = started(arguments)
    wait_until(lambda: bool(batches(out)), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = batches(out)
    assert not (out / "metrics.json").exists()
    finished(arguments)
    after = batches(out)
    assert after[: len(before)] == before
    assert len(after) == len(set(after)), "a batch was generated twice"
    assert published(out) == files
    assert journals.held(out / "work") == answers


def test_a_run_begun_on_a_cluster_ends_on_this_machine(nodes: Any, toy: Any, tmp_path: Path) -> None:
    command, files, answers = toy
    out = tmp_path / "out"
    finished([*command, "--out", str(out), "--on", f"ray:{nodes.address}", "--until", "think"])
    before = batches(out)
    finished([*command, "--out", str(out)])
    assert batches(out)[: len(before)] == before
    assert published(out) == files
    assert journals.held(out / "work") == answers


def test_two_training_processes_give_what_torchrun_gives(nodes: Any, toy: Any, tmp_path: Path) -> None:
    command = list(toy[0])
    (tmp_path / "small.yaml").write_text(BINDING.replace("per_level: 1000", "per_level: 8"))
    command[command.index("--binding") + 1] = str(tmp_path / "small.yaml")
    shared = [*command, "--training", "devices=2", "--until", "distilled", "--out"]
    finished([*shared, str(tmp_path / "here")])
    finished([*shared, str(tmp_path / "there"), "--on", f"ray:{nodes.address}"])
    assert published(tmp_path / "there") == published(tmp_path / "here")
