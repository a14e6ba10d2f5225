"""unconfined: the tier "none", for operators who wrote sandbox.tier = "none" in so many words.

The same interface with none of the protection: the program runs as us, sees our files and the network, and could leave
a process behind. What is kept: the empty environment, a fresh work directory, the limits that the kernel counts per
process, the deadline, and the end of the process group and of every descendant that can still be found.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from repairlab.errors import TemporaryFailure
from repairlab.sandbox.api import (
    FIXED_ENV,
    Confined,
    Ended,
    SandboxLimits,
    SandboxSettings,
    StreamError,
    boot,
    boot_argv,
    rlimits,
    send_program,
    socket_pair,
)
from repairlab.sandbox.bundle import remove_tree
from repairlab.sandbox.keeper import SandboxKeeper, ended
from repairlab.sandbox.processes import Member, below

START_S = 20.0


class Unconfined:
    """The tier that always works, and never protects."""

    tier = "none"

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings

    def start(
        self,
        program: bytes | str,
        *,
        python: str | None = None,
        limits: SandboxLimits | None = None,
        env: Mapping[str, str] | None = None,
        name: str = "<program>",
    ) -> Confined:
        """Start the program as an ordinary process of ours; see `api.Sandbox`."""
        limits = limits or SandboxLimits.from_settings(self._settings, wall_s=60.0)
        work = tempfile.mkdtemp(prefix="repairlab-unconfined-")
        stream, theirs = socket_pair()
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(writer, True)
        process = subprocess.Popen(
            boot_argv(python or sys.executable, theirs.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            pass_fds=[theirs.fileno()],
            env={**FIXED_ENV, "HOME": work, "TMPDIR": work},
            cwd=work,
            start_new_session=True,
        )
        theirs.close()
        os.close(writer)
        members = _Descendants(process, work)
        try:
            order = {"parent": os.getpid(), "limits": rlimits(limits), "env": dict(env or {}), "name": name}
            send_program(stream, boot(stream, order, START_S), program, name)
        except StreamError:
            stream.close()
            members.end()
            members.close()
            with open(reader, "rb", buffering=0) as output:
                said = (output.read(1 << 16) or b"").decode(errors="replace").strip()
            raise TemporaryFailure(f"the unconfined program did not start: {said[-500:]}") from None
        keeper = SandboxKeeper(reader, members, limits)
        keeper.watch()
        return Confined(stream, keeper)


class _Descendants:
    """A process and those below it; one that left its session and lost its parent is no longer found."""

    def __init__(self, first: "subprocess.Popen[bytes]", work: str) -> None:
        self._first = first
        self._work = work
        self._proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._ended = os.pidfd_open(first.pid)

    def fileno(self) -> int:
        return self._ended

    def statuses(self) -> list[Member]:
        return below(self._proc, self._first.pid)

    def inodes(self) -> int:
        return 0  # its files are on our own file system, where the quota is the operator's

    def end(self) -> Ended:
        members = self.statuses()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._first.pid, signal.SIGKILL)
        for _, pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return ended(self._first.wait())

    def close(self) -> None:
        os.close(self._ended)
        os.close(self._proc)
        remove_tree(Path(self._work))
