"""worker: the hot process inside the sandbox; pytest has collected the bundle's tests once, each candidate is a fork.

Runs under the bundle's interpreter (Python 3.8 or newer, standard library and pytest only). It is one part of the
program that `repairlab.trial.server` assembles, and shares one name space with the other parts.

This process has imported the bundle's code, so nothing that it says is believed: it tells the search where to look.
A candidate is applied in the fork by giving the live functions the `__code__` of the changed definition; where that
would not be the same as a fresh import (module-level code, default values, functions that ran during collection), the
answer is `fresh` and the pristine server process collects everything anew in a fork of its own.

A fork reports each test through a pipe and its end through its exit status; both must agree. CPU time is bounded by
ITIMER_PROF, whose default action ends the process; wall time by the parent, which then kills the fork's session and
whatever it left behind (the parent is a subreaper).
"""

import ctypes
import io
import mmap
import os
import select
import signal
import struct
import sys
import time
import warnings

_write, _read, _fork, _exit = os.write, os.read, os.fork, os._exit
_monotonic, _setitimer, _cpu = time.monotonic, signal.setitimer, time.process_time

COMPLETE = 42  # exit status of a fork that ran all its tests; 0 is what a stray exit gives
PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36


def prctl(option, value):
    ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


class Recorder:
    """pytest plugin: one letter a test (p passed, f failed, e error, s skipped, x expected failure), and the crash."""

    def __init__(self):
        self.outcome = ""
        self.note = ""
        self.excinfo = None
        self.errors = []
        self.causes = []
        self.keep_excinfo = False

    def begin(self):
        self.outcome, self.excinfo, self.note = "", None, ""

    def pytest_runtest_logreport(self, report):
        if not report.passed:
            self.note = reason_of(report.longrepr)
        if report.failed:
            self.outcome = "f" if report.when == "call" and self.outcome != "e" else "e"
        elif report.skipped and not self.outcome:
            self.outcome = "x" if hasattr(report, "wasxfail") else "s"
        elif report.when == "call" and not self.outcome:
            self.outcome = "p"

    def pytest_runtest_makereport(self, item, call):
        if self.keep_excinfo and call.excinfo is not None and self.excinfo is None:
            self.excinfo = call.excinfo.value

    def pytest_collectreport(self, report):
        if report.failed and len(self.errors) < 20:
            self.errors.append([report.nodeid[:500], str(report.longrepr)[-2000:]])

    def pytest_exception_interact(self, node, call, report):
        if getattr(report, "when", None) == "collect" and len(self.causes) < MAX_CAUSES:
            self.causes.append(cause_of(node.nodeid, call.excinfo.value))

    def pytest_internalerror(self, excrepr):
        if len(self.errors) < 20:
            self.errors.append(["", "internal error: " + str(excrepr)[-1500:]])


def reason_of(longrepr):
    """Return why a test was skipped, or passed although it was expected to fail; '' for any other outcome."""
    if isinstance(longrepr, tuple) and len(longrepr) == 3:
        return str(longrepr[2])[:300]
    return longrepr[:300] if isinstance(longrepr, str) and longrepr.startswith("[XPASS") else ""


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
    for item in session.items:
        # Nobody reads the search's tracebacks, and making them takes ten times as long as a small test.
        item.repr_failure = item._repr_failure_py = no_traceback
    return session, recorder


def no_traceback(excinfo, style=None):
    return "failed"


def run_tests(session, recorder, order, allowance, report, begin=None, plain=None):
    """Run the items `order`, where `plain` has none of its own with the whole protocol, as long as `report` says so.

    Each may use `allowance` seconds of CPU time, unless somebody else looks after that (None).
    """
    items = session.items
    for position, index in enumerate(order):
        recorder.begin()
        if begin is not None:
            begin(index)
        if allowance is not None:
            _setitimer(signal.ITIMER_PROF, allowance)
        cpu, wall = _cpu(), _monotonic()
        if plain is not None and plain[index] is not None:
            call_plainly(plain[index], recorder)
        else:
            session.config.hook.pytest_runtest_protocol(
                item=items[index], nextitem=following(items, order, position, plain)
            )
        cpu, wall = _cpu() - cpu, _monotonic() - wall
        if not report(index, recorder.outcome or "e", cpu, wall):
            break
    if allowance is not None:
        _setitimer(signal.ITIMER_PROF, 0)


def following(items, order, position, plain):
    """The item that pytest is told comes next: it keeps set up what that one needs, and complains of anything else.

    A plain call sets nothing up and takes nothing down, so it is passed over; before one of another file all goes down.
    """
    here = items[order[position]].nodeid.partition("::")[0]
    for index in order[position + 1 :]:
        if plain is None or plain[index] is None:
            return items[index]
        if items[index].nodeid.partition("::")[0] != here:
            return None
    return None


class Fork:
    """A forked child that reports records through a pipe; `records(wall)` yields them, `status` is its end."""

    at_work, touched = 0, False  # whether one of those at work has touched the world outside its process

    def __init__(self, body, last=b"\n.\n"):
        self.read_end, write_end = os.pipe()
        self.last = last  # says that the body has ended; the end of the pipe says it too, when all memory is freed
        self.status, self.timed_out, self.buffer = None, False, b""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a thread left by the bundle's import makes newer Pythons warn
            try:
                self.pid = _fork()
            except OSError:  # no room for one more process: the caller may try again
                os.close(self.read_end)
                os.close(write_end)
                raise
        if self.pid == 0:
            self._child(body, write_end)
        os.close(write_end)
        Fork.at_work += 1

    def _child(self, body, write_end):
        code = 1
        try:
            os.close(self.read_end)
            for fd in PRIVATE:
                os.close(fd)
            os.setsid()
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            body(write_end)
            _write(write_end, self.last)
            code = COMPLETE
        except BaseException as error:  # whatever untrusted code raises ends this fork and nothing else
            try:
                _write(write_end, ("\n! %s\n" % type(error).__name__).encode())
            except OSError:
                pass
        finally:
            _exit(code)

    def records(self, wall, stop_at=float("inf")):
        """Yield the lines that the child writes; each must come within `wall()` seconds of the one before.

        At `stop_at` (monotonic), or once the caller moves `self.stop_at` into the past, it is out of time all the same.
        """
        poll = select.poll()
        poll.register(self.read_end, select.POLLIN)
        deadline, self.stop_at = _monotonic() + wall(), stop_at
        while True:
            left = min(deadline, self.stop_at) - _monotonic()
            ready = poll.poll(max(0.0, min(left, 0.05)) * 1000)
            if (left <= 0 and not ready) or _monotonic() > self.stop_at:
                self.timed_out = True
                break
            if not ready:
                if self.ended():  # what it left behind still holds the pipe
                    break
                continue
            data = _read(self.read_end, 1 << 16)
            if not data:
                break
            self.buffer += data
            if len(self.buffer) > 1 << 26:
                break
            while b"\n" in self.buffer:
                line, _, self.buffer = self.buffer.partition(b"\n")
                if line == b".":
                    self.end()
                    return
                if line:
                    yield line.decode("utf-8", "replace")
                    if _monotonic() > self.stop_at:
                        break
                deadline = _monotonic() + wall()
        self.end()

    def ended(self):
        """True once the child has exited; it stays to be waited for, so that its number is still its own."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def end(self, strays=True):
        os.close(self.read_end)
        deadline = _monotonic() + (0 if self.timed_out else 0.5)
        while not self.ended() and _monotonic() < deadline:
            time.sleep(0.0002)
        _killed(self.pid)
        self.status = _waitpid(self.pid, 0)[1]
        if strays:
            reap_strays()
        Fork.at_work -= 1
        if not Fork.at_work:
            put_back(thorough=Fork.touched)

    @property
    def complete(self):
        return os.WIFEXITED(self.status) and os.WEXITSTATUS(self.status) == COMPLETE

    @property
    def out_of_cpu(self):
        return os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) in (signal.SIGPROF, signal.SIGXCPU)


PRIVATE = []  # descriptors between the server's processes, which no fork that runs a candidate may hold


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
    sys.stdin = io.open(0, closefd=False)  # noqa: SIM115
    sys.stdout = io.open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = io.open(2, "w", closefd=False)  # noqa: SIM115
