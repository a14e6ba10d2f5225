"""bench/volatile: the inside of a disk that forgets: a file over /dev/fuse, its cache emptied by a power cut.

Started by bench/disk.py with descriptors for /dev/fuse (mounted already), for the image, and for a mount namespace to
live in; python -IS, no other module of ours. A write is seen by every read at once and is safe from a cut only when an
fsync that began after it has been answered, FLUSH_MS later, or when it has left a full cache. Commands come as JSON
lines on stdin, each is answered by a line on stdout; the end of stdin ends the disk, and with it every request on it.
At its end the server removes the mount points, which are nothing but a file and two directories where it lives.

The protocol is include/uapi/linux/fuse.h. The root of the file system is the file itself: no name is ever looked up.
"""

import ctypes
import errno
import json
import mmap
import os
import random
import select
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator

CACHE_BYTES = 64 << 20
MAX_WRITE = 1 << 20
IN = struct.Struct("<IIQQIIIHH")
OUT = struct.Struct("<IiQ")
FORGET, GETATTR, OPEN, READ, WRITE, RELEASE, FSYNC, FLUSH, INIT = 2, 3, 14, 15, 16, 18, 20, 25, 26
INTERRUPT, BATCH_FORGET = 36, 42
# ASYNC_READ, BIG_WRITES, ASYNC_DIO, MAX_PAGES; of an open file: DIRECT_IO, PARALLEL_DIRECT_WRITES
FLAGS = 1 << 0 | 1 << 5 | 1 << 15 | 1 << 22
OPEN_FLAGS = 1 << 0 | 1 << 6


class Cache:
    """What the disk was told (`seen`), what of it is safe (`image`), and the writes between the two, oldest first."""

    def __init__(self, fd: int, dice: random.Random, sector: int) -> None:
        self.size = os.fstat(fd).st_size
        self.image = mmap.mmap(fd, self.size)
        self.seen = mmap.mmap(-1, self.size)
        for start, end in _extents(fd, self.size):
            self.seen[start:end] = self.image[start:end]
        self.dice = dice
        self.sector = sector  # so much is written whole or not at all
        self.waiting: deque[tuple[int, bytes]] = deque()
        self.bytes = 0
        self.told = 0  # writes since the start
        self.safe = 0  # as many of them are safe
        self.refused = b""  # what the disk takes no write of

    def write(self, offset: int, data: bytes) -> None:
        if self.refused and self.refused in data:
            raise OSError(errno.EIO, "")
        self.seen[offset : offset + len(data)] = data
        self.waiting.append((offset, data))
        self.told += 1
        self.bytes += len(data)
        while self.bytes > CACHE_BYTES:
            self.settle(self.safe + 1)

    def settle(self, upto: int) -> None:
        """Make the first so many writes since the start safe."""
        while self.safe < upto:
            offset, data = self.waiting.popleft()
            self.image[offset : offset + len(data)] = data
            self.bytes -= len(data)
            self.safe += 1

    def cut(self, share: float) -> int:
        """Forget what is not safe, but for a random part of it; return how many writes waited.

        Of the writes `share` survive whole and half of the others in some of their sectors; with 0 nothing does.
        """
        waited = len(self.waiting)
        ranges = [(offset, offset + len(data)) for offset, data in self.waiting]
        for offset, data in self.waiting:
            for at, part in self._surviving(offset, data, share):
                self.image[at : at + len(part)] = part
        for start, end in ranges:
            self.seen[start:end] = self.image[start:end]
        self.waiting.clear()
        self.bytes, self.safe = 0, self.told
        return waited

    def _surviving(self, offset: int, data: bytes, share: float) -> Iterator[tuple[int, bytes]]:
        fate = self.dice.random()
        if fate < share:
            yield offset, data
        elif share and fate < (1 + share) / 2:
            for at in range(0, len(data), self.sector):
                if self.dice.random() < 0.5:
                    yield offset + at, data[at : at + self.sector]


def _extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of a sparse file that hold data."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:  # ENXIO: the rest is a hole
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


class Server:
    """Answers the kernel. A cut begins a new life: who has the file open from an earlier one gets EIO for ever."""

    def __init__(self, fuse: int, cache: Cache, flush_s: float) -> None:
        self.fuse = fuse
        self.cache = cache
        self.flush_s = flush_s
        self.life = 0
        self.asking = 0  # who is being answered
        self.flushes = 0
        self.due: deque[tuple[float, int, int]] = deque()  # when, unique, how many writes are safe then
        self.buffer = bytearray(MAX_WRITE + (1 << 16))
        self.calls: dict[int, Callable[[memoryview], bytes | None]] = {
            INIT: self._init,
            GETATTR: self._getattr,
            OPEN: lambda _: struct.pack("<QIi", self.life, OPEN_FLAGS, 0),
            READ: self._read,
            WRITE: self._write,
            FSYNC: self._fsync,
            FLUSH: lambda _: b"",
            RELEASE: lambda _: b"",
        }

    def serve(self, command: Callable[[], bool]) -> None:
        """Serve until the disk is unmounted, or `command`, called when stdin is readable, says that it is over."""
        os.set_blocking(self.fuse, False)
        over = False
        while not over:
            self._flush_due()
            try:
                self._one()
            except BlockingIOError:  # no request is there
                left_s = max(0.0, self.due[0][0] - time.monotonic()) if self.due else None
                over = 0 in select.select([0, self.fuse], [], [], left_s)[0] and not command()
            except OSError as error:
                over = error.errno == errno.ENODEV
                if not over:
                    raise

    def _one(self) -> None:
        """Answer one request."""
        try:
            length = os.readv(self.fuse, [self.buffer])
        except FileNotFoundError:  # the request was interrupted before we read it
            return
        _, opcode, unique, *_ = IN.unpack_from(self.buffer)
        self.asking = unique
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT):  # want no answer; we have nothing that could be interrupted
            return
        call = self.calls.get(opcode)
        try:
            if call is None:
                raise OSError(errno.ENOSYS, "")
            answer = call(memoryview(self.buffer)[IN.size : length])
        except OSError as error:
            self._answer(unique, b"", error.errno or errno.EIO)
        else:
            if answer is not None:
                self._answer(unique, answer)

    def _answer(self, unique: int, body: bytes | memoryview, error: int = 0) -> None:
        try:
            os.writev(self.fuse, [OUT.pack(OUT.size + len(body), -error, unique), body])
        except FileNotFoundError:  # nobody waits for it any more
            pass

    def _init(self, body: memoryview) -> bytes:
        readahead = struct.unpack_from("<III", body)[2]
        return struct.pack(
            "<IIIIHHIIHH8I", 7, 31, readahead, FLAGS, 64, 48, MAX_WRITE, 1, MAX_WRITE // 4096, 0, *[0] * 8
        )

    def _getattr(self, _: memoryview) -> bytes:
        size = self.cache.size
        return struct.pack(
            "<QII6Q10I", 3600, 0, 0, 1, size, size // 512, 0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0, 0, 4096, 0
        )

    def _span(self, body: memoryview) -> tuple[int, int]:
        life, offset, size = struct.unpack_from("<QQI", body)
        if life != self.life:
            raise OSError(errno.EIO, "")
        return offset, size

    def _read(self, body: memoryview) -> bytes:
        offset, size = self._span(body)
        return self.cache.seen[offset : offset + size]

    def _write(self, body: memoryview) -> bytes:
        offset, size = self._span(body)
        self.cache.write(offset, bytes(body[40 : 40 + size]))
        return struct.pack("<II", size, 0)

    def _fsync(self, body: memoryview) -> None:
        if struct.unpack_from("<Q", body)[0] != self.life:
            raise OSError(errno.EIO, "")
        self.due.append((time.monotonic() + self.flush_s, self.asking, self.cache.told))

    def _flush_due(self) -> None:
        while self.due and self.due[0][0] <= time.monotonic():
            _, unique, upto = self.due.popleft()
            self.cache.settle(upto)
            self.flushes += 1
            self._answer(unique, b"")

    def cut(self, share: float) -> int:
        """Cut the power: from now on nothing of before is written, and no flush of before is answered well."""
        self.life += 1
        for _, unique, _ in self.due:
            self._answer(unique, b"", errno.EIO)
        self.due.clear()
        return self.cache.cut(share)


def main() -> None:
    fuse, image, outside, scratch, flush_ms, seed, sector = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    # In the namespace that the disk is mounted in, our own end would wait for the unmounting, and that for our answers.
    if libc.setns(int(outside), 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    libc.prctl(57, 1, 0, 0, 0)  # PR_SET_IO_FLUSHER: no memory is reclaimed by writing to ourselves
    server = Server(int(fuse), Cache(int(image), random.Random(int(seed)), int(sector)), float(flush_ms) / 1000)

    def command() -> bool:
        line = os.read(0, 4096)
        if line:
            words = json.loads(line)
            if words["do"] == "refuse":
                server.cache.refused = words["what"].encode()
            waited = server.cut(words["share"]) if words["do"] == "cut" else len(server.cache.waiting)
            told = {"waiting": waited, "writes": server.cache.told, "flushes": server.flushes}
            os.write(1, json.dumps(told).encode() + b"\n")
        return bool(line)

    try:
        server.serve(command)
    finally:
        os.close(server.fuse)  # ends what waits for an answer
        os.unlink(f"{scratch}/disk")  # here they are no mount points
        os.rmdir(f"{scratch}/mnt")
        os.rmdir(scratch)


if __name__ == "__main__":
    main()
