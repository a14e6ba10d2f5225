"""bench/queues: jobs a second and the cost of a pick-up, of our queue and of its peers, at the same promises.

    python bench/queues.py [--seconds 2] [--waiting 0 1000 100000] [--only NAME] [--dir DIR]
    python bench/queues.py --no-rates --only repairlab --waiting 0 1000 10000 100000 1000000 --fill 300
    python bench/disk.py --flush-ms 1 -- python bench/queues.py --dir {}     # on a disk whose flush takes so long

Jobs do nothing. `put` is a producer's call until the promise holds; `done` is a consumer's take and its promise that
the job will not come again. `16` are sixteen processes at once, each waiting for the promise of one job before its
next; `1000 a commit` is the queue's own interface for many, where it has one. `one job` is put and done by one process
each, one at a time: what a job costs from enqueue to done. Medians of rounds, least and largest in brackets.

The last table has a queue filled, then one job put and one taken, in turns: does a backlog make that slower, or bigger?
CPU is the mean of a put, a take and a done; MiB what the process that does them, and nothing else, has in memory at the
end (RSS). What nq and task-spooler are measured by stands in bench/spoolers.py.

A row is printed as soon as it is there. What a peer cannot promise has no row, what it cannot do has a dash, and `>` is
where filling took more than its time.
"""

import argparse
import json
import os
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from shutil import rmtree

sys.path.insert(0, str(Path(__file__).parent))
from machine import growing, machine, percentile, resident_mib, spread
from peers import QUEUES, Queue, retried
from program import parser
from spoolers import SPOOLERS, Spooler

MANY = 16
LOST_S = 10.0
BATCH = 1000
RESULT = struct.Struct("ddd")
SPOOLED = 240  # jobs of a second's measurement, each a process or two
ROUNDS = 3
Kind = type[Queue]


def put(queue: Queue, number: int) -> int:
    retried(lambda: queue.put(number))
    return 1


def put_many(queue: Queue, number: int) -> int:
    queue.put_many(range(number, number + BATCH))
    return BATCH


def consume(queue: Queue, _: int) -> int:
    job = retried(queue.take)
    if job is None:
        return 0
    retried(lambda: queue.done(job))
    return 1


def worked(queue: Queue, act: Callable[[Queue, int], int], seconds: float, first: int) -> bytes:
    """Return how many one process did, from when to when."""
    began, count = time.monotonic(), 0
    while (now := time.monotonic()) < began + seconds:
        did = act(queue, first + count)
        if not did:
            break
        count += did
    return RESULT.pack(count, began, now if count == 0 else time.monotonic())


def child(
    kind: Kind, path: Path, durable: bool, act: Callable[[Queue, int], int], seconds: float, pipes: Sequence[int]
) -> None:
    """Be one process: open the queue, wait until all have, work, tell."""
    ready, go, out = pipes
    try:
        queue = retried(lambda: kind(path, durable))
    finally:
        os.write(ready, b"r")  # also of a failure: the others wait for all
    os.read(go, 1)  # the end of the file, once the parent has heard of all
    os.write(out, worked(queue, act, seconds, os.getpid() << 32))  # the same document twice is one job
    queue.close()


def rate(
    kind: Kind, path: Path, durable: bool, act: Callable[[Queue, int], int], seconds: float, processes: int
) -> float:
    """Return how many a second so many processes do together, from the first's begin to the last's end."""
    apart(lambda: [kind(path, durable).close() or 0.0])  # here it might leave a thread behind, and nobody could fork
    (ready, told_ready), (go, gone), (told, out) = os.pipe(), os.pipe(), os.pipe()
    pids = []
    for _ in range(processes):
        if (pid := os.fork()) == 0:
            os.close(gone)
            try:
                child(kind, path, durable, act, seconds, (told_ready, go, out))
                os._exit(0)
            finally:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        pids.append(pid)
    os.close(told_ready)
    os.close(out)
    for _ in pids:
        os.read(ready, 1)
    os.close(gone)
    ended = [os.waitpid(pid, 0)[1] for pid in pids]  # what they tell fits into the pipe
    raw = os.read(told, 1 << 16)
    for fd in (ready, go, told):
        os.close(fd)
    if any(ended):
        raise RuntimeError(f"{sum(map(bool, ended))} of {processes} processes failed")
    results = [RESULT.unpack_from(raw, at) for at in range(0, len(raw), RESULT.size)]
    passed = max(end for _, _, end in results) - min(began for _, began, _ in results)
    return sum(count for count, _, _ in results) / max(passed, 1e-9)


def throughput(kind: Kind, root: Path, durable: bool, seconds: float) -> list[str]:
    """Return one row: what one process, sixteen, and one with batches do."""
    kind.load()
    figures: list[list[float]] = [[] for _ in range(6)]
    for number in range(ROUNDS):
        place = root / f"{durable}-{number}"
        place.mkdir()
        found = one_round(kind, place, durable, seconds / ROUNDS)
        for values, value in zip(figures, found, strict=True):
            values.append(value)
        rmtree(place)
    cells = [spread(values, ",.0f") if any(values) else "-" for values in figures]
    return [kind.NAME, kind.GUARANTEE[not durable], kind.CRASH, *cells]


def one_round(kind: Kind, root: Path, durable: bool, seconds: float) -> list[float]:
    def measured(act: Callable[[Queue, int], int], processes: int, place: str) -> float:
        return rate(kind, root / place, durable, act, seconds, processes)

    one, one_done = measured(put, 1, "one"), measured(consume, 1, "one")
    many = measured(put, MANY, "many") if kind.PRODUCERS else 0.0
    many_done = measured(consume, MANY, "many") if kind.CONSUMERS else 0.0
    batch = measured(put_many, 1, "batch") if kind.BATCH else 0.0
    return [one, many, batch, one_done, many_done, 1 / (1 / one + 1 / one_done)]


def spooled(spooler: Spooler, root: Path, seconds: float) -> list[str]:
    """Return the row of a program that starts the jobs itself."""
    jobs = max(MANY, int(SPOOLED * min(2.0, seconds) / ROUNDS))
    one = [spooler.rates(root / f"one-{number}", jobs, 1) for number in range(ROUNDS)]
    many = [spooler.rates(root / f"many-{number}", jobs, MANY)[0] for number in range(ROUNDS)]
    puts, whole = zip(*one, strict=True)
    cells = [spread(puts, ",.0f"), spread(many, ",.0f"), "-", "-", "-", spread(whole, ",.0f")]
    return [spooler.name, spooler.guarantee, spooler.crash, *cells]


def filled(kind: Kind, path: Path, waiting: int, fill_s: float) -> bool:
    """Fill a queue without flushes; False where that took too long."""
    queue, began = kind(path, durable=False not in kind.MODES), time.monotonic()
    for start in range(0, waiting, BATCH):
        if time.monotonic() > began + fill_s:
            return False
        queue.fill(range(start, min(start + BATCH, waiting)))
    queue.close()
    return True


def turns(queue: Queue, seconds: float, first: int) -> tuple[list[float], list[float], float]:
    """Put one and take one in turns; return the ms of each take, of each whole job, and the CPU ms of a job."""
    takes, wholes = [], []
    consume(queue, 0)  # the first look at the backlog
    cpu, end = time.process_time(), time.perf_counter() + seconds
    while len(takes) < 20 or (time.perf_counter() < end and len(takes) < 20_000):
        began = time.perf_counter()
        queue.put(first + len(takes))
        between = time.perf_counter()
        while (job := queue.take()) is None:  # an empty queue of ours may take the next look to hear of it
            if time.perf_counter() > between + LOST_S:
                raise RuntimeError("what was put was not there to be taken")
        taken = time.perf_counter()
        queue.done(job)
        takes.append((taken - between) * 1e3)
        wholes.append((time.perf_counter() - began) * 1e3)
    return takes, wholes, (time.process_time() - cpu) / len(takes) * 1e3


def apart(work: Callable[[], list[float]]) -> list[float]:
    """Return what a process of its own finds, so that no measurement has another's memory."""
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.write(write, json.dumps(work()).encode())
            os._exit(0)
        finally:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    os.close(write)
    with open(read, "rb") as pipe:
        told = pipe.read()
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("its process failed")
    return json.loads(told)


def pick_up(kind: Kind, root: Path, waiting: int, options: argparse.Namespace) -> list[str]:
    """Return the row of one queue with one backlog."""
    kind.load()
    durable = kind.MODES[0]

    def measured() -> list[float]:
        queue = kind(root / "filled", durable)
        takes, wholes, cpu = turns(queue, options.seconds, 1 << 40)
        found = [percentile(takes, 0.5), percentile(takes, 0.99), percentile(wholes, 0.5), percentile(wholes, 0.99)]
        return [*found, cpu, resident_mib(os.getpid())]

    head = [kind.NAME, kind.GUARANTEE[not durable], f"{waiting:,}"]
    if not apart(lambda: [filled(kind, root / "filled", waiting, options.fill)])[0]:
        return [*head, f"> {options.fill:.0f} s to fill", "", "", "", "", ""]
    *cells, memory = apart(measured)
    return [*head, *(f"{cell:.2f}" for cell in cells), f"{memory:.0f}"]


def spooled_pick_up(spooler: Spooler, root: Path, waiting: int, options: argparse.Namespace) -> list[str]:
    """Return the row of a program whose waiting jobs are processes: of no more of them than it takes."""
    if waiting > max(spooler.most, BATCH):
        return [spooler.name, spooler.guarantee, f"{waiting:,}", "- (a process each)", "", "", "", "", ""]
    waiting = min(waiting, spooler.most)
    takes = spooler.takes(root / "held", waiting, min(200, max(20, int(100 * options.seconds))))
    cells = [f"{percentile(takes, share):.2f}" for share in (0.5, 0.99)]
    return [spooler.name, spooler.guarantee, f"{waiting:,}", *cells, "-", "-", "-", "-"]


def each(
    root: Path,
    only: str,
    steps: Sequence[int],
    queue: Callable[[Kind, Path, int], list[str]],
    spooler: Callable[[Spooler, Path, int], list[str]],
) -> Iterator[list[str]]:
    """Yield a row of each peer at each step; one that fails takes nothing from the others."""
    works: dict[str, Callable[[Path, int], list[str]]] = {
        **{kind.NAME: partial(queue, kind) for kind in QUEUES},
        **{one.name: partial(spooler, one) for one in SPOOLERS if not one.absent},
    }
    numbers = count()
    for name, work in works.items():
        for step in steps if only in name else ():
            place = root / str(next(numbers))
            place.mkdir()
            try:
                row = work(place, step)
            except ImportError:
                print(f"{name} is not installed: left out", file=sys.stderr, flush=True)
                row = []
            except Exception as error:
                row = [name, " ".join(f"failed: {type(error).__name__}: {error}".replace("|", "/").split())]
            rmtree(place, ignore_errors=True)
            if row:
                yield row


def printed(head: list[str], rows: Iterator[list[str]], widths: Sequence[int] = ()) -> None:
    """Print a table; a row that is too short, of a peer that failed, is filled."""
    names = [*(kind.NAME for kind in QUEUES), *(spooler.name for spooler in SPOOLERS)]
    promises = [promise for kind in QUEUES for promise in kind.GUARANTEE]
    filled_up = ([*row, *[""] * (len(head) - len(row))] for row in rows)
    growing(head, filled_up, [max(map(len, names)), max(map(len, promises)), *widths])


def rates(root: Path, only: str, seconds: float) -> None:
    """Print the tables of jobs a second."""
    for durable in (True, False):
        rows = each(
            root,
            only,
            [durable],
            lambda kind, at, d: throughput(kind, at, bool(d), seconds) if d in kind.MODES else [],
            lambda spooler, at, d: [] if d else spooled(spooler, at, seconds),
        )
        head = ["queue, durable" if durable else "queue, relaxed", "after a power cut", "consumer dies"]
        head += ["put/s", f"put/s by {MANY}", f"put/s, {BATCH} a commit", "done/s", f"done/s by {MANY}", "one job/s"]
        printed(head, rows, [0, *[len("99,999 (99,999–99,999)")] * 6])


def backlogs(root: Path, options: argparse.Namespace) -> None:
    """Print what a backlog does to a pick-up."""
    rows = each(
        root,
        options.only,
        options.waiting,
        lambda kind, at, waiting: pick_up(kind, at, waiting, options),
        lambda spooler, at, waiting: spooled_pick_up(spooler, at, waiting, options),
    )
    head = ["queue, backlog", "after a power cut", "waiting", "take p50 ms", "take p99 ms"]
    printed([*head, "one job p50 ms", "one job p99 ms", "CPU ms", "MiB"], rows)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--seconds", type=float, default=2.0, help="of each figure")
    made.add_argument("--waiting", type=int, nargs="*", default=[0, 1000, 100_000])
    made.add_argument("--only", default="", help="part of a queue's name")
    made.add_argument("--fill", type=float, default=20.0, help="seconds that filling a queue may take")
    made.add_argument("--no-rates", action="store_true", help="only what a backlog does")
    made.add_argument("--dir", type=Path, help="on the file system to be measured (default: $TMPDIR)")
    options = made.parse_args()
    with tempfile.TemporaryDirectory(prefix="repairlab-queues-", dir=options.dir) as scratch:
        print(f"{machine(Path(scratch))}\n", flush=True)
        for spooler in SPOOLERS:
            if spooler.absent:
                print(f"{spooler.name} is not installed: left out ({spooler.absent})\n", flush=True)
        if not options.no_rates:
            rates(Path(scratch), options.only, options.seconds)
        if options.waiting:
            backlogs(Path(scratch), options)


if __name__ == "__main__":
    main()
