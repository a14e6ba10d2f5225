"""repairlab-sandbox: keep one untrusted process, from the inside of what confines it.

    repairlab-sandbox 3<>CONNECTION

repairlab-sandbox@.service starts it once a connection; where there is no such unit, the tier "landlock" starts it as a
child. Descriptor 3 is one end of a SOCK_SEQPACKET connection, by which alone it knows whom it serves:

    client → shim   one order, JSON, and two descriptors: the program's stream, the pipe for its output
    shim → client   {"started": true}
    client → shim   its end of file: end it
    shim → client   {"why": …, "code": …, "signal": …}, when nothing is left

It confines itself (landlock), then once more the child that it forks (landlock, seccomp), so that the child can neither
signal nor trace it, nor reach the connection; and it cannot be looked into (not dumpable). It bounds what no kernel
limit bounds here: the memory of all together, files on a disk. At the end it kills every process that it may signal.
That these are its own is proved before anything untrusted runs, on a process outside that must be out of reach; where
the kernel is older than landlock's scopes (ABI 6), its uid must be one that systemd gave to this unit alone.

Exit: 0 done or the client went away · 64 usage · 69 this kernel cannot confine · 77 signals are not confined.
"""

import array
import ctypes
import errno
import json
import os
import select
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, Self

from repairlab.errors import Forbidden, RepairLabError, Unavailable, UsageError
from repairlab.sandbox import inside, seccomp
from repairlab.sandbox.meter import Disk, Memory, empty, sized

if TYPE_CHECKING:
    from repairlab.commandline import Parser

CONNECTION = 3
STREAM = 3  # of the child
ORDER_BYTES = 1 << 20
ORDER_S = 30.0  # a client that connects and says nothing does not keep a place for long
TICK_S = 0.05
DYNAMIC_UIDS = range(61184, 65520)  # systemd's: nobody else runs under one
SET_PARENT_DEATH_SIGNAL, SET_DUMPABLE, SET_SECCOMP, SET_CHILD_SUBREAPER = 1, 4, 22, 36
FILTER = 2
PASSING = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT)
STARTED_BY = "repairlab-sandbox.socket starts it"


def parser() -> "Parser":
    """Return the command line, for the man page too."""
    from repairlab.commandline import Parser

    told = "Keep the untrusted process of one sandbox. Not for people: repairlab-sandbox.socket starts it."
    return Parser("repairlab-sandbox", told, root=False)


def main(argv: Sequence[str]) -> int:
    """Serve the one connection."""
    if argv:  # only then: nobody waits for argparse who waits for a sandbox
        parser().read(argv)
    try:
        connection = socket.socket(fileno=CONNECTION)
        connection.set_inheritable(False)
    except OSError:
        raise UsageError(f"descriptor {CONNECTION} is no connection", fix=STARTED_BY) from None
    with connection:
        return serve(connection)


def serve(connection: socket.socket) -> int:
    """Carry out the order that comes over the connection."""
    with open("/proc/self/oom_score_adj", "r+") as rank:  # cannot be opened from the next line on
        _prctl(SET_DUMPABLE, 0)
        _prctl(SET_CHILD_SUBREAPER, 1)  # what the child leaves behind becomes ours to reap
        order, descriptors = receive(connection)
        if order is None:
            return os.EX_OK
        try:
            if not order["owned"]:
                order = _only_sized(order)
            disk = Disk(order["write"], order["tmpfs_mb"], order["inodes"])
            memory = Memory(order["memory_mb"] << 20, order["write"], order["processes"])
            _confine(order)
            child = _begin(order, descriptors, rank)
        except (OSError, RepairLabError) as error:
            passing = isinstance(error, OSError) and error.errno in PASSING
            say(connection, {"refused": str(error), "passing": passing})
            raise
    try:
        say(connection, {"started": True})
        why = _watch(connection, child, memory, disk)
    finally:
        status = _end(child)
        if order["owned"]:
            empty(order["work"])
    say(connection, _outcome(why or ("memory_mb" if memory.overrun() else None), status))
    return os.EX_OK


def receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Return the order and its two descriptors; None when the client went away."""
    descriptors = array.array("i")
    connection.settimeout(ORDER_S)
    try:
        data, ancillary, _, _ = connection.recvmsg(ORDER_BYTES, socket.CMSG_SPACE(2 * descriptors.itemsize))
    except TimeoutError:
        return None, []
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    if not data or len(descriptors) != 2:
        return None, []
    return json.loads(data), list(descriptors)


def _only_sized(order: dict[str, Any]) -> dict[str, Any]:
    """Return the order without the unit's directories that have no size of their own: they may not be written."""
    write = sized(order["write"])
    env = order["env"] if order["env"]["TMPDIR"] in write else {**order["env"], "TMPDIR": order["work"]}
    return {**order, "write": write, "env": env}


def say(connection: socket.socket, message: Mapping[str, object]) -> None:
    """Tell the client; one that is gone need not know."""
    try:
        connection.send(json.dumps(message).encode(), socket.MSG_NOSIGNAL)
    except OSError:
        pass


def _confine(order: Mapping[str, Any]) -> None:
    """Confine this process; raise `Unavailable` or `Forbidden` unless all that it may signal is its own."""
    with _Outsider() as outsider:
        abi = inside.restrict([*order["read"], "/proc", "/sys/fs/cgroup"], order["write"])
        if abi < inside.SCOPE_ABI:
            if os.getuid() in DYNAMIC_UIDS:  # of this unit alone; what keeps the child from this process is the filter
                return
            raise Unavailable(f"this kernel's landlock (ABI {abi}) cannot keep signals in", fix="use bubblewrap")
        if not outsider.reached():
            return
    raise Forbidden("a process that is not of this sandbox can be signalled from here", fix="see its unit's User=")


class _Outsider:
    """A process of the same user that is forked before this one confines itself: it must then be out of reach."""

    def __enter__(self) -> Self:
        waits, self._held = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if not self._pid:
            os.close(self._held)
            os.read(waits, 1)
            os._exit(0)
        os.close(waits)
        return self

    def reached(self) -> bool:
        try:
            os.kill(self._pid, 0)
        except PermissionError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        os.close(self._held)
        os.waitpid(self._pid, 0)


def _begin(order: Mapping[str, Any], descriptors: Sequence[int], rank: IO[str]) -> int:
    """Start the child as the first that the kernel ends for want of memory, and hand it the descriptors."""
    own = rank.read()
    _write(rank, "1000")
    child = _start(order, *descriptors)  # it has inherited the rank, and cannot open its own
    _write(rank, own)
    for fd in descriptors:
        os.close(fd)
    return child


def _write(file: IO[str], text: str) -> None:
    file.seek(0)
    file.write(text)
    file.flush()


def _start(order: Mapping[str, Any], stream: int, output: int) -> int:
    """Fork the child; it confines itself further and becomes the interpreter."""
    shim = os.getpid()
    rules = seccomp.program(namespaces=order["namespaces"], spared=shim)
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        _prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != shim:
            os._exit(127)
        null = os.open("/dev/null", os.O_RDONLY)
        kept = [os.dup2(fd, 100 + number) for number, fd in enumerate((null, output, output, stream))]
        for number, fd in enumerate(kept):
            os.dup2(fd, number)
        os.closerange(STREAM + 1, 1 << 16)
        os.chdir(order["work"])
        os.umask(0o077)
        inside.restrict(order["read"], order["write"])
        _filter(rules)
        os.execve(order["argv"][0], order["argv"], order["env"])  # noqa: S606  the one purpose
    except BaseException as error:  # a copy of the server must never go on serving
        os.write(2, f"cannot start {order['argv'][0]}: {error}\n".encode())
    os._exit(127)


def _filter(rules: bytes) -> None:
    """Put the filter of system calls over this process; an architecture without one has an empty program."""
    if not rules:
        return
    held = ctypes.create_string_buffer(rules, len(rules))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))

    program = Program(len(rules) // 8, ctypes.addressof(held))
    _prctl(SET_SECCOMP, FILTER, ctypes.byref(program))


def _watch(connection: socket.socket, child: int, memory: Memory, disk: Disk) -> str | None:
    """Return when the child has ended or the client wants no more (None), or what was exceeded."""
    handle = os.pidfd_open(child)
    poll = select.poll()
    for fd in (handle, connection.fileno()):
        poll.register(fd, select.POLLIN)
    try:
        while not poll.poll(TICK_S * 1000):
            if (why := memory.exceeded()) is not None:
                return why
            if disk.exceeded(time.monotonic()):
                return "tmpfs_mb"
    finally:
        os.close(handle)
    return None


def _end(child: int) -> int:
    """Kill everything, reap it, return the child's wait status."""
    status = 0
    while True:
        try:
            os.kill(-1, signal.SIGKILL)  # spares the caller; reaches what `_confine` has left, nothing else
        except ProcessLookupError:
            pass
        try:
            pid, ended = os.waitpid(-1, 0)
        except ChildProcessError:
            return status
        if pid == child:
            status = ended


def _outcome(why: str | None, status: int) -> dict[str, object]:
    if why is not None:
        return {"why": why, "code": None, "signal": int(signal.SIGKILL)}
    if os.WIFSIGNALED(status):
        return {"why": "signalled", "code": None, "signal": os.WTERMSIG(status)}
    return {"why": "exited", "code": os.WEXITSTATUS(status), "signal": None}


def _prctl(option: int, value: int, pointer: object = 0) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), pointer, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")
