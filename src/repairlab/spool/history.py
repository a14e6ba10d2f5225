"""history: attempts.jsonl, the append-only history of a job, and the clocks that date it.

One JSON object a line: `event`, `at` (UTC RFC 3339), `boot_id`, `boottime_s`, and what the event brings. An event with
`to` is an intent, written before the job moves: whoever finds the job still in active/ with a dead owner carries the
move out. A line torn by a crash is skipped and sealed with a newline by the next append.

Ages come from CLOCK_BOOTTIME while the boot is the same, so that a stepped clock changes no window, and from the wall
clock across a reboot; an event of the future counts as one of now.
"""

import os
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from repairlab.spool.disk import Disk, read_file, write_all
from repairlab.spool.policy import State

NAME = "attempts.jsonl"
MAX_BYTES = 1 << 20  # of history ever read
COMPACT_BYTES = 64 << 10
_STATES = frozenset(State)
_KEPT = 64  # newest events that survive compaction, beside all counted ones
TEXT_CHARS = 1024
COUNTED = ("failed", "crashed", "orphaned")
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

Event = dict[str, Any]


class Clock:
    """The system's clocks; a test brings its own."""

    def __init__(self) -> None:
        self.boot_id = _boot_id()

    def wall(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def boottime(self) -> float:
        """Return seconds since boot, those asleep included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def monotonic(self) -> float:
        """Return what `time.monotonic` and timeouts count in."""
        return time.monotonic()

    def stamp(self) -> Event:
        """Return the fields that date an event."""
        return {"at": rfc3339(self.wall()), "boot_id": self.boot_id, "boottime_s": round(self.boottime(), 3)}

    def age_s(self, event: Event) -> float:
        """Return how long ago `event` happened; never negative."""
        then = event.get("boottime_s")
        if event.get("boot_id") == self.boot_id and isinstance(then, int | float):
            return max(0.0, self.boottime() - float(then))
        return max(0.0, self.wall() - epoch(event.get("at"), self.wall()))

    def remaining_s(self, event: Event) -> float:
        """Return how long the job must still wait after `event`; 0 means that it is due."""
        if "not_before" in event:  # an instant that the submitter chose: the wall clock is what they meant
            return max(0.0, epoch(event["not_before"], 0.0) - self.wall())
        delay_s = event.get("delay_s")
        return max(0.0, delay_s - self.age_s(event)) if isinstance(delay_s, int | float) else 0.0


def _boot_id() -> str:
    """Return the kernel's name of this boot; in a unit with ProcSubset=pid its service manager passes it on (%b)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return str(uuid.UUID(os.environ["REPAIRLAB_BOOT_ID"]))


def rfc3339(wall_s: float) -> str:
    """Return the instant as UTC RFC 3339 with milliseconds."""
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch(text: object, default: float) -> float:
    """Return the seconds since the epoch of an RFC 3339 instant with an offset, `default` for anything else."""
    with suppress(ValueError, TypeError, OverflowError):
        instant = datetime.fromisoformat(text) if isinstance(text, str) else None
        if instant is not None and instant.tzinfo is not None:
            return instant.timestamp()
    return default


def dumps(value: Event) -> bytes:
    """Return the object as one line of JSON; what JSON has no word for becomes its text, never an error."""
    try:
        return orjson.dumps(value) + b"\n"
    except TypeError:
        return orjson.dumps(_plain(value)) + b"\n"


def _bounded(value: Any) -> Any:
    """Return a text cut to what all kept events have room for in `MAX_BYTES`: words of a worker come at any length."""
    if isinstance(value, str) and len(value) > TEXT_CHARS:
        return f"{value[: TEXT_CHARS // 2]} […] {value[-TEXT_CHARS // 2 :]}"
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 1 << 63):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode()


def parse(raw: bytes) -> list[Event]:
    """Return the events in `raw`; lines that a crash tore are left out."""
    events = []
    for line in raw.splitlines():
        with suppress(orjson.JSONDecodeError):
            value = orjson.loads(line)
            if isinstance(value, dict) and isinstance(value.get("event"), str) and value.get("to", "ok") in _STATES:
                events.append(value)
    return events


def read(name: str | os.PathLike[str], *, dir_fd: int | None = None) -> list[Event]:
    """Return the events of a history file; none where there is no file."""
    try:
        return parse(read_file(name, MAX_BYTES, dir_fd=dir_fd))
    except FileNotFoundError:
        return []


def _closed(fd: int) -> None:
    """Close a file; it is closed whatever close(2) says, and what was promised has been flushed before."""
    with suppress(OSError):
        os.close(fd)


class History:
    """The history of one claimed job; the caller holds the job's lock."""

    def __init__(self, disk: Disk, clock: Clock, dir_fd: int, *, fresh: bool = False) -> None:
        self._disk, self._clock, self._fd = disk, clock, dir_fd
        self._suspect = False
        self._torn = not fresh
        self.events: list[Event] = [] if fresh else read(NAME, dir_fd=dir_fd)

    def append(self, event: str, *, durable: bool, **fields: Any) -> Event:
        """Record an event and return it; on failure the history is as it was.

        Costs open, write, close, and with `durable` an fsync.
        """
        entry = {"event": event, **self._clock.stamp()} | {key: _bounded(value) for key, value in fields.items()}
        line = dumps(entry)
        fd = self._disk.do("history.open", os.open, NAME, _APPEND, 0o644, dir_fd=self._fd)
        try:
            size = self._seal(fd)
            if self._suspect or size > COMPACT_BYTES:
                self._rewrite([*self._worth_keeping(), entry], durable)
            else:
                self._add(fd, size, line, durable)
        finally:
            _closed(fd)
        self.events.append(entry)
        return entry

    def seal(self) -> None:
        """End a last line that a crash tore, where nothing else is going to be appended."""
        fd = self._disk.do("history.open", os.open, NAME, _APPEND, 0o644, dir_fd=self._fd)
        try:
            self._seal(fd)
        finally:
            _closed(fd)

    def _seal(self, fd: int) -> int:
        """Return the file's size, having ended a torn last line (once a claim: nobody else writes meanwhile)."""
        size = os.fstat(fd).st_size
        if self._torn and size and not read_tail(self._fd, size).endswith(b"\n"):
            self._disk.do("history.seal", write_all, fd, b"\n")
            size += 1
        self._torn = False
        return size

    def _add(self, fd: int, size: int, line: bytes, durable: bool) -> None:
        try:
            self._disk.do("history.write", write_all, fd, line)
            if durable:
                self._suspect = True  # until the fsync says otherwise; a failed one is never repeated on this file
                self._disk.do("history.fsync", os.fsync, fd)
                self._suspect = False
        except BaseException:
            with suppress(OSError):
                os.ftruncate(fd, size)
            raise

    def _rewrite(self, events: list[Event], durable: bool) -> None:
        text = b"".join(map(dumps, events))
        self._disk.replace("history.compact", NAME, text, dir_fd=self._fd, sync=True)
        if durable:
            self._disk.do("history.compacted", os.fsync, self._fd)
        self._suspect = False

    def _worth_keeping(self) -> list[Event]:
        """Return the events without the old uncounted ones, so that a job deferred for ever keeps a small file."""
        old, new = self.events[:-_KEPT], self.events[-_KEPT:]
        return [e for e in old if e["event"] in (*COUNTED, "retried")][-_KEPT:] + new

    @property
    def intent(self) -> Event | None:
        """The last decision on where the job is to go, unless an attempt or an operator's move has overruled it."""
        for entry in reversed(self.events):
            if "to" in entry:
                return entry
            if entry["event"] in ("started", "moved"):
                return None
        return None

    @property
    def running(self) -> bool:
        """Whether an attempt has begun and nothing was decided since."""
        last = next((entry for entry in reversed(self.events) if "to" in entry or entry["event"] == "started"), None)
        return last is not None and "to" not in last

    def count(self, event: str, within_s: float | None = None) -> int:
        """Return how often `event` happened since the job was last forgiven, at most `within_s` ago."""
        return sum(
            entry["event"] == event and (within_s is None or self._clock.age_s(entry) < within_s)
            for entry in since_retried(self.events)
        )


def since_retried(events: list[Event]) -> Iterable[Event]:
    """Return the events after the operator's last `retried`."""
    last = max((i for i, entry in enumerate(events) if entry["event"] == "retried"), default=-1)
    return events[last + 1 :]


def read_tail(dir_fd: int, size: int) -> bytes:
    """Return the last byte of the history."""
    fd = os.open(NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        return os.pread(fd, 1, size - 1)
    finally:
        os.close(fd)
