"""bench/hints: how long after a rename into the queue its name is known, while earlier names are renamed out.

    python bench/hints.py [--arrivals N] [--pause-ms MS]

Each arrival is claimed (renamed into active/) as soon as it is known, as a watcher does. Rows:
repairlab.spool.hints; watchdog's own observer on the same directories; one recursive watch of it over both ends.
"""

import os
import queue
import select
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import program
from machine import machine, percentile, table
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.inotify import InotifyObserver

from repairlab.spool.hints import Hints


class Ours:
    def __init__(self, root: Path) -> None:
        self.hints = Hints([root, root / "deferred"])

    def wait(self, name: str) -> None:
        while name not in self.hints.take():
            select.select([self.hints], [], [], 5)

    def close(self) -> None:
        self.hints.close()


class Theirs(FileSystemEventHandler):
    def __init__(self, *places: Path, recursive: bool) -> None:
        self.names: queue.Queue[str] = queue.Queue()
        self.observer = InotifyObserver()
        for place in places:
            self.observer.schedule(self, str(place), recursive=recursive)
        self.observer.start()

    def on_any_event(self, event: FileSystemEvent) -> None:
        self.names.put(os.path.basename(os.fsdecode(event.dest_path or event.src_path)))

    def wait(self, name: str) -> None:
        while self.names.get(timeout=5) != name:
            pass

    def close(self) -> None:
        self.observer.stop()
        self.observer.join()


WATCHES: dict[str, Callable[[Path], Ours | Theirs]] = {
    "ours, queue and deferred": Ours,
    "watchdog's observer, queue and deferred": lambda root: Theirs(root, root / "deferred", recursive=False),
    "watchdog's observer, recursive, both ends": lambda root: Theirs(root, recursive=True),
}


def measure(watch: Ours | Theirs, root: Path, arrivals: int, pause_s: float) -> list[float]:
    """Return the milliseconds from each rename in to the name being known."""
    out = []
    for number in range(arrivals):
        name = f"handoff-{number}.json"
        (root / "tmp" / name).write_bytes(b"{}")
        began = time.perf_counter()
        (root / "tmp" / name).rename(root / name)
        watch.wait(name)
        out.append((time.perf_counter() - began) * 1000)
        (root / name).rename(root / "active" / name)
        time.sleep(pause_s)
    return out


def main() -> None:
    parser = program.parser(__doc__)
    parser.add_argument("--arrivals", type=int, default=60)
    parser.add_argument("--pause-ms", type=float, default=20)
    args = parser.parse_args()
    print(f"{args.arrivals} arrivals; {machine(Path(tempfile.gettempdir()))}\n", flush=True)
    rows = []
    for label, make in WATCHES.items():
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            for name in ("tmp", "active", "deferred"):
                (root / name).mkdir()
            watch = make(root)
            times = measure(watch, root, args.arrivals, args.pause_ms / 1000)
            watch.close()
        rows.append(
            [label, *(f"{value:.2f}" for value in (percentile(times, 0.5), percentile(times, 0.99), max(times)))]
        )
    print(table(["watch", "p50 ms", "p99 ms", "max ms"], rows))


if __name__ == "__main__":
    main()
