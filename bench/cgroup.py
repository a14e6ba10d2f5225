"""bench/cgroup: the CPU of a process and of everything that it starts, what has died unwaited for included.

A control group (version 2, no controller needed: every group but the root counts its CPU, cpu.stat) below the one that
we are in, named after our session, so that whoever ends the session knows what to remove.
"""

import errno
import os
import time
from pathlib import Path

NAME = "repairlab-bench-{}"
WITHIN_S = 5.0


def place(session: int) -> Path | None:
    """Return where the group of a session is, or would be; None where there are no such groups."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    mounted = next((words[1] for words in mounts if words[2] == "cgroup2"), None)
    ours = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    return Path(f"{mounted}{ours[0]}", NAME.format(session)) if mounted and ours else None


def made() -> Path | None:
    """Make the group of our session; None where that is not ours to do."""
    path = place(os.getsid(0))
    try:
        if path is not None:
            path.mkdir(exist_ok=True)
            (path / "cpu.stat").read_bytes()
    except OSError:
        return None
    return path


def entering(path: Path | None) -> list[str]:
    """Return the words before a command that start it in the group."""
    return [] if path is None else ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(path)]


def used_ms(stat: int) -> float:
    """Return the CPU ms of a group whose cpu.stat is this descriptor."""
    return int(os.pread(stat, 64, 0).split()[1]) / 1e3  # usage_usec is its first line


def remove(session: int) -> None:
    """Remove the group of a session, once what was killed in it has gone; OSError where something lives on in it."""
    path, end = place(session), time.monotonic() + WITHIN_S
    while path is not None and path.exists():
        try:
            path.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)
