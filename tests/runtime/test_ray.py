"""Work on a small Ray cluster of this machine: equal results, errors as they were, models held by replicas."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Ask, Request, Tools
from stillwise.errors import StillwiseError, UserError
from stillwise.models.model import Model
from stillwise.recipe.roles import OpenModel
from stillwise.records import Problem, Sampling, Trace, thinking_spans
from stillwise.runtime import cluster, journals, where
from stillwise.runtime.caller import Generate, JournalledCaller
from stillwise.runtime.executor import Local
from stillwise.runtime.graders import GraderPool
from stillwise.runtime.journal import Journal
from stillwise.runtime.ray_executor import RayExecutor
from stillwise.runtime.segment_journal import SegmentJournal
from stillwise.runtime.spread import scores
from stillwise.score.shape import Length
from stillwise.verify.dispatch import ByAnswerKind
from tests.runtime.ray_nodes import LEAVES_SOCKETS, STORE_BYTES

pytestmark = LEAVES_SOCKETS


@dataclass(frozen=True)
class Square:
    """Plain work; a negative shard is a user's fault, 1000 a bug."""

    def __call__(self, shard: int, executor: Any) -> int:
        if shard < 0:
            raise UserError(f"{shard} is negative")
        if shard == 1000:
            raise ValueError("too much")
        return shard * shard


@dataclass(frozen=True)
class Place:
    """Which process works, and how many models it holds."""

    opener: OpenModel

    def __call__(self, shard: int, executor: Any) -> tuple[int, bool]:
        first: Model = executor.hold(self.opener)
        time.sleep(0.1)
        return os.getpid(), executor.hold(self.opener) is first


@dataclass(frozen=True)
class Dies:
    """Work that kills its worker until a file says that it did so often enough."""

    opener: OpenModel
    folder: Path
    deaths: int

    def __call__(self, shard: int, executor: Any) -> int:
        if shard == 1:
            died = self.folder / f"died{len(list(self.folder.iterdir()))}"
            if len(list(self.folder.iterdir())) < self.deaths:
                died.touch()
                os._exit(1)
        return shard


@pytest.fixture(scope="module")
def executor() -> Iterator[RayExecutor]:
    ray = cluster.require_ray()
    options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    ray.init(address="local", num_cpus=2, object_store_memory=STORE_BYTES, namespace=cluster.NAMESPACE, **options)
    made = RayExecutor(threads=1)
    yield made
    made.release()
    ray.shutdown()


@pytest.fixture
def opener(tmp_path: Path) -> OpenModel:
    path = tmp_path / "script.jsonl"
    lines = [{"question": f"question {i}?", "answer": f"\\boxed{{{i}}}"} for i in range(30)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return OpenModel(f"scripted:{path}", 1)


def requests(count: int) -> list[Request]:
    return [Request(ask=Ask(user=f"question {i}?"), sampling=Sampling(max_tokens=9), seed=i) for i in range(count)]


def test_plain_work_gives_what_it_gives_here_and_its_own_errors(executor: RayExecutor) -> None:
    shards = list(range(20))
    here = {done.index: done.value for done in Local().map(Square(), shards)}
    assert {done.index: done.value for done in executor.map(Square(), shards)} == here
    with pytest.raises(UserError, match="-7 is negative"):
        list(executor.map(Square(), [1, -7, 2]))
    with pytest.raises(ValueError, match="too much"):
        list(executor.map(Square(), [1, 1000, 2]))
    assert not list(executor.map(Square(), []))


def test_a_model_is_asked_through_replicas_that_hold_it(executor: RayExecutor, opener: OpenModel) -> None:
    near, asked = opener(), requests(30)
    model: Model = executor.hold(opener)
    assert (model.name, model.revision) == (near.name, near.revision)
    assert model.plan(asked) == near.plan(asked)
    assert model.render(asked[0].ask) == near.render(asked[0].ask)
    shards = [tuple(asked[i] for i in places) for places in near.plan(asked)]
    here = {done.index: done.value for done in Local().map(Generate(opener), shards)}
    assert {done.index: done.value for done in executor.map(Generate(opener), shards)} == here
    assert model.generate(asked[:3]) == near.generate(asked[:3])
    found, end = list[tuple[int, bool]](), time.monotonic() + 60
    while len({process for process, _ in found}) < 2 and time.monotonic() < end:
        found += [done.value for done in executor.map(Place(opener), range(4))]
    assert len({process for process, _ in found}) == 2, "two CPUs hold two replicas of one thread"
    assert os.getpid() not in {process for process, _ in found}
    assert all(same for _, same in found)


@pytest.mark.slow
def test_the_shard_of_a_lost_worker_is_done_again_but_not_for_ever(
    executor: RayExecutor, opener: OpenModel, tmp_path: Path
) -> None:
    (tmp_path / "twice").mkdir()
    work = Dies(opener, tmp_path / "twice", 2)
    assert sorted(done.value for done in executor.map(work, range(4))) == [0, 1, 2, 3]
    (tmp_path / "always").mkdir()
    with pytest.raises(StillwiseError, match="lost with its worker 4 times"):
        list(executor.map(Dies(opener, tmp_path / "always", 99), range(4)))


@pytest.mark.slow
def test_a_model_finds_room_beside_another_that_holds_all_of_it(executor: RayExecutor, opener: OpenModel) -> None:
    other = OpenModel(opener.binding, 2)
    for _ in executor.map(Place(opener), range(3)):
        assert len(list(executor.map(Place(other), range(2)))) == 2


def test_what_a_machine_cannot_hold_is_a_users_fault(opener: OpenModel) -> None:
    with pytest.raises(UserError, match=r"16 CPUs.*largest 2 CPUs"):
        list(RayExecutor(threads=16).map(Generate(opener), [()]))


def test_a_second_journal_writer_is_refused_and_answers_outlive_the_first(
    executor: RayExecutor, opener: OpenModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLWISE_CACHE", str(tmp_path / "cache"))
    plain = Journal(tmp_path / "journal.sqlite")
    here = JournalledCaller(step="here", opener=opener, executor=Local(), journal=plain)
    answers = here.complete(requests(8), lambda *_: None)
    plain.close()
    journal = journals.open_journal(tmp_path, "ray")
    with pytest.raises(StillwiseError, match="another writer"):
        SegmentJournal(str(tmp_path / journals.SEGMENTS), tmp_path / "other")
    there = JournalledCaller(step="there", opener=opener, executor=executor, journal=journal)
    assert there.complete(requests(16), lambda *_: None)[:8] == answers
    assert journal.counts() == {"here": 8, "there": 8}, "what was journalled here is not asked again"
    journal.add("paid", [], {"nano": 3})
    cluster.require_ray().kill(journal._keeper)  # type: ignore[attr-defined]
    assert journal.ledger() == {"paid": {"nano": 3}}, "another writer goes on"
    journal.close()


def traced(number: int) -> tuple[Problem, Trace]:
    problem = Problem.of(f"question {number}", str(number))
    text = f"<think>\n{'so ' * number}</think>\n\\boxed{{{number % 3}}}"
    spans = thinking_spans(text)
    trace = Trace(
        id=str(number), problem_id=problem.id, role="r", model="m", paradigm="think", prompt="", text=text, spans=spans
    )
    return problem, trace


def test_grading_and_scoring_by_workers_give_what_they_give_here(executor: RayExecutor) -> None:
    pairs = [traced(number) for number in range(200)]
    with GraderPool(workers=1) as pool:
        verdicts = where.graders_for(executor, pool).verify(ByAnswerKind(), pairs)
        assert verdicts == pool.verify(ByAnswerKind(), pairs)
        tools = Tools(step="s", seed=0, callers={}, graders=pool, progress=lambda *_: pytest.fail("nobody asks for a bar"))
        groups = [(problem, [trace]) for problem, trace in pairs]
        assert scores(Length(), groups, tools, executor) == Length().score_all(groups, tools)
    assert len({verdict.outcome for verdict in verdicts}) > 1
