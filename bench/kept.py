"""bench/kept: run a command and leave nothing of it: no process, no temporary file, however it ends.

    python bench/kept.py LIMIT_S COMMAND [ARG …]

Its temporary directory is one of its own. When it ends, when LIMIT_S are over, at SIGTERM, SIGINT and SIGHUP, and when
whoever asked for this dies, all that it started is killed, daemons too: the kernel hands us every orphan. Exit status:
that of the command; 124 where it took too long; 1 where it ended well and left processes that would not end.
"""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import cgroup
from machine import family

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LATE = 124
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
GRACE_S = 2.0  # in which what ends by itself may do so


def adopt() -> None:
    """Become the parent of all orphans below us, and end when our own parent does."""
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((PR_SET_CHILD_SUBREAPER, 1), (PR_SET_PDEATHSIG, signal.SIGTERM)):
        if libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")


def living() -> list[int]:
    """Return our descendants, those that have ended reaped."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    return family(os.getpid())[1:]


def named(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # it has ended since
        return ""


def ended(grace_s: float) -> list[str]:
    """Kill all descendants; return the names of those that had not ended within the time."""
    until = time.monotonic() + grace_s
    while (left := living()) and time.monotonic() < until:
        time.sleep(0.01)
    names = sorted({name for pid in left if (name := named(pid))})
    while left := living():
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # its parent has reaped it
                pass
        time.sleep(0.01)
    return names


def run(limit_s: float, command: list[str], scratch: str) -> int:
    """Run the command; return our exit status."""
    grace_s = 0.0
    process = subprocess.Popen(command, env={**os.environ, "TMPDIR": scratch}, start_new_session=True)
    try:
        status = process.wait(limit_s)
        grace_s = GRACE_S
    except subprocess.TimeoutExpired:
        status = LATE
    finally:
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)  # a second word must not stop what the first has begun
        names = ended(grace_s)
        cgroup.remove(process.pid)
    if names and grace_s:
        print(f"left running: {', '.join(names)}", file=sys.stderr)
        return status or 1
    return status if status >= 0 else 128 - status


def main() -> int:
    limit_s, *command = sys.argv[1:]
    for number in STOPPING:
        signal.signal(number, lambda caught, _: sys.exit(128 + caught))
    adopt()
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as scratch:
        os.chmod(scratch, 0o711)  # some parts hand in as other users, who must get to what they hand in
        return run(float(limit_s), command, scratch)


if __name__ == "__main__":
    sys.exit(main())
