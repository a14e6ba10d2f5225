"""bench/limits: what the disk and the kernel give at most, which no queue can exceed.

    python bench/limits.py [--seconds 1] [--dir DIR]

Each row is one minimal loop over system calls, with nothing of ours in it; a file holds 300 bytes. `group commit`: many
writers fsync at once and the file system commits once for several of them, or one writer lets one syncfs stand for a
thousand files. `published` is what a durable queue cannot do without: create, write, flush, rename, flush the names;
`in order` writes instead of the first flush, which is enough where the file system keeps the order of changes (where it
does not, such a document may be torn by a power cut). Median, least and largest of the rounds, things a second.
"""

import ctypes
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine, table
from program import parser

ROUNDS = 5
DATA = b"x" * 300
GROUP = 1000
_libc = ctypes.CDLL(None, use_errno=True)


class Files:
    """A directory in which each name is new."""

    def __init__(self, path: Path) -> None:
        self.path, self._next = path, iter(range(1 << 40))
        self.fd = os.open(path, os.O_RDONLY)

    def create(self, safe: Callable[[int], object] | None) -> str:
        name = f"{self.path}/{next(self._next)}"
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(fd, DATA)
        if safe:
            safe(fd)
        os.close(fd)
        return name

    def publish(self, safe: Callable[[int], object] | None) -> str:
        name = self.create(safe)
        os.rename(name, name + ".j")
        if safe:
            os.fsync(self.fd)
        return name + ".j"

    def syncfs(self) -> None:
        if _libc.syncfs(self.fd):
            raise OSError(ctypes.get_errno(), "syncfs")


def handed_over(fd: int) -> None:
    """Have the disk take what is dirty, in its cache perhaps: SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE, _WAIT_AFTER."""
    if _libc.sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), 7):
        raise OSError(ctypes.get_errno(), "sync_file_range")


def repeated(act: Callable[[], object], seconds: float, each: int = 1) -> float:
    """Return how many things a second `act` does, `each` at a call."""
    began, count = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        act()
        count += each
    return count / (time.perf_counter() - began)


def together(act: Callable[[], object], seconds: float, threads: int) -> float:
    """Return the sum of what so many threads do at once; a thread that waits for the disk lets the others run."""
    counts: list[float] = []
    those = [threading.Thread(target=lambda: counts.append(repeated(act, seconds))) for _ in range(threads)]
    for thread in those:
        thread.start()
    for thread in those:
        thread.join()
    return sum(counts)


def group(files: Files, *, rename: bool) -> None:
    """A thousand files that one syncfs makes durable; renamed, too, and the names flushed."""
    names = [files.create(None) for _ in range(GROUP)]
    files.syncfs()
    if rename:
        for name in names:
            os.rename(name, name + ".j")
        os.fsync(files.fd)


def forked() -> None:
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def spawned() -> None:
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def limits(root: Path) -> dict[str, Callable[[float], float]]:
    """Return the loops by name; each takes the seconds that it may use and returns its rate."""
    files = Files(root)
    moved = [files.create(None), f"{root}/moved"]

    def rename() -> None:
        os.rename(*moved)
        moved.reverse()

    loops: dict[str, Callable[[float], float]] = {
        "fsync of a new file": lambda s: repeated(lambda: files.create(os.fsync), s),
    }
    for threads in (16, 64):
        loops[f"… group commit, {threads} at once"] = lambda s, n=threads: together(
            lambda: files.create(os.fsync), s, n
        )
    loops[f"… group commit, {GROUP} a syncfs"] = lambda s: repeated(lambda: group(files, rename=False), s, GROUP)
    loops["published: one at a time"] = lambda s: repeated(lambda: files.publish(os.fsync), s)
    for threads in (16, 64):
        loops[f"… {threads} at once"] = lambda s, n=threads: together(lambda: files.publish(os.fsync), s, n)
    loops["… in order: one at a time"] = lambda s: repeated(lambda: files.publish(handed_over), s)
    for threads in (16, 64):
        loops[f"… in order: {threads} at once"] = lambda s, n=threads: together(
            lambda: files.publish(handed_over), s, n
        )
    loops[f"… {GROUP} a commit"] = lambda s: repeated(lambda: group(files, rename=True), s, GROUP)
    loops["… without any flush"] = lambda s: repeated(lambda: files.publish(None), s)
    loops["rename"] = lambda s: repeated(rename, s)
    loops["fork, exit, wait"] = lambda s: repeated(forked, s)
    loops["spawn /bin/true, wait"] = lambda s: repeated(spawned, s)
    return loops


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--seconds", type=float, default=1.0, help="of each loop, in each round")
    made.add_argument("--dir", type=Path, help="on the file system to be measured (default: $TMPDIR)")
    options = made.parse_args()
    with tempfile.TemporaryDirectory(prefix="repairlab-limits-", dir=options.dir) as scratch:
        root = Path(scratch)
        print(f"{ROUNDS} rounds of {options.seconds:g} s; {machine(root)}\n", flush=True)
        rates: dict[str, list[float]] = {}
        for number in range(ROUNDS):
            place = root / str(number)
            place.mkdir()
            for name, loop in limits(place).items():
                rates.setdefault(name, []).append(loop(options.seconds))
            shutil.rmtree(place)  # a small disk has inodes for one round
        rows = [
            [name, *(f"{value:,.0f}" for value in (statistics.median(those), min(those), max(those)))]
            for name, those in rates.items()
        ]
        print(table(["limit", "a second", "least", "largest"], rows))


if __name__ == "__main__":
    main()
