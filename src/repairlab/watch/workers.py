"""watch.workers: the processes that do the work of the jobs, started warm through one zygote.

The zygote is the parent of all workers. When it dies, all of them do, each is told as lost, and another zygote is
started at the next need, at most one a second. One that does not answer (`watch`) is killed, which is the same. When
this process dies, the zygote and all workers die with it.

A worker runs in the job's work directory with nothing of our environment but what `environment` lets through, its
output in <phase>.stdout and <phase>.stderr there, each bounded by the kernel, and the job's lock inherited, so that the
job stays claimed while any of its processes lives.
"""

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from repairlab import journal
from repairlab.errors import TemporaryFailure
from repairlab.journal import Event, Priority
from repairlab.process import Event as Happened
from repairlab.process import Exited, Lost, NotStarted, Zygote

PRELOAD = ("repairlab.watch.prepare", "repairlab.watch.judge")
AGENT = ("repairlab.repair.warm",)  # by name: program packages do not import each other
UPKEEP = "repairlab.watch.upkeep:main"
RESTART_S = 1.0
PATIENCE = 15  # unanswered questions, a second apart, after which the parent of the workers hangs
OUTPUT_MB = 64  # of each file that a worker writes: an agent that floods its stdout is stopped by the kernel
PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME", "STATE_DIRECTORY")
PASSED_PREFIXES = ("REPAIRLAB_", "XDG_")
_OUTPUT = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class Owner(Protocol):
    """Who waits for a worker."""

    def ended(self, status: int | None, now: float) -> None:
        """Hear how it ended: `status` as in subprocess, negative for a signal, None if nobody knows."""


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a worker may see of our environment: neither the notify socket nor anybody's secrets."""
    return {k: v for k, v in environ.items() if k in PASSED or k.startswith(PASSED_PREFIXES)}


class Workers:
    """The zygote and who waits for which of its children."""

    def __init__(self, *, warm_agent: bool, file_mb: int = OUTPUT_MB) -> None:
        self._preload = [*PRELOAD, *(AGENT if warm_agent else ())]
        size = max(OUTPUT_MB, file_mb) << 20
        self._limits = {"RLIMIT_FSIZE": (size, size), "RLIMIT_CORE": (0, 0)}
        self._zygote: Zygote | None = None
        self._owners: dict[int, Owner] = {}
        self._not_before = float("-inf")
        self.generation = 0  # which of the parents this is

    def open(self, now: float) -> None:
        """Have a living zygote; TemporaryFailure while the last one's death is too recent."""
        if self._zygote is not None and self._zygote.alive:
            return
        if now < self._not_before:
            raise TemporaryFailure("the workers' parent has just died")
        self._not_before = now + RESTART_S
        try:
            if self._zygote is None:
                self._zygote = Zygote(preload=self._preload)
            else:
                self._zygote.restart()
        except OSError as error:
            raise TemporaryFailure(f"the workers' parent cannot be started: {error.strerror}") from error
        self.generation += 1

    def close(self) -> None:
        """End every worker and the zygote."""
        if self._zygote is not None:
            self._zygote.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable when a worker ended, -1 when there is none."""
        return self._zygote.fileno() if self._zygote is not None and self._zygote.alive else -1

    def start(
        self,
        owner: Owner,
        lock: int,
        work: Path,
        phase: str,
        now: float,
        *,
        entry: str = "",
        argv: Sequence[str] = (),
        command: Sequence[str] = (),
    ) -> int:
        """Start a worker for `owner` and return its token; TemporaryFailure when that is not possible now."""
        self.open(now)
        assert self._zygote is not None
        outputs: list[int] = []
        try:
            outputs += [os.open(work / f"{phase}.{stream}", _OUTPUT, 0o600) for stream in ("stdout", "stderr")]
            token = self._zygote.start(
                entry,
                argv,
                command=command,
                name=f"repairlab-{phase}",
                fds=[lock],
                cwd=work,
                env=environment(os.environ),
                stdout=outputs[0],
                stderr=outputs[1],
                rlimits=self._limits,
            )
        finally:
            for fd in outputs:
                os.close(fd)
        self._owners[token] = owner
        return token

    def kill(self, token: int, number: signal.Signals) -> None:
        """Send a signal to the worker's whole process group."""
        if self._zygote is not None:
            self._zygote.kill(token, number)

    def upkeep(self, queue: Path) -> None:
        """Have the queue's litter removed, by a worker that nobody waits for."""
        with suppress(TemporaryFailure):
            if self._zygote is not None:
                self._zygote.start(UPKEEP, ["--queue", str(queue)], env=environment(os.environ))

    def watch(self) -> None:
        """End a parent that has stopped answering, while anybody needs it; to be called every second or so."""
        if self._zygote is not None and self._owners and self._zygote.unanswered() >= PATIENCE:
            message = "the workers' parent does not answer and is killed; their jobs will be tried again"
            journal.event(Event.WORKERS_LOST, message, priority=Priority.ERROR)
            self._zygote.abandon()

    def dispatch(self, now: float) -> None:
        """Tell the owners of the workers that ended."""
        if self._zygote is None:
            return
        alive = self._zygote.alive
        for happened in self._zygote.events():
            self._tell(happened, now)
        if alive and not self._zygote.alive:
            journal.event(Event.WORKERS_LOST, "the workers' parent died, and they with it", priority=Priority.ERROR)

    def _tell(self, happened: Happened, now: float) -> None:
        owner = self._owners.get(happened.token)
        if isinstance(happened, Exited | NotStarted | Lost):
            self._owners.pop(happened.token, None)
        if owner is None:
            return
        if isinstance(happened, Exited):
            owner.ended(happened.status, now)
        elif isinstance(happened, NotStarted):
            owner.ended(os.EX_TEMPFAIL, now)  # no process to be had: what a worker itself would say of it
        elif isinstance(happened, Lost):
            owner.ended(None, now)
