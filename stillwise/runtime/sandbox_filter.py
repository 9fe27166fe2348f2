"""A system call filter (seccomp) for untrusted code: no new namespaces, no tracing, only local sockets, no hidden memory.

A second wall behind namespaces and dropped rights, and the only one of its kind in the weaker tier. Denied calls fail with
"Operation not permitted"; nothing is killed. Processors that the table does not know go without.
"""

from __future__ import annotations

import _ctypes
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_EVERYWHERE = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "memfd_secret": 447,
}
"""Denied calls whose number is the same on all processors."""
_DENIED: Mapping[str, tuple[int, int]] = {
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "userfaultfd": (323, 282),
    "open_by_handle_at": (304, 265),
    # Memory that no limit of a process counts.
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
}
"""Denied calls by their numbers on x86_64 and aarch64."""
_MACHINES = {"x86_64": 0, "aarch64": 1}
_ARCHITECTURES = (0xC000003E, 0xC00000B7)
_CLONE, _SOCKET, _CLONE3 = (56, 220), (41, 198), 435
_NEW_NAMESPACES = 0x7E020080
"""The flags of clone that make namespaces."""
_AF_UNIX = 1
_OTHER_ABI = 0x40000000
"""x86_64's numbers for 32-bit pointers begin here: the same calls by other names."""
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
_SET_SECCOMP, _MODE_FILTER = 22, 2


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _refuse_if(code: int, value: int, answer: int = _EPERM) -> list[bytes]:
    """One comparison with what was loaded last."""
    return [_step(code, value, 0, 1), _step(_RETURN, answer)]


def program(machine: int) -> bytes:
    """The filter's instructions for a processor of the table."""
    denied = [*_EVERYWHERE.values(), *(numbers[machine] for numbers in _DENIED.values())]
    steps = [_step(_LOAD, _ARCHITECTURE_AT), _step(_EQUAL, _ARCHITECTURES[machine], 1, 0), _step(_RETURN, _EPERM)]
    steps += [_step(_LOAD, _NUMBER_AT), *_refuse_if(_AT_LEAST, _OTHER_ABI)]
    for number in denied:
        steps += _refuse_if(_EQUAL, number)
    # The C library falls back to clone, whose flags a filter can read.
    steps += _refuse_if(_EQUAL, _CLONE3, _ENOSYS)
    steps += [_step(_EQUAL, _CLONE[machine], 0, 4), _step(_LOAD, _FIRST_ARGUMENT_AT), *_refuse_if(_ANY_BIT, _NEW_NAMESPACES)]
    steps += [_step(_RETURN, _ALLOW), _step(_EQUAL, _SOCKET[machine], 1, 0), _step(_RETURN, _ALLOW)]
    steps += [_step(_LOAD, _FIRST_ARGUMENT_AT), _step(_EQUAL, _AF_UNIX, 0, 1), _step(_RETURN, _ALLOW), _step(_RETURN, _EPERM)]
    return b"".join(steps)


_MACHINE = _MACHINES.get(os.uname().machine) if hasattr(os, "uname") else None
_PROGRAM = None if _MACHINE is None else program(_MACHINE)


if TYPE_CHECKING:
    _Characters = _ctypes.Array[_ctypes._SimpleCData[bytes]]
    _Character = _ctypes._SimpleCData[bytes]
else:
    _Characters, _Character = _ctypes.Array, _ctypes._SimpleCData


class _Byte(_Character):
    _type_ = "c"


class _Buffer(_Characters):
    _type_ = _Byte
    _length_ = len(_PROGRAM or b"x")


_BUFFER = _Buffer.from_buffer_copy(_PROGRAM or b"x")


def arguments() -> tuple[int, int, bytes] | None:
    """What prctl takes to install the filter in this process and all it will start; None on an unknown processor."""
    if _PROGRAM is None:
        return None
    return _SET_SECCOMP, _MODE_FILTER, struct.pack("@HxxxxxxQ", len(_PROGRAM) // 8, _ctypes.addressof(_BUFFER))
