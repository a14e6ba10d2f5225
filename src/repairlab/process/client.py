"""client: start workers out of a zygote, hear how they end, and never block.

    zygote = Zygote(preload=["repairlab.repair.agent"])
    token = zygote.start("repairlab.repair.agent:main", ["--handoff", path], fds=[claim.fd], stdout=out)
    select on zygote.fileno(); for event in zygote.events(): …

A worker is known by its token: the number that `start` returned, never used again by this client. `fds` go with the
worker and stay open in it (a lock on a shared description lives as long as it does); the zygote keeps none of them.
Each token gets `Started` and then `Exited`, or `NotStarted`, or `Lost`: the zygote itself died, which took its workers
with it; after that `restart` makes a new one.
"""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import repairlab
from repairlab.errors import TemporaryFailure
from repairlab.process import wire

BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from repairlab.process.zygote import main; sys.exit(main(sys.argv[1:]))"
)
END_S = 6.0


@dataclass(frozen=True, slots=True)
class Started:
    """The worker runs, as leader of the session and process group `pid`."""

    token: int
    pid: int


@dataclass(frozen=True, slots=True)
class Exited:
    """The worker ended and its process group is gone: `status` as in subprocess, negative for a signal."""

    token: int
    pid: int
    status: int
    cpu_s: float
    max_rss: int
    wall_s: float


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The machine refused another process just now."""

    token: int
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The zygote died; the kernel killed the worker (`pid` 0 if it was never started) and nobody knows its status."""

    token: int
    pid: int


Event = Started | Exited | NotStarted | Lost


class Zygote:
    """A running zygote. It dies, and its workers with it, when this object is closed or its process ends."""

    def __init__(self, preload: Sequence[str] = (), *, python: str = sys.executable) -> None:
        self._argv = [python, "-P", "-c", BOOTSTRAP, str(Path(repairlab.__file__).parents[1])]
        self._preload = list(preload)
        self._tokens = itertools.count(1)
        self._pids: dict[int, int] = {}  # of the tokens that have not ended
        self._spawn()

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [*self._argv, "--control", str(theirs.fileno()), "--parent", str(os.getpid())]
            self._process = subprocess.Popen(
                [*argv, "--preload", *self._preload],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a ^C at a terminal is ours to handle, not its
            )
        ours.setblocking(False)
        self._control = ours
        self.alive = True
        self._ready, self._unanswered = False, 0

    @property
    def pid(self) -> int:
        """The zygote's own pid."""
        return self._process.pid

    def fileno(self) -> int:
        """The descriptor that is readable when `events` has something."""
        return self._control.fileno()

    def start(
        self,
        entry: str = "",
        argv: Sequence[str] = (),
        *,
        command: Sequence[str] = (),
        name: str = "",
        fds: Sequence[int] = (),
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        rlimits: Mapping[str, tuple[int, int]] | None = None,
    ) -> int:
        """Have a worker started and return its token; `events` tells when it runs.

        `entry` is `package.module:function` of a `main(argv) -> int`; `command` a program instead. `env` replaces the
        environment, None keeps the zygote's; a stdout or stderr of None is the zygote's, that is ours. `rlimits` maps
        names like RLIMIT_AS to (soft, hard). Raise `TemporaryFailure` when the zygote is dead or does not listen.
        """
        if bool(entry) == bool(command):
            raise ValueError("name an entry or a command, and not both")
        token = next(self._tokens)
        order: wire.Message = {
            "start": token,
            "entry": entry,
            "command": list(command),
            "argv": list(argv),
            "name": name or entry.partition(":")[0] or command[0],
            "cwd": None if cwd is None else os.fspath(cwd),
            "env": None if env is None else dict(env),
            "stdio": [stdout is not None, stderr is not None],
            "rlimits": {key: list(value) for key, value in (rlimits or {}).items()},
        }
        given = [fd for fd in (stdout, stderr) if fd is not None]
        self._tell(order, [*given, *fds])
        self._pids[token] = 0
        return token

    def kill(self, token: int, sig: int = signal.SIGTERM) -> None:
        """Send `sig` to the worker's whole process group; nothing happens when it has ended."""
        if token in self._pids:
            with contextlib.suppress(TemporaryFailure):  # dead: its workers are, too
                self._tell({"kill": token, "signal": int(sig)}, [])

    def unanswered(self) -> int:
        """Ask the zygote for a sign of life; return how often in a row it was asked before and gave none.

        Counted, not timed: a machine that slept is no zygote that hangs. One that still preloads is not asked.
        """
        if not self.alive or not self._ready:
            return 0
        before, self._unanswered = self._unanswered, self._unanswered + 1
        if not before:
            with contextlib.suppress(TemporaryFailure):
                self._tell({"ping": 0}, [])
        return before

    def abandon(self) -> None:
        """Kill a zygote that does not answer, and so its workers; `events` tells them lost."""
        self._process.kill()

    def _tell(self, message: wire.Message, fds: Sequence[int]) -> None:
        try:
            wire.send(self._control, message, fds)
        except BlockingIOError:
            raise TemporaryFailure("the zygote does not listen", fix="trying again later may help") from None
        except OSError as error:  # EPIPE, ECONNRESET, or EBADF after close
            raise TemporaryFailure(f"the zygote is gone: {error.strerror}", fix="restart it") from error

    def events(self) -> list[Event]:
        """Return what happened since the last call; never wait."""
        happened: list[Event] = []
        while self.alive:
            try:
                received = wire.receive(self._control)
            except BlockingIOError:
                break
            except ConnectionResetError:
                received = None
            if received is None:
                happened.extend(self._lose())
            elif event := self._event(received[0]):
                happened.append(event)
        return happened

    def _event(self, message: wire.Message) -> Event | None:
        self._ready, self._unanswered = True, 0
        if (token := message.get("started")) is not None:
            self._pids[token] = message["pid"]
            return Started(token, message["pid"])
        if (token := message.get("refused")) is not None:
            self._pids.pop(token, None)
            return NotStarted(token, message["reason"])
        if (token := message.get("exited")) is not None:
            self._pids.pop(token, None)
            usage = (message["cpu_s"], message["max_rss"], message["wall_s"])
            return Exited(token, message["pid"], message["status"], *usage)
        return None

    def _lose(self) -> list[Event]:
        self.alive = False
        lost: list[Event] = [Lost(token, pid) for token, pid in self._pids.items()]
        self._pids.clear()
        return lost

    def running(self) -> list[int]:
        """The tokens that have not ended as far as `events` has told."""
        return list(self._pids)

    def restart(self) -> None:
        """Replace a zygote that is dead; its preloading costs its time again. Tokens go on counting."""
        self.close()
        self._spawn()

    def close(self) -> None:
        """End the zygote and every worker; return when the zygote is gone."""
        self.alive = False
        self._pids.clear()
        self._control.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def wait_for(zygote: Zygote, token: int, timeout: float) -> Event | None:
    """Return how `token` ended, or None if it still runs after `timeout` seconds; other events are dropped."""
    import select

    deadline = time.monotonic() + timeout
    while True:
        for event in zygote.events():
            if event.token == token and not isinstance(event, Started):
                return event
        if not zygote.alive or not select.select([zygote], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return None
