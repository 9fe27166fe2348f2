"""A hostile answer costs its own limit; the pool survives dying, hanging and lying workers; sums cost no worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import ClassVar

import pytest

from stillwise.arrows import Verifier
from stillwise.errors import StillwiseError
from stillwise.records import AnswerKind, Outcome, Problem, Trace, Verdict, thinking_spans
from stillwise.runtime.graders import GraderPool
from stillwise.verify.dispatch import ByAnswerKind
from stillwise.verify.maths import Maths


class Puppet(Verifier):
    """Does what the trace says: dies, spins, sleeps, prints, asks for memory."""

    kind: ClassVar[str] = "puppet"

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        match trace.text:
            case "die":
                os._exit(0)
            case "raise":
                raise RuntimeError("no such luck")
            case "spin":
                while True:
                    pass
            case "sleep":
                time.sleep(1000)
            case "spin without a timer":
                signal.setitimer(signal.ITIMER_PROF, 0)
                while True:
                    pass
            case "work" | "nearly":
                until = time.process_time() + (0.002 if trace.text == "work" else 0.3)
                while time.process_time() < until:
                    pass
                return Verdict(outcome=Outcome.CORRECT, detail=repr(time.process_time()))
            case "eat":
                return Verdict(outcome=Outcome.CORRECT, detail=str(len(bytearray(8 << 30))))
            case "secret":
                return Verdict(outcome=Outcome.CORRECT, detail=os.environ.get("STILLWISE_TEST_TOKEN"))
        print("a line that is no verdict", flush=True)
        return Verdict(outcome=Outcome.CORRECT, extracted=trace.text)


class Broken(Verifier):
    """Cannot be loaded in a worker."""

    kind: ClassVar[str] = "broken"

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        raise AssertionError

    def warm(self) -> None:
        raise ImportError("no module named hope")


def pair(text: str, answer: str = "4", kind: AnswerKind = AnswerKind.EXPRESSION) -> tuple[Problem, Trace]:
    trace = Trace(
        id=text[:40], problem_id="p", role="r", model="m", paradigm="p", prompt="", text=text, spans=thinking_spans(text)
    )
    return Problem.of("q", answer, answer_kind=kind, scorer='{"dataset": "chain_sum"}'), trace


@pytest.fixture(scope="module")
def pool() -> Iterator[GraderPool]:
    with GraderPool(workers=2, timeout_s=1.0) as made:
        yield made


def test_order_is_kept_and_every_item_has_its_own_fate(pool: GraderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLWISE_TEST_TOKEN", "hush")
    texts = ["a", "die", "b", "spin", "c", "raise", "eat", "secret", "é\n😀", "d"]
    found = pool.verify(Puppet(), [pair(text) for text in texts])
    outcomes = {text: verdict.outcome.value for text, verdict in zip(texts, found, strict=True)}
    assert outcomes == {
        **dict.fromkeys(["a", "b", "c", "d", "é\n😀", "secret"], "correct"),
        **dict.fromkeys(["die", "raise", "eat"], "failed"),
        "spin": "timed_out",
    }
    assert [found[i].extracted for i in (0, 2, 4, 8, 9)] == ["a", "b", "c", "é\n😀", "d"]
    assert "RuntimeError: no such luck" in (found[5].detail or "")
    assert found[7].detail is None


def test_a_sleeping_worker_is_killed_by_the_clock() -> None:
    with GraderPool(workers=1, timeout_s=0.1) as small:
        small.verify(Puppet(), [pair("warm")])
        small._running[0].item_limit_s = 2.0
        start = time.monotonic()
        found = small.verify(Puppet(), [pair("a"), pair("sleep"), pair("b")])
    assert [verdict.outcome.value for verdict in found] == ["correct", "timed_out", "correct"]
    assert time.monotonic() - start < 60


def test_hostile_answers_cost_their_own_limit_and_nothing_else(pool: GraderPool) -> None:
    tower = "9^{9^{9^{9}}}"
    hostile = [f"\\boxed{{{tower}}}", "\\boxed{" + "{" * 1_000_000 + "}" * 1_000_001, "x" * 5_000_000 + r" \boxed{1+x}"]
    start = time.process_time()
    found = pool.verify(Maths(), [pair(text, "x+1") for text in [r"\boxed{x+1+0}", *hostile, r"\boxed{x-1}"]])
    assert [verdict.outcome.value for verdict in found] == ["correct", "incorrect", "undecided", "correct", "incorrect"]
    assert time.process_time() - start < 5
    # Where only Math-Verify can read the reference, it is asked, and hangs.
    asked = [pair(text, r"\sum_{k=1}^{3} k") for text in (hostile[0], r"\boxed{6}")]
    assert [verdict.outcome.value for verdict in pool.verify(Maths(), asked)] == ["timed_out", "correct"]


def test_the_thousandth_check_of_one_worker_has_its_whole_time_and_no_more() -> None:
    with GraderPool(workers=1, timeout_s=0.5) as small:
        found = small.verify(Puppet(), [pair("work")] * 1000)
        assert {verdict.outcome for verdict in found} == {Outcome.CORRECT}
        worker = small._running[0].process.pid
        assert len({verdict.detail for verdict in found}) == 1000, "every check ran"
        # A thousand checks have used far more than one check's limit, in the life of one process.
        assert float(max(float(verdict.detail or 0) for verdict in found)) > 2
        long = small.verify(Puppet(), [pair("nearly"), pair("spin"), pair("a")])
        assert [verdict.outcome.value for verdict in long] == ["correct", "timed_out", "correct"]
        assert float(long[0].detail or 0) > 0
        assert small._running[0].process.pid != worker


def test_rlimit_cpu_alone_stops_a_check_that_resets_the_timer() -> None:
    with GraderPool(workers=1, timeout_s=0.2) as small:
        start = time.monotonic()
        found = small.verify(Puppet(), [pair("a"), pair("spin without a timer"), pair("b")])
    assert [verdict.outcome.value for verdict in found] == ["correct", "timed_out", "correct"]
    assert time.monotonic() - start < 60


def test_equal_answers_are_graded_once(pool: GraderPool) -> None:
    pairs = [pair(f"so \\boxed{{{answer}}}", r"\sum_{k=1}^{3} k") for answer in ("6", "7", "6", "6")]
    first = pool.verify(Maths(), pairs)
    assert [verdict.outcome.value for verdict in first] == ["correct", "incorrect", "correct", "correct"]
    with GraderPool(workers=1) as fresh:
        fresh.verify(Maths(), pairs)
        fresh.close()
        assert [verdict.outcome for verdict in fresh.verify(Maths(), pairs)] == [verdict.outcome for verdict in first]
        assert fresh._running == [], "what is known starts no worker"


def test_a_verifier_that_cannot_load_is_an_error_not_a_verdict(pool: GraderPool) -> None:
    with pytest.raises(StillwiseError, match=r"cannot start: .*no module named hope"):
        pool.verify(Broken(), [pair("a")])
    assert pool.verify(Puppet(), [pair("a")])[0].outcome is Outcome.CORRECT


def test_five_thousand_sums_take_no_worker_and_less_than_a_second() -> None:
    pairs = [pair(f"so \\boxed{{{i}}}", str(i - i % 2), AnswerKind.GYM) for i in range(5000)]
    with GraderPool() as idle:
        idle.verify(ByAnswerKind(), pairs[:1])
        start = time.process_time()
        found = idle.verify(ByAnswerKind(), pairs)
        assert time.process_time() - start < 1
        assert idle._running == []
    assert [verdict.outcome is Outcome.CORRECT for verdict in found] == [i % 2 == 0 for i in range(5000)]


def test_nothing_to_do(pool: GraderPool) -> None:
    assert pool.verify(Maths(), []) == []


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
@pytest.mark.parametrize("ending", ["sys.exit()", "os.kill(os.getpid(), 2)", "os.kill(os.getpid(), 9)"])
def test_workers_end_with_their_parent(ending: str) -> None:
    code = (
        "import json, os, sys, time; from stillwise.runtime.graders import GraderPool\n"
        "from stillwise.verify.maths import Maths\n"
        "from stillwise.records import Problem, Trace\n"
        "t = Trace(id='t', problem_id='p', role='r', model='m', paradigm='p', prompt='', text='\\\\boxed{6}')\n"
        "p = Problem.of('q', r'\\sum_{k=1}^{3} k'); pool = GraderPool(workers=1)\n"
        "print(pool.verify(Maths(), [(p, t)])[0].outcome.value)\n"
        f"print(json.dumps([w.process.pid for w in pool._running]), flush=True)\n{ending}\ntime.sleep(200)"
    )
    parent = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=60
    )
    outcome, pids = parent.stdout.splitlines()
    assert outcome == "correct"
    assert len(json.loads(pids)) == 1
    deadline = time.monotonic() + 60
    while any(map(alive, json.loads(pids))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, json.loads(pids)))


def test_ctrl_c_while_a_worker_hangs_ends_it() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests/runtime'); from test_graders import Puppet, pair\n"
        "from stillwise.runtime.graders import GraderPool\n"
        "import threading, os\n"
        "pool = GraderPool(workers=1, timeout_s=60)\n"
        "def stop():\n"
        "    while not (pool._running and pool._running[0].ready): pass\n"
        "    print(pool._running[0].process.pid, flush=True); os.kill(os.getpid(), 2)\n"
        "threading.Thread(target=stop, daemon=True).start()\n"
        "try: pool.verify(Puppet(), [pair('sleep')])\n"
        "except KeyboardInterrupt: print(len(pool._running))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    pid, left = done.stdout.split()
    assert left == "0"
    assert not alive(int(pid))
    assert done.returncode in (0, -signal.SIGINT)
