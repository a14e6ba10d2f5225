"""helpers: one command run to its end, and the kernel's word on who outlives whom."""

import contextlib
import functools
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended: `code` is negative for a signal; `out` and `err` hold at most what was asked for."""

    code: int
    out: bytes
    err: bytes
    timed_out: bool


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    max_output: int = 1 << 20,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
) -> Completed:
    """Run a command in a session of its own, without stdin; kill its whole group when `timeout` seconds are over.

    Output beyond `max_output` bytes a stream is read and dropped. Raise OSError where it cannot be started.
    """
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        cwd=cwd,
        start_new_session=True,
    ) as process:
        try:
            out, err, timed_out = _collect(process, time.monotonic() + timeout, max_output)
        finally:
            # Before it is reaped: its pid, and so its group's id, cannot belong to anybody else yet.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    return Completed(code, out, err, timed_out)


def _collect(process: "subprocess.Popen[bytes]", deadline: float, bound: int) -> tuple[bytes, bytes, bool]:
    """Read both streams until the process has ended; what a daemon of its keeps open is not waited for."""
    assert process.stdout is not None
    assert process.stderr is not None
    kept = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    handle = os.pidfd_open(process.pid)
    timed_out = False
    with selectors.DefaultSelector() as selector:
        for fd in (*kept, handle):
            os.set_blocking(fd, False)
            selector.register(fd, selectors.EVENT_READ)
        running = True
        while running and not timed_out:
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            timed_out = not ready and time.monotonic() >= deadline
            for key, _ in ready:
                if key.fd == handle:
                    running = False
                elif not _take(key.fd, kept[key.fd], bound):
                    selector.unregister(key.fd)
        for fd, content in kept.items():
            while _take(fd, content, bound):
                pass
    os.close(handle)
    return bytes(kept[process.stdout.fileno()]), bytes(kept[process.stderr.fileno()]), timed_out


def _take(fd: int, content: bytearray, bound: int) -> bool:
    """Read once; False at the end of the file or when nothing is there."""
    try:
        piece = os.read(fd, 1 << 16)
    except BlockingIOError:
        return False
    content += piece[: bound - len(content)]
    return bool(piece)


@functools.cache
def boot_id() -> str:
    """Return the identity of this boot of the machine: what no pid and no boot-time clock outlives."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def prctl(option: int, value: int) -> None:
    """Set one property of this process; the numbers are those of the manual."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def die_with_parent(parent: int, sig: int = signal.SIGKILL) -> None:
    """Have the kernel send us `sig` when the thread that started us ends; exit at once if `parent` is gone already."""
    prctl(PR_SET_PDEATHSIG, sig)
    if os.getppid() != parent:
        os._exit(128 + sig)
