"""What a call of many batches gives when a node of the cluster goes in the middle of it: the same answers, each once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Ask, Completion, Request
from stillwise.models.scripted import ScriptedModel
from stillwise.records import Sampling
from stillwise.runtime import cluster, journals
from stillwise.runtime.caller import JournalledCaller
from stillwise.runtime.executor import Local
from stillwise.runtime.journal import Journal
from stillwise.runtime.ray_executor import RayExecutor
from tests.runtime.ray_nodes import LEAVES_SOCKETS
from tests.runtime.ray_nodes import cluster as started_cluster

pytestmark = [pytest.mark.slow, LEAVES_SOCKETS]

BATCH_S = 0.4


class Slow(ScriptedModel):
    """A scripted model that takes its time."""

    def generate(self, batch: Sequence[Request]) -> list[Completion]:
        time.sleep(BATCH_S)
        return super().generate(batch)


@dataclass(frozen=True)
class OpenSlow:
    """Opens one."""

    def __call__(self) -> Slow:
        return Slow(lambda request: f"\\boxed{{{request.seed}}}", name="slow", batch_size=4)


@pytest.fixture
def nodes() -> Iterator[Any]:
    ray = cluster.require_ray()
    with started_cluster(2) as made:
        ray.init(address=made.address, namespace=cluster.NAMESPACE, log_to_driver=False, logging_level="error")
        yield made
        ray.shutdown()


def test_a_node_lost_in_mid_call_costs_its_batch_alone(nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLWISE_CACHE", str(tmp_path / "cache"))
    asked = [Request(ask=Ask(user=f"{n}?"), sampling=Sampling(max_tokens=9), seed=n) for n in range(120)]
    plain = Journal(tmp_path / "plain.sqlite")
    here = JournalledCaller(step="s", opener=OpenSlow(), executor=Local(), journal=plain)
    expected = here.complete(asked[:4], lambda *_: None)
    executor, journal = RayExecutor(threads=1), journals.open_journal(tmp_path, "ray")
    there = JournalledCaller(step="s", opener=OpenSlow(), executor=executor, journal=journal)
    heard, machines = list[tuple[int, ...]](), len(cluster.room().machines)

    def on_batch(places: Sequence[int], answers: Sequence[Completion]) -> None:
        heard.append(tuple(places))
        if len(heard) == 6:
            nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)

    answers = there.complete(asked, on_batch)
    assert [answer.text for answer in answers] == [f"\\boxed{{{n}}}" for n in range(120)]
    assert answers[:4] == expected
    assert sorted(heard) == sorted(set(heard)), "a batch was told twice"
    assert len(heard) == 30
    assert journal.counts() == {"s": 120}
    end = time.monotonic() + 60
    while len(cluster.room().machines) == machines and time.monotonic() < end:
        time.sleep(0.2)
    assert len(cluster.room().machines) == machines - 1
    executor.release()
    journal.close()
    plain.close()
