"""zygote: the pre-loaded parent that workers are forked from.

    python -P -c BOOTSTRAP PATH --control FD --parent PID [--preload MODULE …]

It imports MODULEs once and then obeys its control socket (see `wire`): each start forks, in about a millisecond, a
worker with its own session, stdin from /dev/null, the descriptors that came with the order, and the fate of its
parent (PDEATHSIG). It has one thread and opens nothing, so a fork copies nothing that could be torn.

While nothing is asked of it the zygote forks spares. A spare takes its own copy of every page that a fork shares, some
milliseconds of faults, and waits on a line of its own; the next order goes to it and finds a process that is running
already. Without a spare (many orders in a row) an order forks, as above.

Guarantees: a worker is reaped only after its whole process group was killed, so a signal sent by token can never reach
a stranger who got the same pid, and nothing of a worker's group outlives it. What left the group and lost its parent
comes to the zygote, which is a subreaper, and is killed at the next end of a worker. When the control socket closes,
or its starter dies, the zygote kills every worker's group and exits.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from repairlab.commandline import Parser
from repairlab.errors import reported
from repairlab.process import wire
from repairlab.process.helpers import PR_SET_CHILD_SUBREAPER, die_with_parent, prctl

SPARES = 2  # a job's first two workers follow each other closely
QUIET_MS = 10  # without an order, before a spare is forked: not while somebody waits for this processor
MADV_POPULATE_WRITE = 23
LARGEST_MAPPING = 64 << 20
OOM_SCORE = "500"  # when memory runs out a worker goes before the one who can start it again


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that was forked and not yet reaped."""

    token: int
    pid: int
    since: float


@dataclass(frozen=True, slots=True)
class Spare:
    """A fork that waits for its order."""

    pid: int
    line: socket.socket


class Server:
    """The zygote's side of the control socket."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._workers: dict[int, Worker] = {}  # by pid
        self._spares: list[Spare] = []
        self._hatching = True  # until there are enough, or a fork is refused
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._ending = False

    def serve(self) -> int:
        """Obey until the control socket closes or SIGTERM comes."""
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        for number in (signal.SIGINT, signal.SIGHUP):  # a terminal's are for whoever started us
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        gc.collect()
        gc.freeze()  # else the first collection in each worker would touch, and so copy, every page
        self._say({"ready": os.getpid()})
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while not self._ending:
            happened = poll.poll(QUIET_MS if self._hatching else None)
            for fd, _ in happened:
                if fd == self._wake:
                    self._reap()
                else:
                    self._obey()
            if not happened:
                self._hatch()
        self._end()
        return os.EX_OK

    def _on_signal(self, number: int, _frame: object) -> None:
        self._ending = self._ending or number == signal.SIGTERM

    def _say(self, message: wire.Message) -> None:
        try:
            wire.send(self._control, message)
        except (BrokenPipeError, ConnectionResetError):
            self._ending = True

    def _obey(self) -> None:
        try:
            received = wire.receive(self._control)
        except ConnectionResetError:
            received = None
        if received is None:
            self._ending = True
            return
        message, fds = received
        try:
            if "start" in message:
                self._start(message, fds)
            elif "kill" in message:
                self._kill(message["kill"], message["signal"])
            elif "ping" in message:
                self._say({"pong": message["ping"]})
        finally:
            wire.close_all(fds)

    def _start(self, order: wire.Message, fds: list[int]) -> None:
        since = time.monotonic()
        try:
            pid = self._given_to_a_spare(order, fds) or self._fork(lambda: (order, fds))
        except OSError as error:
            self._say({"refused": order["start"], "reason": error.strerror})
            return
        self._hatching = True
        self._workers[pid] = Worker(order["start"], pid, since)
        self._say({"started": order["start"], "pid": pid})

    def _given_to_a_spare(self, order: wire.Message, fds: list[int]) -> int | None:
        while self._spares:
            spare = self._spares.pop(0)
            with spare.line, contextlib.suppress(OSError):  # it died, or the order is too long for its line
                wire.send(spare.line, order, fds)
                return spare.pid
        return None

    def _hatch(self) -> None:
        """Fork a spare."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()

        def order() -> tuple[wire.Message, list[int]]:
            ours.close()
            die_with_parent(parent)
            own_pages()
            received = wire.receive(theirs)
            if received is None:
                os._exit(os.EX_OK)
            theirs.close()
            return received

        with theirs:
            try:
                self._spares.append(Spare(self._fork(order), ours))
            except OSError:
                ours.close()
                self._hatching = False
        self._hatching = self._hatching and len(self._spares) < SPARES

    def _fork(self, order: Callable[[], tuple[wire.Message, list[int]]]) -> int:
        """Fork a worker that carries out what `order` returns in it."""
        parent = os.getpid()
        # A signal for the worker that comes before it has its own handlers must wait, not end in a copy of ours.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                self._become(order, parent)
            return pid
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _become(self, next_order: Callable[[], tuple[wire.Message, list[int]]], parent: int) -> NoReturn:
        """Turn this fresh fork into the worker; never return into the zygote's loop."""
        order: wire.Message = {}
        code = os.EX_OSERR
        try:
            signal.set_wakeup_fd(-1)
            self._control.close()
            os.close(self._wake)
            os.close(self._waker)
            for spare in self._spares:
                spare.line.close()
            order, fds = next_order()
            prepare(order, fds, parent)
            code = execute(order)
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        except BaseException as error:
            with contextlib.suppress(Exception):
                print(f"{order.get('name')}: cannot be started: {error}", file=sys.stderr)
            code = 127 if isinstance(error, FileNotFoundError) else os.EX_OSERR
        finally:
            for file in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    file.flush()
            os._exit(code & 0xFF)

    def _kill(self, token: int, number: int) -> None:
        for worker in self._workers.values():
            if worker.token == token:
                _signal_group(worker.pid, number)

    def _reap(self) -> None:
        """Reap what has ended, its group first."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 512)
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(ended.si_pid, signal.SIGKILL)  # the pid is still the zombie's: nobody else's group
            _, status, usage = os.wait4(ended.si_pid, 0)
            if worker := self._workers.pop(ended.si_pid, None):
                self._report(worker, status, usage)
            self._forget_spare(ended.si_pid)
            self._kill_strays()  # also when a stray ends: its own children come to us now

    def _report(self, worker: Worker, status: int, usage: resource.struct_rusage) -> None:
        self._say(
            {
                "exited": worker.token,
                "pid": worker.pid,
                "status": os.waitstatus_to_exitcode(status),
                "cpu_s": usage.ru_utime + usage.ru_stime,
                "max_rss": usage.ru_maxrss << 10,
                "wall_s": time.monotonic() - worker.since,
            }
        )

    def _forget_spare(self, pid: int) -> None:
        for spare in [spare for spare in self._spares if spare.pid == pid]:
            spare.line.close()
            self._spares.remove(spare)

    def _kill_strays(self) -> None:
        """Kill the children that we never forked: they left their worker's group and lost their parent."""
        spares = {spare.pid for spare in self._spares}
        for pid in children():
            if pid not in self._workers and pid not in spares:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    def _end(self) -> None:
        """Kill every worker's group, and the spares and strays that this makes, until no child is left."""
        self._spares.clear()
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline:
            for pid in self._workers:
                _signal_group(pid, signal.SIGKILL)
            self._kill_strays()
            try:
                pid, _ = os.waitpid(-1, 0)
            except ChildProcessError:
                return
            self._workers.pop(pid, None)


def _signal_group(pid: int, number: int) -> None:
    """Signal a worker's group, or the worker alone while it has not yet made its group."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def own_pages() -> None:
    """Take a copy of each page that is shared with the parent, all at once and ahead of the order.

    One by one, at the first write to each, it costs a worker several hundred faults. madvise(2), MADV_POPULATE_WRITE,
    since Linux 5.14; without it pages are copied as they are written.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for line in Path("/proc/self/maps").read_text("utf-8", "surrogateescape").splitlines():
        bounds, mode, *_ = line.split(maxsplit=2)
        start, end = (int(bound, 16) for bound in bounds.split("-"))
        if mode == "rw-p" and end - start <= LARGEST_MAPPING:
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_POPULATE_WRITE)


def children() -> list[int]:
    """Return the pids of our children."""
    pid = os.getpid()
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return []


def prepare(order: wire.Message, fds: list[int], parent: int) -> None:
    """Give a fresh fork its own session, signals, descriptors, limits, directory and environment."""
    os.setsid()
    die_with_parent(parent)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):  # a shell ignores the last for `&`
        signal.signal(number, signal.SIG_DFL)
    if order["command"]:  # what Python ignores for itself an exec would hand on
        for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
    else:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o077)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE, "ascii")
    place_descriptors(order["stdio"], fds)
    for name, (soft, hard) in order["rlimits"].items():
        resource.setrlimit(getattr(resource, name), (soft, hard))
    if order["cwd"] is not None:
        os.chdir(order["cwd"])
    if order["env"] is not None:
        os.environ.clear()
        os.environ.update(order["env"])


def place_descriptors(stdio: Sequence[bool], fds: list[int]) -> None:
    """Make the first of `fds` stdout and stderr as `stdio` says; the others stay open, also across an exec."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    given = iter(fds)
    for target, is_given in enumerate(stdio, start=1):
        if is_given:
            os.dup2(next(given), target)
    if null > 2:
        os.close(null)
    for fd in fds[: sum(stdio)]:
        os.close(fd)
    for fd in fds[sum(stdio) :]:
        os.set_inheritable(fd, True)


def execute(order: wire.Message) -> int:
    """Run the entry function and return its exit code, or become the command."""
    if command := order["command"]:
        os.execvpe(command[0], command, os.environ)  # noqa: S606
    sys.argv = [order["name"], *order["argv"]]
    return reported(resolve(order["entry"]), order["argv"])


def resolve(entry: str) -> Callable[[Sequence[str]], int]:
    """Return the function that `package.module:function` names."""
    module, _, function = entry.partition(":")
    found: Callable[[Sequence[str]], int] = getattr(importlib.import_module(module), function)
    return found


def main(argv: Sequence[str]) -> int:
    """Preload, then serve the control socket."""
    parser = Parser("repairlab-zygote", "Fork pre-loaded workers.", root=False)
    parser.add_argument("--control", type=int, required=True, help="descriptor of the control socket")
    parser.add_argument("--parent", type=int, required=True, help="pid of the process that we must not outlive")
    parser.add_argument("--preload", nargs="*", default=[], help="modules to import before the first fork")
    options = parser.read(argv)
    os.set_inheritable(options.control, False)
    # SIGTERM, not SIGKILL: there are process groups to kill before we go.
    die_with_parent(options.parent, signal.SIGTERM)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    for module in options.preload:
        importlib.import_module(module)
    return Server(socket.socket(fileno=options.control)).serve()
