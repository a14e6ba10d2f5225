"""Run a function in a forked child under ptrace(2), and kill it at any system call that changes a tree.

What counts as a step is told by the kernel, not by a list of ours: each system call of the child's main thread that
creates, writes, syncs, renames or removes something below a directory. Between two of them nothing durable changes, and
locks end with their holder, so that dying before each of them is dying everywhere.
"""

import ctypes
import os
import platform
import signal
import struct
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

TRACEME, SYSCALL, SETOPTIONS, GET_INFO = 0, 24, 0x4200, 0x420E
SYSGOOD, EXITKILL = 1, 1 << 20
ENTRY, EXIT = 1, 2
# name: (numbers on x86_64 and aarch64, which argument names the file: a descriptor, a path, a descriptor and a path)
CALLS = {
    "write": (1, 64, "fd", 0), "pwrite64": (18, 68, "fd", 0), "writev": (20, 66, "fd", 0),
    "sendfile": (40, 71, "fd", 0), "copy_file_range": (326, 285, "fd", 2), "fallocate": (285, 47, "fd", 0),
    "fsync": (74, 82, "fd", 0), "fdatasync": (75, 83, "fd", 0), "syncfs": (306, 267, "fd", 0),
    "ftruncate": (77, 46, "fd", 0), "fchmod": (91, 52, "fd", 0), "fchown": (93, 55, "fd", 0),
    "fsetxattr": (190, 7, "fd", 0), "setxattr": (188, 5, "path", 0), "truncate": (76, 45, "path", 0),
    "open": (2, None, "path", 0), "openat": (257, 56, "at", 0), "mkdir": (83, None, "path", 0),
    "mkdirat": (258, 34, "at", 0), "mknodat": (259, 33, "at", 0), "rmdir": (84, None, "path", 0),
    "unlink": (87, None, "path", 0), "unlinkat": (263, 35, "at", 0), "rename": (82, None, "path", 1),
    "renameat": (264, 38, "at", 2), "renameat2": (316, 276, "at", 2), "link": (86, None, "path", 1),
    "linkat": (265, 37, "at", 2), "symlink": (88, None, "path", 1), "symlinkat": (266, 36, "at", 1),
    "chmod": (90, None, "path", 0), "fchmodat": (268, 53, "at", 0), "utimensat": (280, 88, "at", 0),
}  # fmt: skip
FLAGS = {"open": 1, "openat": 2}  # which argument holds them: an open that neither creates nor empties changes nothing
MACHINES = {"x86_64": 0, "aarch64": 1}
if platform.machine() not in MACHINES:
    pytest.skip(f"the numbers of the system calls of {platform.machine()} are not known", allow_module_level=True)
NAMES = {known: name for name, call in CALLS.items() if (known := call[MACHINES[platform.machine()]]) is not None}
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class Step(NamedTuple):
    """One system call that changes the tree: its name, and what it is about, relative to the tree."""

    call: str
    path: str


class Traced(NamedTuple):
    """How a run went: its steps, and its exit code; None where it was killed before its last step."""

    steps: list[Step]
    code: int | None


def traced(act: Callable[[], object], tree: Path, kill: Callable[[list[Step]], bool], *, tear: bool = False) -> Traced:
    """Run `act` in a child that dies before the step at which `kill`, given all steps up to it, says so.

    With `tear` it dies half way through that step, a write.
    """
    child = os.fork()
    if child == 0:
        _run(act)
    steps: list[Step] = []
    torn: int | None = None  # the descriptor of the write that is torn when it ends
    try:
        _, status = os.waitpid(child, 0)
        _ptrace(SETOPTIONS, child, SYSGOOD | EXITKILL)
        while os.WIFSTOPPED(status):
            number = os.WSTOPSIG(status)
            if number == signal.SIGTRAP | 0x80:
                if torn is not None:
                    return _tear(child, torn, steps)
                if (step := _step(child, tree)) is not None:
                    steps.append(step)
                    if kill(steps):
                        if not tear:
                            return Traced(steps, None)
                        torn = _info(child)[1][1]
            _ptrace(SYSCALL, child, 0 if number in (signal.SIGTRAP | 0x80, signal.SIGSTOP) else number)
            _, status = os.waitpid(child, 0)
        return Traced(steps, os.waitstatus_to_exitcode(status))
    finally:
        _end(child)


def _run(act: Callable[[], object]) -> None:
    try:
        _ptrace(TRACEME, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        code = act()
        os._exit(code if isinstance(code, int) else 0)
    except BaseException:  # whatever it was, pytest's own code must not run in the child
        traceback.print_exc()
        os._exit(99)


def _end(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def _ptrace(request: int, pid: int, data: int, address: int = 0) -> int:
    done = int(_libc.ptrace(request, pid, address, data))
    if done < 0:
        raise OSError(ctypes.get_errno(), f"ptrace request {request:#x}")
    return done


def _info(child: int) -> tuple[int, list[int]]:
    """(ENTRY or EXIT, number and arguments); ptrace(2), PTRACE_GET_SYSCALL_INFO."""
    room = ctypes.create_string_buffer(88)
    _ptrace(GET_INFO, child, ctypes.addressof(room), len(room))
    return room.raw[0], list(struct.unpack_from("=7Q", room.raw, 24))


def _step(child: int, tree: Path) -> Step | None:
    op, (number, *arguments) = _info(child)
    if op != ENTRY or number not in NAMES:
        return None
    name = NAMES[number]
    if name in FLAGS and not arguments[FLAGS[name]] & (os.O_CREAT | os.O_TRUNC):
        return None
    path = _named(child, *CALLS[name][2:], arguments)
    return Step(name, os.path.relpath(path, tree)) if f"{path}/".startswith(f"{tree}/") else None


def _named(child: int, kind: str, at: int, arguments: list[int]) -> str:
    """The absolute path that a call is about, as far as it has one."""
    if kind == "fd":
        return _opened(child, arguments[at])
    base = "" if kind == "path" else _opened(child, arguments[at])
    text = _text(child, arguments[at + (kind == "at")])
    return os.path.normpath(os.path.join(base or os.readlink(f"/proc/{child}/cwd"), text))


def _opened(child: int, fd: int) -> str:
    try:
        return os.readlink(f"/proc/{child}/fd/{fd & 0xFFFFFFFF}")
    except OSError:  # AT_FDCWD, or no descriptor at all
        return ""


def _text(child: int, address: int) -> str:
    if address == 0:
        return ""
    with open(f"/proc/{child}/mem", "rb", 0) as memory:
        memory.seek(address)
        return os.fsdecode(memory.read(4096).partition(b"\0")[0])


def _tear(child: int, descriptor: int, steps: list[Step]) -> Traced:
    """At the end of a write: leave half of what it wrote, as one that was interrupted does, and let its writer die."""
    _, (written, *_) = _info(child)
    path = f"/proc/{child}/fd/{descriptor}"
    os.truncate(path, os.stat(path).st_size - written + written // 2)
    return Traced(steps, None)


def deaths(steps: list[Step]) -> Iterator[tuple[int, bool]]:
    """Every way to die in a run of these steps: before each, and half way through each write."""
    for number, step in enumerate(steps):
        yield number, False
        if step.call == "write":
            yield number, True
