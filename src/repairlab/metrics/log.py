"""log: append rows durably and once, rotate, read.

The lock is flock(2) on the live segment's own descriptor: the kernel drops it with its holder, and a row costs no file
beside it. An appender that finds the segment rotated away opens the new one. What died in the middle of a write left a
line without its end: the next appender ends it, so that it is one damaged line and the next row a line of its own.

A row that must be there once: `end()` before the decision is made durable, `append(row, since=…)` after it. Whoever
repeats the append after a crash looks from there on for the id, and for nothing before.
"""

import fcntl
import os
import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from repairlab.documents import encode
from repairlab.documents.tournament import MetricsRow
from repairlab.metrics.sums import Sums, row_of
from repairlab.spool.disk import Disk, trouble, write_all

LIVE = "metrics.jsonl"
SEGMENT = re.compile(r"metrics-(\d{6,})\.jsonl")
ROTATE_BYTES = 32 << 20
MAX_LINE = 1 << 20
CHUNK = 1 << 20


class Position(msgspec.Struct, frozen=True):
    """A place in the log: `offset` bytes into the segment of that number, which the live one gets once it is full."""

    segment: int
    offset: int


@dataclass
class Uses:
    """What became of the repairs that used a pattern: how many, how many correct, their milliseconds."""

    rows: int = 0
    correct: int = 0
    times_ms: "array[float]" = field(default_factory=lambda: array("d"))

    def take(self, row: MetricsRow) -> None:
        """Count one evaluation."""
        self.rows += 1
        self.correct += row.fitness > 0
        if row.median_ms is not None:
            self.times_ms.append(row.median_ms)

    def add(self, other: "Uses") -> None:
        """Count those of another pattern too."""
        self.rows += other.rows
        self.correct += other.correct
        self.times_ms.extend(other.times_ms)


class MetricsLog:
    """The log in one directory. Any number of processes may append and read at once."""

    def __init__(self, directory: Path, *, rotate_bytes: int = ROTATE_BYTES, disk: Disk | None = None) -> None:
        self._directory, self._rotate_bytes, self._disk = str(directory), rotate_bytes, disk or Disk()
        self._fd = -1

    @property
    def path(self) -> Path:
        """The live segment."""
        return Path(self._directory, LIVE)

    def close(self) -> None:
        """Close the live segment; appending opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def append(self, row: MetricsRow, *, since: Position | None = None) -> bool:
        """Append a row durably; False where it is there already, at `since` or later.

        TemporaryFailure: the disk is full or fails; the log is as it was.
        """
        line = encode(row)
        with trouble("append to the metrics log"), self._locked() as fd:
            if since is not None and self._has(row.id, since):
                return False
            size = os.fstat(fd).st_size
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            try:
                self._disk.do("metrics.write", write_all, fd, b"\n" * torn + line)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(fd, size)
                raise
            self._disk.do("metrics.fsync", os.fdatasync, fd)
            if size + len(line) >= self._rotate_bytes:
                self._rotate()
        return True

    def end(self) -> Position:
        """Return where the next row will be, or an earlier place."""
        with trouble("read the metrics log"), self._locked() as fd:
            return Position(self._next_segment(), os.fstat(fd).st_size)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        while True:
            if self._fd < 0:
                self._open()
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            if self._is_live():
                break
            self.close()  # rotated away, or removed by hand
        try:
            yield self._fd
        finally:
            if self._fd >= 0:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _open(self) -> None:
        os.makedirs(self._directory, mode=0o755, exist_ok=True)
        known = os.path.lexists(self.path)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = self._disk.do("metrics.open", os.open, self.path, flags, 0o644)
        if not known:
            self._disk.sync_directory("metrics.directory", self._directory)

    def _is_live(self) -> bool:
        with suppress(FileNotFoundError):
            found, ours = os.stat(self.path, follow_symlinks=False), os.fstat(self._fd)
            return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)
        return False

    def _rotate(self) -> None:
        """Give the live segment its number; it is complete and durable. Its sums come after, and can come later."""
        number = self._next_segment()
        target = self._segment(number)
        self._disk.do("metrics.rotate", os.rename, self.path, target)
        self._disk.sync_directory("metrics.directory", self._directory)
        self.close()  # and with it the lock: who waits for it finds that the segment is no longer the live one
        self._keep_sums(number, Sums.of(_lines(target)))

    def _keep_sums(self, number: int, sums: Sums) -> None:
        with suppress(OSError):  # a reader makes them anew
            self._disk.replace("metrics.sums", self._sums_path(number), msgspec.json.encode(sums), sync=False)

    # Reading

    def rows(self) -> Iterator[MetricsRow]:
        """Yield all rows, oldest first; damaged lines are left out."""
        for path in [*map(self._segment, self._segments()), str(self.path)]:
            yield from _typed(_lines(path))

    def tail(self, max_bytes: int) -> Iterator[MetricsRow]:
        """Yield the rows of the log's last bytes, oldest first; a line that begins before them is left out."""
        places: list[tuple[str, int]] = []
        for path in [str(self.path), *map(self._segment, reversed(self._segments()))]:
            with suppress(FileNotFoundError):
                size = os.stat(path).st_size
                places.append((path, max(0, size - max_bytes)))
                max_bytes -= size
            if max_bytes <= 0:
                break
        for path, at in reversed(places):
            yield from _typed(_lines(path, at))  # the rest of a line is no row, so it is skipped as a damaged one

    def by_pattern(self) -> dict[str, Uses]:
        """Return what became of the repairs that used a pattern, by its id, whatever origin it was told by."""
        found: defaultdict[str, Uses] = defaultdict(Uses)
        for row in self.rows():
            if row.repair_pattern_id:
                found[row.repair_pattern_id.rpartition(":")[2]].take(row)
        return dict(found)

    def sums(self) -> Sums:
        """Return the sums of the whole log: of full segments as they are kept, of the live one as it is now."""
        total = Sums()
        for number in self._segments():
            total.add(self._sums_of(number))
        total.add(Sums.of(_lines(str(self.path))))
        return total

    def _sums_of(self, number: int) -> Sums:
        path = self._segment(number)
        with suppress(FileNotFoundError, msgspec.DecodeError):
            sums = msgspec.json.decode(Path(self._sums_path(number)).read_bytes(), type=Sums)
            if sums.size == os.stat(path).st_size:  # else somebody edited the segment, or the sums
                return sums
        sums = Sums.of(_lines(path))
        self._keep_sums(number, sums)
        return sums

    def _has(self, row_id: str, since: Position) -> bool:
        wanted = [number for number in self._segments() if number >= since.segment]
        places = [(self._segment(number), since.offset if number == since.segment else 0) for number in wanted]
        live = self._next_segment()
        places.append((str(self.path), since.offset if since.segment == live else 0))
        return any((row_of(line) or {}).get("id") == row_id for path, at in places for line in _lines(path, at))

    def _segments(self) -> list[int]:
        with suppress(FileNotFoundError):
            found = (SEGMENT.fullmatch(name) for name in os.listdir(self._directory))
            return sorted(int(match[1]) for match in found if match)
        return []

    def _next_segment(self) -> int:
        return max(self._segments(), default=0) + 1

    def _segment(self, number: int) -> str:
        return f"{self._directory}/metrics-{number:06}.jsonl"

    def _sums_path(self, number: int) -> str:
        return f"{self._directory}/metrics-{number:06}.sums"


def _typed(lines: Iterable[bytes]) -> Iterator[MetricsRow]:
    for line in lines:
        with suppress(msgspec.ValidationError, msgspec.DecodeError):
            yield msgspec.json.decode(line, type=MetricsRow)


def _lines(path: str, offset: int = 0) -> Iterator[bytes]:
    """Yield the whole lines of a segment; one that is too long for a row comes in pieces, each of them damaged."""
    with suppress(FileNotFoundError), open(path, "rb") as stream:
        stream.seek(offset)
        while line := stream.readline(MAX_LINE):
            if not line.endswith(b"\n") and len(line) < MAX_LINE:
                return  # it is being written, or its writer died
            yield line
