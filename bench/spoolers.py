"""bench/spoolers: nq and task-spooler as peers: programs that are started for each job, and start it themselves.

Neither flushes anything or has a `take` of its own: a job that waits is a process (nq), or a line in the memory of a
daemon with a process that waits for its turn (task-spooler). What a queue's put and take are elsewhere is here:

    put     the program that hands in a no-op, from its start to its end
    job     from the first put to the end of the last no-op
    take    with nothing waiting, from the call that hands a job in to its first instruction; with others waiting, from
            the word that lets the running job end to the first instruction of the next

Whatever waits is let run, and the daemon is ended, before a method returns: no process is left.
"""

import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

LATE_S = 60.0
HELD = 'echo >"$0/told"; [ -e "$0/over" ] || read -r _ <"$0/gate"'
TIMES = 'left=$0; while [ "$left" -gt 0 ]; do "$@" || exit 1; left=$((left-1)); done'


class Held:
    """Jobs that tell when they begin, and run until they are let go; a home for the spooler and for two FIFOs."""

    def __init__(self, home: Path) -> None:
        self.home = home
        for name in ("told", "gate"):
            os.mkfifo(home / name)
        self._told, self._gate = (os.open(home / name, os.O_RDWR | os.O_CLOEXEC) for name in ("told", "gate"))

    @property
    def command(self) -> list[str]:
        return ["sh", "-c", HELD, str(self.home)]

    def begun(self) -> None:
        """Wait until one more job has begun."""
        if not select.select([self._told], [], [], LATE_S)[0]:
            raise RuntimeError(f"no job began within {LATE_S:.0f} s")
        os.read(self._told, 1)

    def let_go(self) -> None:
        """Let the job that runs end."""
        os.write(self._gate, b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._told)
        os.close(self._gate)


class Spooler:
    """One of them: its Debian package, how a job is handed in, waited for, undone, and how many may wait at once."""

    guarantee, crash = "no job", "is lost"

    def __init__(
        self, name: str, submit: Sequence[str], wait: Sequence[str], end: Sequence[str] = (), most: int = 1000
    ) -> None:
        self.name, self.most, self._submit, self._wait, self._end = name, most, submit, wait, end

    @property
    def absent(self) -> str:
        """Return how it is to be had; nothing where it is there."""
        return "" if shutil.which(self._submit[0]) else f"apt-get install {self.name}"

    def rates(self, root: Path, jobs: int, processes: int) -> tuple[float, float]:
        """Return how many no-ops a second so many shells hand in together, and how many a second have run."""
        each = max(1, jobs // processes)
        with self._home(root) as env:
            command = ["sh", "-c", TIMES, str(each), *self._submit, "true"]
            began = time.perf_counter()
            shells = [subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) for _ in range(processes)]
            if sum(shell.wait(LATE_S) != 0 for shell in shells):  # of all of them: none may be left
                raise RuntimeError(f"{self._submit[0]} refused a job")
            handed_in = time.perf_counter() - began
            self._waited(env)
            ended = time.perf_counter() - began
        return each * processes / handed_in, each * processes / ended

    def takes(self, root: Path, waiting: int, samples: int) -> list[float]:
        """Return the ms of each take while so many wait."""
        with self._home(root) as env, Held(root) as held:
            try:
                if waiting == 0:
                    return [self._first(env, held) for _ in range(samples)]
                for _ in range(waiting + 1):
                    self._put(env, held)
                held.begun()  # the one that all others wait behind
                return [self._next(env, held) for _ in range(samples)]
            finally:
                (root / "over").touch()
                held.let_go()
                self._waited(env)

    def _put(self, env: dict[str, str], held: Held) -> None:
        subprocess.run([*self._submit, *held.command], env=env, check=True, stdout=subprocess.DEVNULL)

    def _first(self, env: dict[str, str], held: Held) -> float:
        began = time.perf_counter()
        self._put(env, held)
        held.begun()
        took = time.perf_counter() - began
        held.let_go()
        self._waited(env)
        return took * 1e3

    def _next(self, env: dict[str, str], held: Held) -> float:
        self._put(env, held)  # as many wait as before, once one of them runs
        began = time.perf_counter()
        held.let_go()
        held.begun()
        return (time.perf_counter() - began) * 1e3

    def _waited(self, env: dict[str, str]) -> None:
        subprocess.run(self._wait, env=env, check=True, timeout=LATE_S, stdout=subprocess.DEVNULL)

    @contextmanager
    def _home(self, path: Path) -> Iterator[dict[str, str]]:
        path.mkdir()
        env = {**os.environ, "TMPDIR": str(path), "NQDIR": str(path), "TS_SOCKET": str(path / "socket")}
        try:
            yield env
        finally:
            if self._end:
                subprocess.run(self._end, env=env, check=False)


SPOOLERS = (
    Spooler("nq", ["nq", "-q"], ["nq", "-w"]),
    # -B: refuse what is more than its thousand connections allow, instead of waiting for room
    Spooler("task-spooler", ["tsp", "-B", "-n"], ["tsp", "-w"], ["tsp", "-K"], most=950),
)
