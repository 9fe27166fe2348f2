"""The supervisor inside the sandbox: starts one process per run, watches its limits, and reports with the parent's nonce.

It never runs the candidate's code in its own process. Each run is forked *before* the run's nonce, input and tests are read, so
they never were in the candidate's memory; the candidate holds none of the supervisor's file descriptors and cannot see,
signal or trace it. Standard library only, and as little of it as can be: it starts with every sandbox.
"""

from __future__ import annotations

import atexit
import gc
import os
import resource
import select
import sys
import time

from stillwise.runtime import sandbox_isolate as isolate
from stillwise.runtime.sandbox_wire import Caught, receive, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType
    from typing import NoReturn

MEMORY_EXIT = 86
STDERR_KEPT = 1 << 14
FILES = 64
"""Open files of one process: also bounds what files in memory can hold."""
STACK = 100 << 20
"""Cached recursive functions use the C stack, a kilobyte for each call."""
STARTED, COMPILED, REFUSED = b"S", b"R", b"C"
"""What a candidate says before its code runs: its limits stand, the program compiled, it did not (and why)."""
JUDGED = (b"passed", b"wrong_answer", b"runtime_error", b"memory_limit")
"""Words of a judge; anything else is the noise of tests that failed themselves."""
JUDGE_MEMORY = 2 << 30
STRETCH, WORKING = 10, 0.02
"""A run that still uses this share of a core at its wall limit goes on, up to so many times the limit."""
_CHUNK = 1 << 16
_ASIDE = 200
"""Above the numbers of all open files."""


class Config:
    """What the parent sends first: the program, what is run before it, and words by name."""

    def __init__(self, program: bytes, setup: bytes, words: bytes) -> None:
        self.program = program
        self.setup = setup
        self.words: Mapping[str, str] = dict(line.split("=", 1) for line in words.decode().splitlines())
        self.judged = self.words["mode"] == "judged"
        self.isolated = self.words["tier"] == "namespaces"
        self.cpu_s, self.wall_s = float(self.words["cpu_s"]), float(self.words["wall_s"])

    def number(self, name: str) -> int:
        """A whole number among the words."""
        return int(self.words[name])

    def listed(self, name: str) -> list[str]:
        """A list among the words."""
        return [item for item in self.words[name].split(":") if item]


def main(jobs: int, reports: int) -> None:
    """Sets the sandbox up and serves runs until the parent closes ``jobs``."""
    message = receive(jobs)
    if message is None:
        return
    config = Config(*message)
    isolate.lift(resource.RLIMIT_FSIZE, resource.RLIMIT_AS, resource.RLIMIT_CPU)
    serve, judge = _judging() if config.judged else (None, None)
    try:
        _enter(config, jobs, reports)
    except (OSError, AttributeError) as err:
        send(reports, b"error", str(err).encode())
        return
    _preload(config.listed("modules"))
    # What exists now is left alone by the collectors of the processes to come, so its memory stays shared.
    gc.freeze()
    send(reports, b"ready")
    Supervisor(config, jobs, reports, serve, judge).serve()


def _judging() -> tuple[Callable[..., None], Callable[..., None]]:
    from stillwise.runtime import sandbox_judge

    return sandbox_judge.serve, sandbox_judge.judge


def _preload(modules: list[str]) -> None:
    """Imports modules of the standard library once; every run that is forked from here shares them."""
    if modules:
        import importlib

        for name in modules:
            importlib.import_module(name)


def _enter(config: Config, jobs: int, reports: int) -> None:
    if not config.isolated:
        isolate.adopt_orphans()
        isolate.unreadable()
        return
    isolate.unshare()
    send(reports, b"unshared")
    if receive(jobs) is None:
        os._exit(1)
    # Only a child of the process that asked for it is in the new process namespace.
    if init := os.fork():
        os.close(jobs)
        os.close(reports)
        os._exit(0 if os.waitpid(init, 0)[1] == 0 else 1)
    isolate.die_with_parent()
    isolate.own_root(config.words["folder"], config.listed("read_only"), config.number("folder_bytes"))
    isolate.unreadable()


class Run:
    """One candidate at work, its judge where there is one, and what came out of their pipes."""

    def __init__(self, candidate: int, judge: int, pipes: Mapping[str, tuple[int, int]], stdin: int) -> None:
        self.candidate, self.judge, self.stdin = candidate, judge, stdin
        self.fds = {name: pipes[name][0] for name in ("out", "err", "state", "verdict")}
        self.go = [pipes["go"][1], pipes["judge_go"][1]]
        self.came: dict[int, bytearray] = {fd: bytearray() for fd in self.fds.values()}
        self.printed = 0
        self.ended: dict[int, tuple[int, float]] = {}
        """Wait status and CPU seconds of the processes that have ended."""
        self.spent = ""
        """Which limit ended it, if one did."""

    def said(self, name: str) -> bytes:
        """What has come out of a pipe."""
        return bytes(self.came[self.fds[name]])

    def begin(self, stdin: bytes) -> None:
        """Hands the input over and lets the processes go."""
        # Written at its place without moving the offset, which the candidate shares.
        view, at = memoryview(stdin), 0
        while at < len(view):
            at += os.pwrite(self.stdin, view[at:], at)
        for fd in self.go if self.judge else self.go[:1]:
            os.write(fd, b"!")
        for fd in (*self.go, self.stdin):
            os.close(fd)

    def take(self, fd: int, output_bytes: int) -> bool:
        """Reads what a pipe holds; False at its end."""
        chunk = os.read(fd, _CHUNK)
        held = self.came[fd]
        held += chunk
        if fd in (self.fds["out"], self.fds["err"]):
            self.printed += len(chunk)
            if self.printed > output_bytes:
                self.spent = self.spent or "output"
                del held[output_bytes:]
        if fd == self.fds["err"]:
            del held[:-STDERR_KEPT]
        return bool(chunk)

    def cpu_s(self) -> float:
        """CPU seconds of the candidate and the judge so far."""
        return sum(_cpu_s(pid) for pid in (self.candidate, self.judge) if pid and pid not in self.ended)

    def reap(self, options: int = 0, pid: int = -1) -> bool:
        """Waits for one process; False where there is none."""
        try:
            found, status, usage = os.wait4(pid, options)
        except ChildProcessError:
            return False
        self.ended[found] = (status, usage.ru_utime + usage.ru_stime)
        return True


class Supervisor:
    """Serves runs one after another."""

    def __init__(
        self, config: Config, jobs: int, reports: int, serve: Callable[..., None] | None, judge: Callable[..., None] | None
    ) -> None:
        self.config, self.jobs, self.reports = config, jobs, reports
        self._serve_candidate, self._judge_candidate = serve, judge
        self.count = 0

    def serve(self) -> None:
        """One run for each "fork" of the parent."""
        while receive(self.jobs) is not None:
            run = self._forked()
            message = receive(self.jobs)
            if message is None:
                break
            start, before = time.monotonic(), _children_cpu_s()
            run.begin(message[1])
            self._watch(run, start + self.config.wall_s)
            self._end(run)
            judged_s = run.ended.get(run.judge, (0, 0.0))[1]
            status, detail = outcome(run, _children_cpu_s() - before - judged_s, self.config)
            figures = f"{_children_cpu_s() - before - judged_s:.6f} {time.monotonic() - start:.6f}"
            send(self.reports, message[0], status, detail, run.said("out"), run.said("err"), figures.encode())
        os._exit(0)

    def _forked(self) -> Run:
        """The run's processes, waiting to begin."""
        folder = self._folder()
        names = ("out", "err", "state", "verdict", "ask", "answer", "go", "judge_go")
        pipes = {name: os.pipe() for name in names}
        stdin = os.memfd_create("stdin")
        candidate = os.fork()
        if not candidate:
            mine = {name: pipes[name][1] for name in ("out", "err", "state", "answer")}
            self._candidate(
                [stdin, mine["out"], mine["err"], mine["state"], pipes["go"][0], pipes["ask"][0], mine["answer"]], folder
            )
        judge = os.fork() if self.config.judged else 0
        if self.config.judged and not judge:
            nothing = os.open("/dev/null", os.O_RDWR)
            ends = [pipes["verdict"][1], pipes["judge_go"][0], pipes["answer"][0], pipes["ask"][1], self.jobs]
            self._judge([nothing, nothing, nothing, *ends])
        run = Run(candidate, judge, pipes, stdin)
        for fd in {fd for pair in pipes.values() for fd in pair} - set(run.fds.values()) - set(run.go):
            os.close(fd)
        return run

    def _folder(self) -> str:
        self.count += 1
        if self.config.isolated:
            if self.count > 1:
                isolate.fresh_work(self.config.number("folder_bytes"))
            return isolate.WORK
        folder = f"{self.config.words['folder']}/{self.count}"
        os.mkdir(folder, 0o700)
        if os.geteuid() == 0:
            os.chown(folder, isolate.NOBODY, isolate.NOBODY)
        return folder

    def _candidate(self, fds: list[int], folder: str) -> NoReturn:
        """Becomes the candidate: its own session, folder, limits, no rights; then its code."""
        self._settle(fds if self._serve_candidate else fds[:5])
        os.setsid()
        os.chdir(folder)
        self._restrict(self.config.number("memory"))
        module = _own_world(folder, self.config.listed("paths"))
        os.write(3, STARTED)
        with Caught() as caught:
            code = _compiled(self.config)
            os.close(3)
            for part in code:
                exec(part, module)
            if self._serve_candidate:
                self._serve_candidate(module, 5, 6)
        _leave(module, caught.error)

    def _judge(self, fds: list[int]) -> NoReturn:
        """Becomes the judge: reads the tests itself, so that they never are in a process that forks a candidate."""
        self._settle(fds)
        self._restrict(JUDGE_MEMORY)
        tests = receive(7)
        assert self._judge_candidate is not None
        assert tests is not None
        self._judge_candidate(tests, 5, 6, 3)
        os._exit(0)

    def _settle(self, fds: list[int]) -> None:
        """These files as numbers 0, 1, …, and no others; returns when the run begins (number 4 says so)."""
        aside = [os.dup2(fd, _ASIDE + number) for number, fd in enumerate(fds)]
        for number, fd in enumerate(aside):
            os.dup2(fd, number)
        os.closerange(len(fds), 1024)
        if not os.read(4, 1):
            os._exit(1)
        os.close(4)

    def _restrict(self, memory: int) -> None:
        cpu_s = -int(-self.config.cpu_s // 1)
        file_bytes, processes = self.config.number("file_bytes"), self.config.number("processes")
        isolate.limit(
            {
                resource.RLIMIT_CPU: (cpu_s, cpu_s + 1),
                resource.RLIMIT_AS: (memory, memory),
                resource.RLIMIT_FSIZE: (file_bytes, file_bytes),
                resource.RLIMIT_NPROC: (processes, processes),
                resource.RLIMIT_NOFILE: (FILES, FILES),
                resource.RLIMIT_STACK: (STACK, STACK),
                resource.RLIMIT_CORE: (0, 0),
                resource.RLIMIT_MSGQUEUE: (0, 0),
                resource.RLIMIT_MEMLOCK: (0, 0),
            }
        )
        # The alarm counts by clock ticks and may be early by some; what was really used decides.
        isolate.cpu_alarm(1.1 * self.config.cpu_s + 0.05)
        isolate.drop_rights()
        isolate.die_with_parent()

    def _watch(self, run: Run, deadline: float) -> None:
        """Until the main process ends or a limit is spent: reads the pipes, waits for the processes."""
        poll = select.poll()
        processes = {os.pidfd_open(pid): pid for pid in (run.candidate, run.judge) if pid}
        # The other two pipes hold less than a page, and are read at the end.
        for fd in (run.fds["out"], run.fds["err"], *processes):
            poll.register(fd, select.POLLIN)
        poll.register(self.jobs, 0)
        last, used_s = deadline + (STRETCH - 1) * self.config.wall_s, 0.0
        while (run.judge or run.candidate) not in run.ended and not run.spent:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                before_s, used_s = used_s, run.cpu_s()
                # One that works but hardly gets a core is not one that waits: the machine's load must not change a verdict.
                deadline += self.config.wall_s / 4
                if deadline > last or used_s - before_s < WORKING * self.config.wall_s / 4:
                    run.spent = "wall"
            for fd, _ in poll.poll(max(0.0, left_s) * 1000):
                if fd == self.jobs:
                    self._end(run)
                    os._exit(1)
                alive = not run.reap(pid=processes[fd]) if fd in processes else run.take(fd, self.config.number("output_bytes"))
                if not alive:
                    poll.unregister(fd)
        for fd in processes:
            os.close(fd)

    def _end(self, run: Run) -> None:
        """Kills what is left of the run, descendants in other sessions too, and reads what they left in the pipes."""
        while True:
            for pid in [-1] if self.config.isolated else _children():
                isolate.kill(pid)
            if not run.reap():
                break
        for fd in run.came:
            while run.take(fd, self.config.number("output_bytes")):
                pass
            os.close(fd)


def outcome(run: Run, cpu_s: float, config: Config) -> tuple[bytes, bytes]:
    """Status and detail. Whatever a candidate may fake here only turns one failure into another."""
    state = run.said("state")
    status = run.ended.get(run.candidate, (0, 0.0))[0]
    killed = status & 0x7F
    if run.spent == "output":
        return b"output_limit", f"more than {config.number('output_bytes')} bytes".encode()
    if run.spent == "wall":
        return b"time_limit", f"over {config.wall_s:g} s of wall time, {cpu_s:.2f} s of CPU time".encode()
    if cpu_s > config.cpu_s or killed in (isolate.SIGXCPU, isolate.SIGPROF):
        return b"time_limit", f"over {config.cpu_s:g} s of CPU time".encode()
    if not state.startswith(STARTED):
        return b"sandbox_error", b"the run did not start: " + _last_line(run.said("err"))
    if state[1:2] == REFUSED:
        return b"compile_error", state[2:]
    if status >> 8 == MEMORY_EXIT:
        return b"memory_limit", f"over {config.number('memory')} bytes".encode()
    if config.judged:
        word, _, detail = run.said("verdict").partition(b"\n")
        if word in JUDGED:
            return word, detail
    elif status == 0:
        return b"passed", b""
    end = f"killed by signal {killed}" if killed else f"exit code {status >> 8}"
    return b"runtime_error", f"{end} ".encode() + _last_line(run.said("err"))


def _last_line(text: bytes) -> bytes:
    return text.strip().rpartition(b"\n")[2][-300:]


def _cpu_s(pid: int) -> float:
    """A process's CPU clock (see clock_getcpuclockid(3))."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _children() -> list[int]:
    """Processes to kill where no namespace does it: this one's children, to which orphans have come."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(pid) for pid in file.read().split()]


def _own_world(folder: str, paths: list[str]) -> dict[str, object]:
    """The globals of a fresh ``__main__``, in an interpreter that shows nothing of this package."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "stillwise"]:
        del sys.modules[name]
    os.environ.pop("LD_LIBRARY_PATH", None)
    os.environ["HOME"] = os.environ["TMPDIR"] = folder
    sys.path += paths
    sys.argv = ["solution.py"]
    module = type(sys)("__main__")
    sys.modules["__main__"] = module
    return module.__dict__


def _leave(module: dict[str, object], error: BaseException | None) -> NoReturn:
    """Ends the process as the interpreter ends: threads, exit functions, what is still to be written.

    Taking the interpreter itself down would copy the memory that is shared with the supervisor, for nothing.
    """
    if isinstance(error, MemoryError):
        os._exit(MEMORY_EXIT)
    status = 120
    with Caught() as late:
        status = 0 if error is None else _exit_status(error)
        if threading := sys.modules.get("threading"):
            threading._shutdown()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
    # Files that nobody closed are written when their last reference goes.
    with Caught():
        module.clear()
        gc.collect()
        sys.__stdout__.flush()  # type: ignore[union-attr]
    os._exit(status if late.error is None else 120)


def _exit_status(error: BaseException) -> int:
    """The exit code for what a program raised, which is printed as the interpreter does."""
    if not isinstance(error, SystemExit):
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1


def _compiled(config: Config) -> list[CodeType]:
    """The setup's and the program's code; a program that does not compile ends the process here."""
    try:
        pieces = (config.setup, "setup.py"), (config.program, "solution.py")
        code = [compile(source, name, "exec", dont_inherit=True) for source, name in pieces]
    except (SyntaxError, ValueError, RecursionError, OverflowError) as err:
        os.write(3, REFUSED + f"{type(err).__name__}: {err}"[:500].encode(errors="replace"))
        os._exit(1)
    os.write(3, COMPILED)
    return code
