"""bench/hints: how long after a rename into the queue its name is known, while earlier names are renamed out.

    python bench/hints.py [--arrivals N] [--pause-ms MS]

Each arrival is claimed (renamed into active/) as soon as it is known, as a watcher does. Rows: watchdog with the mask
of repairlab.spool.hints; with its own full mask on the queue directory alone; one recursive watch over both ends.
"""

import os
import queue
import select
import statistics
import tempfile
import time
from pathlib import Path

import program
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.inotify import InotifyObserver
from watchdog.observers.inotify_c import WATCHDOG_ALL_EVENTS

from repairlab.spool.hints import MASK, Hints


class Ours:
    def __init__(self, root: Path, mask: int) -> None:
        self.hints = Hints([root, root / "deferred"], mask=mask)

    def wait(self, name: str) -> None:
        while name not in self.hints.take():
            select.select([self.hints], [], [], 5)

    def close(self) -> None:
        self.hints.close()


class Recursive(FileSystemEventHandler):
    def __init__(self, root: Path) -> None:
        self.names: queue.Queue[str] = queue.Queue()
        self.observer = InotifyObserver()
        self.observer.schedule(self, str(root), recursive=True)
        self.observer.start()

    def on_any_event(self, event: FileSystemEvent) -> None:
        self.names.put(os.path.basename(os.fsdecode(event.dest_path or event.src_path)))

    def wait(self, name: str) -> None:
        while self.names.get(timeout=5) != name:
            pass

    def close(self) -> None:
        self.observer.stop()
        self.observer.join()


def measure(watch: Ours | Recursive, root: Path, arrivals: int, pause_s: float) -> list[float]:
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
    print(f"{'watch':<44}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    for label in ("our mask, queue and deferred", "watchdog's full mask, queue and deferred", "recursive, both ends"):
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            for name in ("tmp", "active", "deferred"):
                (root / name).mkdir()
            watch: Ours | Recursive
            if label.startswith("recursive"):
                watch = Recursive(root)
            else:
                watch = Ours(root, MASK if label.startswith("our") else WATCHDOG_ALL_EVENTS)
            times = sorted(measure(watch, root, args.arrivals, args.pause_ms / 1000))
            watch.close()
        p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
        print(f"{label:<44}{statistics.median(times):>9.2f}{p99:>9.2f}{times[-1]:>9.2f}", flush=True)


if __name__ == "__main__":
    main()
