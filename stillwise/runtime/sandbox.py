"""Runs untrusted Python with no network, no environment, no files and hard limits, and says how it ended.

Tier ``namespaces``: new user, mount, pid, net, ipc and uts namespaces around a minimal read-only file tree (the system, the
interpreter, an empty folder), no capability, no way to gain one. Tier ``subprocess``: limits and a clean environment only; it
stops accidents, not attackers, and is used only where it is asked for, with a warning. docs/sandbox.md lists what each holds.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import re
import select
import signal
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from stillwise.errors import UserError
from stillwise.runtime import sandbox_inside, sandbox_judge
from stillwise.runtime import sandbox_isolate as isolate
from stillwise.runtime.sandbox_wire import dump, no_handles, receive, send

if TYPE_CHECKING:
    import subprocess

Tier = Literal["namespaces", "subprocess"]
Require = Literal["namespaces", "any"]

START_LIMIT_S = 60.0
"""Time for a sandbox to start and to end, on a busy machine too."""
_PACKAGE = str(Path(__file__).parents[1])
_JUDGE = sandbox_judge
"""Imported here, as all that runs inside is, for its bytecode: a sandbox would compile it anew each time."""
_BOOT = """
import sys
package = type(sys)("stillwise")
package.__path__ = [sys.argv[3]]
sys.modules["stillwise"] = package
from stillwise.runtime.sandbox_inside import main
main(int(sys.argv[1]), int(sys.argv[2]))
"""
"""Leaves out the package's own ``__init__``: it imports more than a sandbox needs."""
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class Status(StrEnum):
    """How a run ended."""

    PASSED = "passed"
    """Ended by itself; with tests, all of them held. Without tests the caller still has to compare the output."""
    WRONG_ANSWER = "wrong_answer"
    RUNTIME_ERROR = "runtime_error"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    COMPILE_ERROR = "compile_error"
    NO_CODE = "no_code"
    SANDBOX_ERROR = "sandbox_error"
    """The sandbox itself failed, twice; says nothing of the code."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one run may use. CPU time decides, so that a busy machine does not change a verdict."""

    cpu_s: float = 6.0
    """CPU seconds of the run's processes together (LiveCodeBench's six seconds for a test)."""
    memory: int = 1 << 30
    """Bytes of address space of each process."""
    file_bytes: int = 16 << 20
    """Size of one file."""
    folder_bytes: int = 64 << 20
    """Size of the working folder, which is in memory."""
    processes: int = 16
    """Processes and threads at a time."""
    output_bytes: int = 4 << 20
    """Standard output and standard error together."""

    @property
    def wall_s(self) -> float:
        """The end of runs that wait instead of working; one that works goes on to its CPU limit, on a busy machine too."""
        return 3 * self.cpu_s + 2


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One run's result."""

    status: Status
    detail: str = ""
    tier: Tier | None = None
    """What held the run."""
    stdout: bytes = b""
    stderr: bytes = b""
    """The last 16 KiB."""
    cpu_s: float = 0.0
    wall_s: float = 0.0


@dataclass(frozen=True)
class Job:
    """One run: a standard input, or tests that judge what the program defines."""

    stdin: bytes = b""
    tests: tuple[bytes, ...] = ()
    """Kind and body of each test in turn; see ``python_test`` and ``call_test``."""


def python_test(source: str) -> tuple[bytes, bytes]:
    """A test in Python: statements that raise AssertionError where the program is wrong."""
    return b"exec", source.encode(errors="surrogatepass")


def call_test(entry: str, arguments: Sequence[object], expected: object, tolerance: float = 0.0) -> tuple[bytes, bytes]:
    """A test by a call: ``entry`` (``f``, or ``Solution.f`` for a method of a new instance), arguments, expected value."""
    return b"call", dump([entry, list(arguments), expected, tolerance], no_handles)


def lent_names(names: Iterable[str]) -> tuple[bytes, bytes]:
    """Names of built-in functions and modules that tests take from the program; all others stay Python's own."""
    return b"lend", " ".join(sorted(names)).encode()


@dataclass(frozen=True, kw_only=True)
class Program:
    """Untrusted source, and what is run before it in the same module."""

    source: str
    setup: str = ""
    """Comes with the tests, not from a model: imports, helper functions."""
    modules: tuple[str, ...] = ()
    """Modules of the standard library to import once and share between runs (speed only)."""


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """Runs programs under limits. One at a time per call; calls from several threads are independent."""

    limits: Limits = field(default_factory=Limits)
    require: Require = "namespaces"
    """``namespaces`` refuses to run without them; ``any`` falls back to ``subprocess`` and warns."""
    packages: tuple[str, ...] = ()
    """Installed packages that programs may import (``numpy``), beside the standard library."""

    def tier(self) -> Tier:
        """What will hold the runs; raises UserError where ``require`` is not met."""
        return _tier(self.require)

    def run(self, source: str, stdin: bytes = b"") -> Ran:
        """Runs a program as ``python solution.py < stdin``."""
        return next(iter(self.each(Program(source=source), [Job(stdin=stdin)])))

    def check(self, source: str, tests: Sequence[tuple[bytes, bytes]], setup: str = "") -> Ran:
        """Loads a program and judges it by tests, which it cannot see."""
        return next(iter(self.each(Program(source=source, setup=setup), [job_of(tests)])))

    def each(self, program: Program, jobs: Sequence[Job]) -> Iterator[Ran]:
        """One result for each job, each in a process and folder of its own; a sandbox that fails is started once more."""
        session: Session | None = None
        try:
            for job in jobs:
                for _ in range(2):
                    session = session or Session.of(self, program, judged=bool(job.tests))
                    ran = session.run(job)
                    if ran.status is not Status.SANDBOX_ERROR:
                        break
                    session.close()
                    session = None
                # A judge that was killed may have left its tests unread.
                if session and job.tests and ran.status is not Status.PASSED:
                    session.close()
                    session = None
                yield ran
        finally:
            if session:
                session.close()


def job_of(tests: Sequence[tuple[bytes, bytes]]) -> Job:
    """One run that all the tests judge."""
    return Job(tests=tuple(piece for test in tests for piece in test))


class _Failed(Exception):
    """The sandbox did not do its part."""


@dataclass(eq=False)
class Session:
    """One sandbox with its supervisor; runs follow one another in it."""

    sandbox: Sandbox
    program: Program
    judged: bool
    tier: Tier
    process: subprocess.Popen[bytes]
    jobs: int
    reports: int
    folder: str
    ready: bool = False

    @classmethod
    def of(cls, sandbox: Sandbox, program: Program, judged: bool, tier: Tier | None = None) -> Self:
        """Starts the process; what it needs is sent with the first run."""
        # Loaded where they are needed: naming this part in a recipe should cost nothing.
        import subprocess

        _reap()
        tier = tier or sandbox.tier()
        folder = isolate.MOUNT_POINT if tier == "namespaces" else _open_folder()
        jobs_read, jobs = os.pipe()
        reports, reports_write = os.pipe()
        try:
            process = subprocess.Popen(
                [*_interpreter(), "-c", _BOOT, str(jobs_read), str(reports_write), _PACKAGE],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=_environment(),
                pass_fds=(jobs_read, reports_write),
                # Ctrl-C reaches the caller only, which then closes its sandboxes.
                start_new_session=True,
            )
        finally:
            os.close(jobs_read)
            os.close(reports_write)
        return cls(sandbox, program, judged, tier, process, jobs, reports, folder)

    def run(self, job: Job) -> Ran:
        """One result. SANDBOX_ERROR leaves a session that can only be closed."""
        nonce = os.urandom(16)
        try:
            if not self.ready:
                self._start()
            send(self.jobs, b"fork")
            send(self.jobs, nonce, job.stdin)
            if self.judged:
                send(self.jobs, *job.tests)
            report = self._reply(START_LIMIT_S + sandbox_inside.STRETCH * self.sandbox.limits.wall_s)
            if len(report) != 6 or report[0] != nonce:
                raise _Failed("no valid report")
        except (_Failed, OSError) as err:
            return Ran(status=Status.SANDBOX_ERROR, detail=self._explained(err), tier=self.tier)
        cpu_s, wall_s = map(float, report[5].split())
        status, detail = Status(report[1].decode()), report[2].decode(errors="replace")
        return Ran(status=status, detail=detail, tier=self.tier, stdout=report[3], stderr=report[4], cpu_s=cpu_s, wall_s=wall_s)

    def close(self) -> None:
        """Ends the sandbox with everything in it."""
        for fd in (self.jobs, self.reports):
            with contextlib.suppress(OSError):
                os.close(fd)
        # Everything inside dies with the first process; taking the namespaces down need not be waited for.
        self._kill()
        assert self.process.stderr is not None
        self.process.stderr.close()
        _leaving.append(self.process)
        if self.tier == "subprocess":
            import shutil

            self.process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        program = self.program
        words = "\n".join(f"{name}={value}" for name, value in self._words().items())
        texts = (program.source, program.setup, words)
        send(self.jobs, *(text.encode(errors="surrogatepass") for text in texts))
        reply = self._reply(START_LIMIT_S)
        if reply == [b"unshared"]:
            isolate.user_maps(self.process.pid)
            send(self.jobs, b"mapped")
            reply = self._reply(START_LIMIT_S)
        if reply != [b"ready"]:
            raise _Failed(b" ".join(reply[1:]).decode(errors="replace"))
        self.ready = True

    def _words(self) -> dict[str, object]:
        limits, paths = self.sandbox.limits, _packages(self.sandbox.packages)
        return {
            "mode": "judged" if self.judged else "plain",
            "tier": self.tier,
            "folder": self.folder,
            "cpu_s": limits.cpu_s,
            "wall_s": limits.wall_s,
            "memory": limits.memory,
            "file_bytes": limits.file_bytes,
            "folder_bytes": limits.folder_bytes,
            "output_bytes": limits.output_bytes,
            "processes": limits.processes + (0 if self.tier == "namespaces" else _tasks_of_user()),
            "modules": ":".join(self.program.modules),
            "read_only": ":".join([*_interpreter_folders(), *paths]),
            "paths": ":".join(dict.fromkeys(str(Path(path).parent) for path in paths)),
        }

    def _reply(self, within_s: float) -> list[bytes]:
        with contextlib.closing(select.epoll()) as poll:
            poll.register(self.reports, select.EPOLLIN)
            if not poll.poll(within_s):
                raise _Failed(f"no answer within {within_s:g} s")
        reply = receive(self.reports)
        if reply is None:
            raise _Failed("it ended")
        return reply

    def _kill(self) -> None:
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def _explained(self, err: Exception) -> str:
        self._kill()
        self.process.wait()
        assert self.process.stderr is not None
        lines = self.process.stderr.read(1 << 16).decode(errors="replace").strip().splitlines()
        return "; ".join([str(err), *lines[-1:]])[:500]


_leaving: list[subprocess.Popen[bytes]] = []


def _reap(wait: bool = False) -> None:
    """Takes leave of processes that have been killed."""
    for process in _leaving[:]:
        if wait:
            process.wait()
        if process.poll() is not None and process in _leaving:
            _leaving.remove(process)


atexit.register(_reap, wait=True)


def _open_folder() -> str:
    import tempfile

    folder = tempfile.mkdtemp(prefix="stillwise-sandbox-")
    os.chmod(folder, 0o711)
    return folder


def _interpreter() -> list[str]:
    """As ``-I`` would start it (but for the hash seed), without the environment's packages."""
    cache = ["-X", f"pycache_prefix={sys.pycache_prefix}"] if sys.pycache_prefix else []
    return [str(getattr(sys, "_base_executable", None) or sys.executable), "-P", "-s", "-S", "-B", *cache]


def _interpreter_folders() -> list[str]:
    bases = dict.fromkeys([sys.base_prefix, sys.base_exec_prefix])
    return [f"{base}/{name}" for base in bases if base != "/usr" for name in ("lib", "lib64", "bin")]


def _environment() -> dict[str, str]:
    # The interpreter itself may need it to find its library; programs do not see it.
    found = os.environ.get("LD_LIBRARY_PATH")
    return {**_ENVIRONMENT, "LD_LIBRARY_PATH": found} if found else _ENVIRONMENT


@cache
def _packages(names: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(f"the sandbox's packages name {name!r}, which is not an installed package")
        places = list(spec.submodule_search_locations)
        found += [*places, *(f"{place}.libs" for place in places if os.path.isdir(f"{place}.libs"))]
    return found


def _tasks_of_user() -> int:
    """Processes and threads of the user that runs will have: without namespaces the limit counts them all."""
    uid = os.geteuid() or isolate.NOBODY
    count = 0
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                count += len(os.listdir(entry / "task"))
    return count


def _tier(require: Require) -> Tier:
    missing = _missing()
    if not missing:
        return "namespaces"
    if require == "namespaces":
        raise UserError(
            f"the sandbox cannot isolate untrusted code here: {missing}; set `require: any` to run it with limits only "
            "(network, files and processes of yours stay in its reach)"
        )
    if refusal := _unfit():
        raise UserError(f"untrusted code cannot run here at all: no namespaces ({missing}), and {refusal}")
    warnings.warn(
        f"untrusted code runs without isolation ({missing}): tier 'subprocess', limits only", RuntimeWarning, stacklevel=3
    )
    return "subprocess"


@cache
def _missing() -> str:
    """Why namespaces cannot be had; empty where they can. Tries one sandbox."""
    if sys.platform != "linux":
        return f"namespaces need Linux, this is {sys.platform}"
    if tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2]) < isolate.OLDEST_KERNEL:
        return f"Linux {'.'.join(map(str, isolate.OLDEST_KERNEL))} is needed, this is {os.uname().release}"
    session = Session.of(Sandbox(), Program(source=""), judged=False, tier="namespaces")
    ran = session.run(Job())
    session.close()
    if ran.status is Status.PASSED:
        return ""
    return f"{ran.detail} ({_ADVICE})"


_ADVICE = (
    "user namespaces must be allowed: sysctl user.max_user_namespaces above 0, kernel.unprivileged_userns_clone=1 on Debian, "
    "kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu; in a container, a seccomp profile that allows unshare and mount"
)


@cache
def _unfit() -> str:
    """Why even the weak tier cannot be had; empty where it can."""
    if sys.platform != "linux":
        return "its limits need Linux"
    if os.geteuid() == 0 and not _readable_by_all(Path(os.__file__).parent):
        return "as root it has to become nobody, who cannot read this interpreter's library: run it as another user"
    return ""


def _readable_by_all(folder: Path) -> bool:
    return all(place.stat().st_mode & 0o005 == 0o005 for place in (folder, *folder.parents))
