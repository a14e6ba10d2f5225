"""bench/latency: from the rename that drops a handoff to the first instruction of its agent.

    python bench/latency.py [--samples 200] [--waiting 0 1000 10000 100000] [--dir DIR]

The real watcher, with an agent command that prints the time and ends; a sample follows 50 ms after the last has ended.
`claim`: until the job is claimed (to a millisecond). `agent`: until the agent runs, its bundle read, checked and frozen
by a worker in between. `floor`: in the same run, one fork and wait of a warm process of the workers' size that builds a
list, and an exec of the same agent, which the path cannot do without. The waiting jobs belong to a lineage whose only
slot is taken by an agent that sleeps, so that they wait all the time; the samples are dropped one after the other.
`frozen`: the bundle is named by its place in the store, as `repairlab submit` does. `directory`: it is any directory,
and is copied and flushed before the agent may start. The memory is that of the watcher's own process (RSS), and of
it with all that it started (PSS: what they share counts once), the sleeping agent included where jobs wait.
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import program
from machine import family, machine, percentile, resident_mib, shared_mib, table
from room import Room

from repairlab.sandbox.bundle import snapshot
from repairlab.spool import State

# The agent is exec'd, which the built-in one is not: dash and date cost two or three milliseconds of what is measured.
AGENT = ["/bin/sh", "-c", 'LC_ALL=C date +%s.%6N; if grep -q \'"bulk"\' "$2"; then sleep 1000; fi; exit 1', "agent"]
HEAD = ["waiting", "bundle", "claim p50 ms", "claim p99 ms", "agent p50 ms", "agent p99 ms", "agent max ms"]
HEAD += ["RSS MiB", "all PSS MiB"]
BATCH = 1000
PAUSE_S = 0.05


def fill(room: Room, bundle: Path, waiting: int) -> None:
    """Let jobs wait, the first of them in the only slot that their lineage has."""
    for start in range(0, waiting, BATCH):
        documents = [
            json.dumps({"bundle_dir": str(bundle), "lineage": "bulk", "number": number}).encode()
            for number in range(start, min(start + BATCH, waiting))
        ]
        room.queue.publish_many(documents, durable=False)


def sample(room: Room, bundle: Path, number: int) -> tuple[float, float]:
    """Drop one handoff; return the ms until it was claimed and until its agent ran."""
    document = json.dumps({"bundle_dir": str(bundle), "lineage": "probe", "number": number}).encode()
    staged = room.queue.path / "tmp" / f"probe-{number}"
    staged.write_bytes(document)
    began = time.time_ns()
    staged.rename(room.queue.path / f"handoff-probe-{number}.json")
    places = {}
    while not places:
        time.sleep(0.005)
        places = {job.id: job for job in room.queue.jobs(State.DEFERRED)}
        places = {key: job for key, job in places.items() if key not in room.seen}
    (job,) = places.values()
    room.seen.add(job.id)
    claimed = datetime.fromisoformat(json.loads((Path(job.path) / "claim").read_bytes())["claimed"]).timestamp()
    seconds, micros = (Path(job.path) / "work" / "agent.stdout").read_text().strip().split(".")
    time.sleep(PAUSE_S)
    return claimed * 1e3 - began / 1e6, int(seconds) * 1e3 + int(micros) / 1e3 - began / 1e6


def floor(samples: int) -> list[str]:
    """Return the row of what the machine needs for the processes alone."""
    times = []
    for _ in range(samples):
        began = time.perf_counter()
        pid = os.fork()
        if not pid:
            [str(number) for number in range(20_000)]
            os._exit(0)
        os.waitpid(pid, 0)
        subprocess.run([*AGENT, "--handoff", os.devnull], stdout=subprocess.DEVNULL, check=False)
        times.append((time.perf_counter() - began) * 1e3)
        time.sleep(PAUSE_S)
    return ["floor", "fork + exec", "", "", *figures(times), "", ""]


def figures(times: list[float]) -> list[str]:
    """Return median, 99th percentile and the largest."""
    return [f"{value:.1f}" for value in (percentile(times, 0.5), percentile(times, 0.99), max(times))]


def row(root: Path, waiting: int, samples: int, frozen: bool) -> list[str]:
    settings = {"WATCHER_PER_LINEAGE": "1", "WATCHER_CONCURRENCY": "2", "AGENT_WALL_S": "3600", "WATCHER_GRACE_S": "0"}
    slow = {"QUEUE_BACKOFF_BASE_S": "86400", "QUEUE_BACKOFF_CAP_S": "86400", "QUEUE_RESCAN_S": "5"}
    with Room(root / f"{waiting}-{frozen}", AGENT, **settings, **slow, QUEUE_QUOTA_WAITING="1000000") as room:
        room.seen = set()
        bundle = room.bundle("probe", calc_py="x = 1\n", test_calc_py="def test_x():\n    assert False\n")
        if frozen:
            bundle = snapshot(bundle, roots=[room.bundles], store=room.bundles).path
        fill(room, bundle, waiting)
        watcher = room.start()
        room.wait(lambda: "serving" in room.said())
        if waiting:
            room.wait(lambda: room.queue.counts()[State.ACTIVE] == 1, 60)
            time.sleep(5 + waiting / 10_000)  # the first pass over all of them
        for number in range(5):
            sample(room, bundle, -1 - number)
        times = [sample(room, bundle, number) for number in range(samples)]
        memory = [f"{resident_mib(watcher.pid):.0f}", f"{shared_mib(family(watcher.pid)):.0f}"]
        room.stop(watcher)
    name = "frozen" if frozen else "directory"
    claims, agents = zip(*times, strict=True)
    return [f"{waiting:,}", name, *figures(list(claims))[:2], *figures(list(agents)), *memory]


def main() -> None:
    parser = program.parser(__doc__)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--waiting", type=int, nargs="*", default=[0, 1000, 10_000, 100_000])
    parser.add_argument("--dir", type=Path, help="where to put the state directory (default: $TMPDIR)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="repairlab-latency-", dir=options.dir) as scratch:
        root = Path(scratch)
        print(f"drop → agent start, {options.samples} samples; {machine(root)}\n", flush=True)
        rows = [row(root, waiting, options.samples, frozen) for waiting in options.waiting for frozen in (True, False)]
        gc.freeze()
        rows.append(floor(options.samples))
        print(table(HEAD, rows))


if __name__ == "__main__":
    main()
