"""bench/injection: let one system call of this process meet a fault, exactly once.

`Layer(root, …)` replaces the functions of `os`, `fcntl` and `io` that make system calls, and the three that are made
through ctypes (renameat2, syncfs, sync_file_range), by ones that count their calls on what lies below `root`. A fault
is named

    SCENE:CALL:N:WHEN:WHAT      e.g.  finish:renameat2:1:after:KILL

and strikes the N-th CALL, before it is made or after it has been. WHAT is

    KILL SEGV          the process dies by that signal
    STOP               the process is stopped; whoever watches it lets others work, and then lets it go on
    DELAY              the call takes long, while others work
    ENOSPC EDQUOT EIO EROFS EMFILE ENFILE ENOMEM EINTR
                       the call fails; `after` it has been carried out, as on a network's or a dying disk
    ENOSPC+ EIO+ …     ” and for half a second every call of this process that would need what is short
    SHORT              half is written, and that is what write(2) says
    TORN FULL          half is written, then the process dies, or the disk is full for half a second

A fault strikes once in all processes that descend from the one that made the layer. EINTR is only let through where
Python does not itself repeat the call (PEP 475): at the calls through ctypes. Flushes are counted and left out (by
`without_flushes`), since processes die here and not the power.
"""

import builtins
import ctypes
import errno
import fcntl
import io
import json
import mmap
import os
import signal
import time
from dataclasses import dataclass

from repairlab.spool import disk

ERRNOS = ("ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE", "ENFILE", "ENOMEM")
READING = ("EIO", "ENOMEM")
DEATHS = ("KILL", "SEGV")
PAUSES = ("STOP", "DELAY")
CHANGES = {"open:new", "write", "ftruncate", "rename", "renameat2", "replace", "link", "symlink", "unlink", "remove"}
CHANGES |= {"rmdir", "mkdir", "chmod", "fchmod", "utime", "setxattr", "fsync", "fdatasync", "syncfs", "io.open"}
CHANGES |= {"sync_file_range", "chown"}
OPENS = {"open", "open:new", "scandir", "listdir", "io.open"}
LASTING = {"ENOSPC+": CHANGES - {"unlink", "remove", "rmdir", "ftruncate"}, "EROFS+": CHANGES, "EMFILE+": OPENS}
DELAY_S = 0.05
LASTS_S = 0.5  # longer than any command runs; a service is there when it is over
OF_OS = (
    *("open", "close", "read", "write", "pread", "fsync", "fdatasync", "ftruncate", "rename", "replace", "link"),
    *("symlink", "unlink", "remove", "rmdir", "mkdir", "listdir", "scandir", "stat", "lstat", "fstat", "readlink"),
    *("chmod", "fchmod", "chown", "utime", "getxattr", "setxattr"),
)
OF_FCNTL = ("flock", "fcntl")


@dataclass(frozen=True, order=True)
class Fault:
    """One fault, as its name says."""

    scene: str
    call: str
    number: int
    when: str
    what: str

    def __str__(self):
        return f"{self.scene}:{self.call}:{self.number}:{self.when}:{self.what}"

    @classmethod
    def named(cls, name):
        scene, number, when, what = name.split(":")[0], *name.split(":")[-3:]
        return cls(
            scene, name.removeprefix(f"{scene}:").removesuffix(f":{number}:{when}:{what}"), int(number), when, what
        )


def without_flushes():
    """Let this process and its forks flush nothing."""
    os.fsync = os.fdatasync = lambda _: None
    disk._libc.syncfs = disk._libc.sync_file_range = lambda *_: 0


def faults_of(scene, calls):
    """Return every fault that the recorded calls of a scene can meet."""
    return [Fault(scene, call, number, when, what) for call, number in numbered(calls) for when, what in _kinds(call)]


def numbered(calls):
    """Return each call with how often it has been made by then."""
    seen, found = {}, []
    for call in calls:
        seen[call] = seen.get(call, 0) + 1
        found.append((call, seen[call]))
    return found


def _kinds(call):
    """Return (when, what) for a call. After one that changes nothing is the same as before the next one."""
    if call not in CHANGES and call not in OPENS:
        return [("before", what) for what in (*DEATHS, "STOP", *READING, "EIO+")]
    found = [("before", what) for what in (*DEATHS, *PAUSES, *ERRNOS, "EIO+")]
    found += [("before", what) for what, calls in LASTING.items() if call in calls]
    if call in CHANGES:
        found += [("after", what) for what in (*DEATHS, "STOP", "EIO")]
    found += [("before", "EINTR")] if call in ("renameat2", "syncfs") else []
    return found + ([("before", what) for what in ("SHORT", "TORN", "FULL")] if call == "write" else [])


class Layer:
    """The layer of one process and its descendants; `role` names which of them is meant, "" for the first.

    Writes a line to `tells` for each call when there is no fault, else for the one that it strikes.
    """

    def __init__(self, root, fault, role, tells):
        self._root, self._fault, self._wanted, self.tells = str(root), fault, role, tells
        self.role = ""
        self._counts = {}
        self._lasting, self._until = (), 0.0
        self._struck = mmap.mmap(-1, 1)
        self._real = {}

    def install(self):
        for name in OF_OS:
            self._replace(os, name)
        for name in OF_FCNTL:
            self._replace(fcntl, name)
        self._replace(io, "open", "io.open")
        builtins.open = io.open
        disk._libc = _Libc(self, disk._libc)
        load = ctypes.CDLL
        ctypes.CDLL = lambda *args, **kwargs: _Libc(self, load(*args, **kwargs))

    def plays(self, role):
        """Say that this process is now somebody else: its calls are counted anew."""
        self.role, self._counts, self._lasting = role, {}, ()

    def _tell(self, kind, name):
        self._real["write"](self.tells, json.dumps([kind, name, os.getpid()]).encode() + b"\n")

    def _replace(self, module, name, known=None):
        real = getattr(module, name)
        self._real[known or name] = real

        def call(*args, **kwargs):
            return self.meet(self._name(known or name, args), real, args, kwargs)

        call.__name__ = name
        setattr(module, name, call)
        for known_by in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if real in known_by:
                known_by.add(call)

    @staticmethod
    def _name(name, args):
        creates = name == "open" and len(args) > 1 and isinstance(args[1], int) and args[1] & os.O_CREAT
        return "open:new" if creates else name

    def meet(self, name, real, args, kwargs):
        """Make the call, unless its fault says otherwise."""
        if self.role != self._wanted or not self._concerns(args, kwargs):
            return real(*args, **kwargs)
        self._counts[name] = self._counts.get(name, 0) + 1
        if self._fault is None:
            self._tell("call", name)
        fault = self._fault
        if self._lasting and name in self._lasting[1] and time.monotonic() < self._until:
            raise _error(self._lasting[0])
        if fault is None or (fault.call, fault.number) != (name, self._counts[name]) or self._struck[0]:
            return real(*args, **kwargs)
        self._struck[0] = 1
        self._tell("struck", fault.what)
        return self._strike(fault, real, args, kwargs)

    def _strike(self, fault, real, args, kwargs):
        if fault.what in ("SHORT", "TORN", "FULL"):
            return self._half(fault, real, args)
        if fault.when == "before":
            self._suffer(fault.what)
            return real(*args, **kwargs)
        result = real(*args, **kwargs)
        try:
            self._suffer(fault.what)
        except OSError:
            if isinstance(result, int) and fault.call.startswith("open"):
                self._real["close"](result)
            raise
        return result

    def _half(self, fault, real, args):
        done = real(args[0], bytes(args[1])[: len(args[1]) // 2])
        if fault.what == "TORN":
            self._suffer("KILL")
        if fault.what == "FULL":
            self._last("ENOSPC", LASTING["ENOSPC+"])
        return done

    def _suffer(self, what):
        if what in DEATHS or what == "STOP":
            number = getattr(signal, f"SIG{what}")
            if what == "SEGV":
                signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif what == "DELAY":
            time.sleep(DELAY_S)
        else:
            if what.endswith("+"):
                self._last(what[:-1], LASTING.get(what, CHANGES | OPENS | {"read", "stat", "fstat", "lstat"}))
            raise _error(what.removesuffix("+"))

    def _last(self, code, calls):
        self._lasting, self._until = (code, calls), time.monotonic() + LASTS_S

    def _concerns(self, args, kwargs):
        """Whether a call is about something below the root."""
        first = args[0] if args else next(iter(kwargs.values()), None)
        if isinstance(first, int):
            return self._below(first)
        try:
            path = os.fsdecode(first)
        except TypeError:
            return hasattr(first, "fileno")
        if os.path.isabs(path):
            return path.startswith(self._root)
        dir_fd = kwargs.get("dir_fd", kwargs.get("src_dir_fd"))
        return self._below(dir_fd) if isinstance(dir_fd, int) else False

    def _below(self, fd):
        try:
            return self._real["readlink"](f"/proc/self/fd/{fd}").startswith(self._root)
        except OSError:
            return False


class _Libc:
    """The C library as ctypes calls it: an error is a -1 and an errno."""

    def __init__(self, layer, real):
        self._layer, self._libc = layer, real

    def __getattr__(self, name):
        return getattr(self._libc, name)

    def renameat2(self, src_fd, old, dst_fd, new, flags):
        def real(*_, **__):
            return self._libc.renameat2(src_fd, old, dst_fd, new, flags)

        return self._returned("renameat2", real, (old,), {"dir_fd": src_fd})

    def syncfs(self, fd):
        return self._returned("syncfs", self._libc.syncfs, (fd,), {})

    def sync_file_range(self, fd, offset, size, flags):
        return self._returned("sync_file_range", self._libc.sync_file_range, (fd, offset, size, flags), {})

    def _returned(self, name, real, args, kwargs):
        try:
            return self._layer.meet(name, real, args, kwargs) or 0
        except OSError as error:
            ctypes.set_errno(error.errno)
            return -1


def _error(name):
    code = getattr(errno, name)
    return OSError(code, os.strerror(code))
