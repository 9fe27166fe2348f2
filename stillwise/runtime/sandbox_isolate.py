"""Namespaces, mounts and privileges by system calls: what a process does to itself before untrusted code may run in it.

Standard library only. Nothing here needs root: a user namespace gives the rights, over its own mounts and processes only.
Needs Linux 5.14: before it, the limit on processes counted those of other sandboxes too.
"""

from __future__ import annotations

import _ctypes
import os
import resource
import struct

from stillwise.runtime import sandbox_filter

OLDEST_KERNEL = (5, 14)
NOBODY = 65534
"""The user and group that untrusted code runs as, inside; outside it is the caller's own, or nobody where that is root."""
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/nix/store")
DEVICES = ("null", "zero", "full", "random", "urandom")
MOUNT_POINT = "/proc"
"""Where the new tree is put together, in a mount namespace of its own: a folder that is there on every machine."""
WORK = "/box"
"""Where programs work; ``/tmp`` leads here, unless the interpreter itself lies there."""
SIGKILL, SIGXCPU, SIGPROF = 9, 24, 27
"""By number: the module ``signal`` takes longer to load than everything here."""

_CLONE = {"mount": 0x20000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000}
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND, _MS_REC = 1, 2, 4, 32, 4096, 16384
_MNT_DETACH = 2
_ITIMER_PROF = 2
_MOUNT_SETATTR, _AT_RECURSIVE, _AT_FDCWD = 442, 0x8000, -100
_PDEATHSIG, _DUMPABLE, _NO_NEW_PRIVS, _SUBREAPER = 1, 4, 38, 36


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    _Number = _ctypes._SimpleCData[int]
else:
    _Number = _ctypes._SimpleCData


class _Int(_Number):
    _type_ = "i"


class _Long(_Number):
    _type_ = "L"


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = _Int


class _Library:
    # The module ctypes takes as long to import as everything else here together; this is what its CDLL(None) does.
    _handle = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]


_libc: Any = _Library


def _call(name: str, *arguments: object, step: str = "") -> None:
    """Calls a function of the C library that returns 0, else raises OSError that names the call."""
    if _Function((name, _libc))(*arguments) != 0:
        number = _ctypes.get_errno()
        raise OSError(number, f"{step or name}: {os.strerror(number)}")


def unshare() -> None:
    """New user, mount, pid (for children), net, ipc and uts namespaces. Raises OSError that names the call."""
    _call("unshare", sum(_CLONE.values()))


def user_maps(pid: int) -> None:
    """Called from outside: says who the process's users are. Nobody is the caller; root stays root to build, nobody to run."""
    uid, gid = os.geteuid(), os.getegid()
    if uid:
        _write(f"/proc/{pid}/setgroups", "deny")
    for name, own in (("gid_map", gid), ("uid_map", uid)):
        _write(f"/proc/{pid}/{name}", f"{NOBODY} {own} 1\n" if uid else f"0 {own} 1\n{NOBODY} {NOBODY} 1\n")


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError as err:
        raise OSError(err.errno, f"write to {path.replace(str(os.getpid()), 'self')}: {err.strerror}") from err


def die_with_parent() -> None:
    """The kernel kills this process when the one that started it ends."""
    _call("prctl", _PDEATHSIG, SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """Descendants whose parent ends become children of this process, whatever session they are in."""
    _call("prctl", _SUBREAPER, 1, 0, 0, 0)


def unreadable() -> None:
    """No process of the same user may read this one's memory or trace it."""
    _call("prctl", _DUMPABLE, 0, 0, 0, 0)


def own_root(at: str, read_only: list[str], folder_bytes: int) -> None:
    """A minimal tree as ``/``: the system and the interpreter read-only, five devices, an empty ``/box``; no ``/proc``."""
    _forbid_user_namespaces()
    _mount("tmpfs", at, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    for path in (*SYSTEM, *read_only):
        _graft(path, at)
    os.makedirs(f"{at}/dev")
    for name in DEVICES:
        os.close(os.open(f"{at}/dev/{name}", os.O_CREAT | os.O_WRONLY))
        _mount(f"/dev/{name}", f"{at}/dev/{name}", None, _MS_BIND)
    os.makedirs(at + WORK)
    if not os.path.lexists(f"{at}/tmp"):
        os.symlink(WORK[1:], f"{at}/tmp")
    os.chdir(at)
    _call("pivot_root", b".", b".")
    _call("umount2", b".", _MNT_DETACH)
    os.chdir("/")
    fresh_work(folder_bytes, first=True)
    _mount(None, "/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
    _call("sethostname", b"sandbox", 7)


def _forbid_user_namespaces() -> bool:
    try:
        _write("/proc/sys/user/max_user_namespaces", "0")
    except OSError:
        # A container that shows /proc/sys read-only; the system call filter forbids them too.
        return False
    return True


def kill(pid: int) -> bool:
    """Kills a process, or with -1 all that this one may; False where there is none."""
    try:
        os.kill(pid, SIGKILL)
    except ProcessLookupError:
        return False
    return True


def fresh_work(folder_bytes: int, first: bool = False) -> None:
    """An empty working folder of limited size; what the one before held is gone."""
    os.chdir("/")
    if not first:
        _call("umount2", WORK.encode(), _MNT_DETACH)
    _mount("tmpfs", WORK, "tmpfs", _MS_NOSUID | _MS_NODEV, f"size={folder_bytes},nr_inodes=4096,mode=1777")


def _graft(path: str, root: str) -> None:
    target = root + path
    if os.path.lexists(target) or not os.path.isdir(path):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if path in SYSTEM and os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    os.mkdir(target)
    _mount(path, target, None, _MS_BIND | _MS_REC)
    flags = struct.pack("=4Q", _MS_RDONLY | _MS_NOSUID | _MS_NODEV, 0, 0, 0)
    _call("syscall", _MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, flags, len(flags), step="mount_setattr")


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, data)]
    _call("mount", *words[:3], _Long(flags), words[3], step=f"mount {kind or 'bind'} on {target}")


def lift(*which: int) -> None:
    """Takes back soft limits that were inherited: those of a run are set for the run."""
    for one in which:
        hard = resource.getrlimit(one)[1]
        resource.setrlimit(one, (hard, hard))


def limit(limits: dict[int, tuple[int, int]]) -> None:
    """Resource limits, soft and hard; never above the hard limits that hold already."""
    for which, wanted in limits.items():
        hard = resource.getrlimit(which)[1]
        cap = [value if hard == resource.RLIM_INFINITY else min(value, hard) for value in wanted]
        resource.setrlimit(which, (cap[0], cap[1]))


def cpu_alarm(cpu_s: float) -> None:
    """Ends this process after so much CPU time: finer than the limit in whole seconds, which holds where it is taken off."""
    whole = int(cpu_s)
    _call("setitimer", _ITIMER_PROF, struct.pack("@4l", 0, 0, whole, max(1, int((cpu_s - whole) * 1e6))), None)


def drop_rights() -> None:
    """Nobody, in no group, without a capability; nothing that is started can gain any; only harmless system calls."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    _call("capset", struct.pack("=Ii", 0x20080522, 0), bytes(24))
    _call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
    unreadable()
    if (arguments := sandbox_filter.arguments()) is not None:
        _call("prctl", *arguments, 0, 0, step="seccomp filter")
