"""serving: the loop of a simple service: one spool, one job at a time, hints for speed and a rescan for truth.

SIGTERM and SIGINT end it: at once while it waits or inside `at_once` (nothing is half written there; the job in hand is
handed back), else when the job in hand is filed. The service manager hears READY=1, and WATCHDOG=1 from `beat`.
Who serves a queue sweeps it.
"""

import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Protocol, TypeVar

import msgspec

from repairlab import config, journal
from repairlab.config import Settings
from repairlab.errors import BadInput, TemporaryFailure
from repairlab.spool import Claim, Spool, read_file
from repairlab.spool.hints import Hints

SWEEP_S = 3600.0
MAX_DECISION = 1 << 24


Carry = Callable[[Claim], None]


class Decision(Protocol):
    """What a service decides on a job and keeps with it, before it acts on it."""

    @property
    def at(self) -> datetime:
        """When."""


D = TypeVar("D", bound=Decision)


def decided(claim: Claim, name: str, kind: type[D]) -> D | None:
    """Return what an earlier owner of the job has decided, None where an operator has wanted it done anew since."""
    with suppress(FileNotFoundError, msgspec.DecodeError):
        made = msgspec.json.decode(read_file(claim.path / name, MAX_DECISION), type=kind)
        if not claim.retried_since(made.at):
            return made
    return None


class Stopped(BaseException):
    """A signal came; not an Exception, so that a claim in hand is handed back."""


@contextmanager
def _telling(claim: Claim) -> Iterator[None]:
    """Tell why a job is rejected or put off; the claim that files it keeps the error to itself."""
    try:
        yield
    except BadInput as error:
        _tell(claim, journal.Event.JOB_REJECTED, "rejected", error)
        raise
    except TemporaryFailure as error:
        _tell(claim, journal.Event.JOB_DEFERRED, "deferred", error)
        raise


def _tell(claim: Claim, kind: journal.Event, outcome: str, error: Exception) -> None:
    journal.event(kind, f"{outcome}: {error}", priority=journal.Priority.WARNING, JOB_ID=claim.id, OUTCOME=outcome)


class Service:
    """Serves one queue; `carry` gets each claim and leaves it, or lets it be left by how it ends."""

    def __init__(self, spool: Spool, rescan_s: float) -> None:
        self._spool, self._rescan_s = spool, rescan_s
        self._told = self._interruptible = False
        self._sweep_at = 0.0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self._told = True
        self._check()

    def _check(self) -> None:
        if self._told and self._interruptible:
            self._interruptible = False  # once: what cleans up must not be interrupted
            raise Stopped

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal end the block at any point; one that came before ends it now."""
        self._interruptible = True
        try:
            self._check()
            yield
        finally:
            self._interruptible = False

    @staticmethod
    def beat() -> None:
        """Tell the service manager that we live."""
        journal.notify("WATCHDOG=1")

    def serve(self, carry: Carry, *, once: bool) -> None:
        """Carry what comes until told to stop, or with `once` until nothing is ready."""
        self._spool.create()
        journal.notify("READY=1")
        with suppress(Stopped):
            hints = None if once else self._hints()
            while True:
                self._round(carry)
                if once:
                    return
                with self.at_once():
                    self._wait(hints)
        journal.notify("STOPPING=1")

    def _round(self, carry: Carry) -> None:
        self.beat()
        self._sweep(time.monotonic())
        try:
            for claim in self._spool.claims():
                self._one(claim, carry)
                self.beat()
        except TemporaryFailure as error:  # reaping or claiming: the disk is full, and the like
            journal.say(f"waiting: {error}", priority=journal.Priority.WARNING)

    def _sweep(self, now: float) -> None:
        """Remove what publishers and removals that died have left in the queue's tmp/, at the start and each hour."""
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            with suppress(OSError):  # the next one will do
                self._spool.sweep()

    @staticmethod
    def _one(claim: Claim, carry: Carry) -> None:
        """Carry one job; a bug that it meets is counted as its crash and told, and the others are served."""
        try:
            with claim, _telling(claim):
                carry(claim)
        except TemporaryFailure:
            raise
        except Exception:
            journal.say(f"job {claim.id}: {traceback.format_exc()}", priority=journal.Priority.ERROR, JOB_ID=claim.id)

    def _hints(self) -> Hints | None:
        with suppress(OSError):  # no inotify: the rescan finds what comes
            return Hints([self._spool.path, self._spool.deferred])
        return None

    def _wait(self, hints: Hints | None) -> None:
        select.select([hints] if hints else [], [], [], self._rescan_s)
        if hints:
            hints.take()


def run(
    program: str,
    queue: Callable[[Path, Settings], Spool],
    worker: Callable[[Path, Settings, Service], Carry],
    *,
    once: bool,
) -> int:
    """Be a program that serves one queue of the state directory, by what `worker` returns."""
    journal.configure(program, quiet=("watchdog.observers.inotify",))
    root, settings = config.root(), config.load()
    service = Service(queue(root, settings), settings.queue.rescan_s)
    service.serve(worker(root, settings, service), once=once)
    return os.EX_OK
