"""worker: the hot process inside the sandbox; pytest has collected the bundle's tests once, each candidate is a fork.

Runs under the bundle's interpreter (Python 3.8 or newer, standard library and pytest only). It is one part of the
program that `repairlab.repair.server` assembles, and shares one name space with the other parts.

This process has imported the bundle's code, so nothing that it says is believed: it tells the search where to look.
A candidate is applied in the fork by giving the live functions the `__code__` of the changed definition; where that
would not be the same as a fresh import (module-level code, default values, functions that ran during collection), the
answer is `fresh` and the pristine server process collects everything anew in a fork of its own.

A fork reports each test through a pipe and its end through its exit status; both must agree. CPU time is bounded by
ITIMER_PROF, whose default action ends the process; wall time by the parent, which then kills the fork's session and
whatever it left behind (the parent is a subreaper).
"""

import ctypes
import gc
import io
import mmap
import os
import select
import signal
import socket
import struct
import sys
import time
import warnings

_write, _read, _fork, _waitpid, _kill, _exit = os.write, os.read, os.fork, os.waitpid, os.kill, os._exit
_monotonic, _setitimer, _cpu = time.monotonic, signal.setitimer, time.process_time

COMPLETE = 42  # exit status of a fork that ran all its tests; 0 is what a stray exit gives
PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36


def prctl(option, value):
    ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


class Recorder:
    """pytest plugin: one letter a test (p passed, f failed, e error, s skipped, x expected failure), and the crash."""

    def __init__(self):
        self.outcome = ""
        self.excinfo = None
        self.errors = []
        self.keep_excinfo = False

    def begin(self):
        self.outcome, self.excinfo = "", None

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.outcome = "f" if report.when == "call" and self.outcome != "e" else "e"
        elif report.skipped and not self.outcome:
            self.outcome = "x" if hasattr(report, "wasxfail") else "s"
        elif report.when == "call" and not self.outcome:
            self.outcome = "p"

    def pytest_runtest_makereport(self, item, call):
        if self.keep_excinfo and call.excinfo is not None and self.excinfo is None:
            self.excinfo = call.excinfo

    def pytest_collectreport(self, report):
        if report.failed and len(self.errors) < 20:
            self.errors.append([report.nodeid, str(report.longrepr)[-2000:]])

    def pytest_internalerror(self, excrepr):
        self.errors.append(["", "internal error: " + str(excrepr)[-1500:]])


def collect(arguments):
    """Return (session, recorder) after pytest has collected; the errors are in `recorder.errors`."""
    from _pytest.config import _prepareconfig
    from _pytest.main import Session

    recorder = Recorder()
    config = _prepareconfig(list(arguments), [recorder])
    config._do_configure()
    session = Session.from_config(config)
    session.exitstatus = 0
    config.hook.pytest_sessionstart(session=session)
    config.hook.pytest_collection(session=session)
    return session, recorder


def run_tests(session, recorder, order, allowance, report, begin=None):
    """Run the items `order` with the whole runtest protocol; `report(index, outcome, cpu, wall)` says whether to go on."""
    items = session.items
    for position, index in enumerate(order):
        after = items[order[position + 1]] if position + 1 < len(order) else None
        recorder.begin()
        if begin is not None:
            begin(index)
        _setitimer(signal.ITIMER_PROF, allowance(index))
        cpu, wall = _cpu(), _monotonic()
        session.config.hook.pytest_runtest_protocol(item=items[index], nextitem=after)
        cpu, wall = _cpu() - cpu, _monotonic() - wall
        if not report(index, recorder.outcome or "e", cpu, wall):
            break
    _setitimer(signal.ITIMER_PROF, 0)


class Fork:
    """A forked child that reports records through a pipe; `records(wall)` yields them, `status` is its end."""

    def __init__(self, body):
        self.read_end, write_end = os.pipe()
        self.status = None
        self.timed_out = False
        self.buffer = b""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a thread left by the bundle's import makes newer Pythons warn
            self.pid = _fork()
        if self.pid == 0:
            self._child(body, write_end)
        os.close(write_end)

    def _child(self, body, write_end):
        code = 1
        try:
            os.close(self.read_end)
            os.setsid()
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            body(write_end)
            code = COMPLETE
        except BaseException as error:  # whatever untrusted code raises ends this fork and nothing else
            try:
                _write(write_end, ("! %s\n" % type(error).__name__).encode())
            except OSError:
                pass
        finally:
            _exit(code)

    def records(self, wall):
        """Yield the lines that the child writes; each must come within `wall()` seconds of the one before."""
        poll = select.poll()
        poll.register(self.read_end, select.POLLIN)
        deadline = _monotonic() + wall()
        while True:
            left = deadline - _monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                self.timed_out = True
                break
            data = _read(self.read_end, 1 << 16)
            if not data:
                break
            self.buffer += data
            if len(self.buffer) > 1 << 26:
                break
            while b"\n" in self.buffer:
                line, _, self.buffer = self.buffer.partition(b"\n")
                yield line.decode("utf-8", "replace")
                deadline = _monotonic() + wall()
        self.end()

    def end(self):
        if self.status is None:
            os.close(self.read_end)
            if self.timed_out or self.buffer:
                _killed(self.pid)
            else:  # the pipe is closed, but code that closes descriptors may still run
                deadline = _monotonic() + 0.5
                while self.status is None and _monotonic() < deadline:
                    if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                        break
                    time.sleep(0.001)
            _killed(self.pid)
            self.status = _waitpid(self.pid, 0)[1]
            reap_strays()

    @property
    def complete(self):
        return os.WIFEXITED(self.status) and os.WEXITSTATUS(self.status) == COMPLETE

    @property
    def out_of_cpu(self):
        return os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) in (signal.SIGPROF, signal.SIGXCPU)


def _killed(pid):
    """Kill the session of a fork that has not been reaped yet, so that its number cannot belong to another."""
    for target in (lambda: os.killpg(pid, signal.SIGKILL), lambda: _kill(pid, signal.SIGKILL)):
        try:
            target()
        except OSError:
            pass


def reap_strays():
    """Kill and reap what escaped from a fork's session; as a subreaper this process has become its parent."""
    for _ in range(1000):
        try:
            pid, _status = _waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            for child in children():
                if child not in KEEP:
                    _killed(child)
            if not [child for child in children() if child not in KEEP]:
                return
            time.sleep(0.001)


KEEP = set()  # children that live on: the hot worker of the pristine server


def children():
    found = []
    for task in os.listdir("/proc/self/task"):
        try:
            with io.open("/proc/self/task/%s/children" % task) as stream:
                found += [int(word) for word in stream.read().split()]
        except OSError:
            pass
    return found


def judge(fork, outcomes, expected):
    """The verdict on a candidate's fork: `passed` needs every expected test reported and the agreed exit status."""
    if fork.timed_out or fork.out_of_cpu:
        return "hang"
    if not fork.complete:
        return "died"
    good = all(outcomes.get(index) in ("p", "s", "x") for index in expected)
    return "passed" if good else "failed"


class Channel:
    """Length-prefixed JSON over a socket between the pristine server and the hot worker."""

    def __init__(self, sock):
        self.sock = sock

    def send(self, message):
        data = JSON.dumps(message).encode()
        self.sock.sendall(struct.pack(">I", len(data)) + data)

    def receive(self, timeout=None):
        self.sock.settimeout(timeout)
        (size,) = struct.unpack(">I", self._exactly(4))
        if size > 1 << 27:
            raise EOFError("oversize message")
        return JSON.loads(self._exactly(size).decode())

    def _exactly(self, size):
        parts = b""
        while len(parts) < size:
            data = self.sock.recv(size - len(parts))
            if not data:
                raise EOFError("closed")
            parts += data
        return parts


def shared_counters(count):
    """An array of unsigned integers that parent and forks share, so that a killed fork's coverage is not lost."""
    return memoryview(mmap.mmap(-1, max(4, count * 4))).cast("I")


def quiet():
    """Point the standard streams at /dev/null: output of tests is neither wanted nor bounded."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    sys.stdin = io.open(0, closefd=False)
    sys.stdout = io.open(1, "w", closefd=False)
    sys.stderr = io.open(2, "w", closefd=False)


def settle():
    """Move everything that is alive out of the collector's sight: forks then touch fewer pages."""
    gc.collect()
    gc.freeze()


def pair():
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
