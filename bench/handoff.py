"""bench/handoff: where the wall time and the CPU of a whole handoff go, stage by stage.

    python bench/handoff.py [--samples 20] [--dir DIR]

The real watcher, the real agent, the sandbox that this machine gives; each handoff is another bundle of one function
with one wrong operator and two tests, so that every stage is as short as it can be:

    claim       from the rename that drops the handoff to its claim
    snapshot    until the attempt is recorded: a worker reads the handoff and freezes the bundle
    sandbox     start of the sandboxes, of the search and of the verification, until bundle and program are in them
    collect     import of pytest in the sandbox, and collection of the tests
    search      baseline, localization, candidates, a look at what the patches do
    verify      plain pytest in the second sandbox
    report      the rest of the agent: its start, its end, patch and telemetry
    publish     until the job is in processed/ok: a worker proves the patch and publishes the challenger, the job leaves
    afterwards  what nobody waits for: sandboxes that end

`of ours` is everything but what belongs to search and tests (collect, search, verify): what the suite itself costs. CPU
is that of watcher, workers, agent and everything in the sandboxes, as their control group counts it (bench/cgroup.py; a
dash where there can be none), read every two milliseconds. The stages of the agent are laid end to end, `report`
around them, so a border between two of them may be off by that; the sandbox of the verification starts in `search`.
"""

import bisect
import json
import os
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import cgroup
from machine import machine, percentile, table
from program import parser
from room import Room

from repairlab.spool import Job, State
from repairlab.spool.arrival import id_of

STAGES = ("claim", "snapshot", "sandbox", "collect", "search", "verify", "report", "publish", "afterwards")
TESTS = ("collect", "search", "verify")
EVERY_S = 0.002
QUIET_MS, QUIET_S = 0.5, 0.05
BUNDLE = {
    "calc_py": "NUMBER = {}\n\n\ndef add(a, b):\n    return a - b\n",
    "test_calc_py": "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n\n\n"
    "def test_zero():\n    assert add(0, 0) == 0\n",
}


def instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() * 1e3


class Meter:
    """The CPU of a control group over time."""

    def __init__(self, group: Path) -> None:
        self._stat = os.open(group / "cpu.stat", os.O_RDONLY)
        self._at, self._used = [time.time() * 1e3], [cgroup.used_ms(self._stat)]
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while not self._over.wait(EVERY_S):
            self._used.append(cgroup.used_ms(self._stat))
            self._at.append(time.time() * 1e3)

    def until(self, instant_ms: float) -> float:
        """Return the CPU ms that were used until an instant."""
        after = min(max(1, bisect.bisect(self._at, instant_ms)), len(self._at) - 1)
        before = after - 1
        share = (instant_ms - self._at[before]) / max(1e-6, self._at[after] - self._at[before])
        return self._used[before] + min(1.0, max(0.0, share)) * (self._used[after] - self._used[before])

    def settled(self) -> float:
        """Wait until nothing runs; return when that began."""
        end = time.monotonic() + 5
        while time.monotonic() < end:
            now = time.time() * 1e3
            if self.until(now) - self.until(now - QUIET_S * 1e3) < QUIET_MS:
                break
            self._over.wait(EVERY_S)
        return time.time() * 1e3

    def close(self) -> None:
        self._over.set()
        self._reader.join()
        os.close(self._stat)


def repaired(room: Room, number: int) -> tuple[Job, float]:
    """Hand in one bundle; return its job once it has ended, and when it was dropped."""
    files = {name: text.replace("{}", str(number)) for name, text in BUNDLE.items()}
    document = json.dumps({"bundle_dir": str(room.bundle(f"sample-{number}", **files)), "number": number})
    staged = room.queue.path / "tmp" / f"probe-{number}"
    staged.write_text(document)
    began = time.time() * 1e3
    staged.rename(room.queue.path / f"handoff-{number}.json")
    return room.wait_state(id_of(document.encode(), os.geteuid()), State.OK, within_s=120), began


def stages(job: Job, began: float) -> list[tuple[str, float]]:
    """Return the stages of a job and their ms, in their order, from what is kept with it; `report` is twice there."""
    work, at = Path(job.path), {event["event"]: instant(event["at"]) for event in job.attempts()}
    claimed = instant(json.loads((work / "claim").read_bytes())["claimed"])
    took = {key: value * 1e3 for key, value in json.loads((work / "telemetry.json").read_bytes())["timings"].items()}
    answered = os.stat(work / "work" / "agent.stdout").st_mtime_ns / 1e6
    ended = os.stat(job.path).st_ctime_ns / 1e6  # the last rename changed it
    search = sum(took[key] for key in ("baseline_s", "localize_s", "search_s", "probe_s"))
    inner = [("sandbox", took["sandbox_s"]), ("collect", took["collect_s"]), ("search", search)]
    inner.append(("verify", took["verify_s"]))
    before = max(0.0, answered - at["started"] - took["total_s"])
    after = answered - at["started"] - before - sum(ms for _, ms in inner)
    found = [("claim", claimed - began), ("snapshot", at["started"] - claimed), ("report", before), *inner]
    return [*found, ("report", after), ("publish", ended - answered)]


def spent(told: list[tuple[str, float]], began: float, meter: Meter) -> list[tuple[str, float]]:
    """Return the CPU ms of the stages of a job, and of what came afterwards."""
    settled, found, at = meter.settled(), [], began
    for name, wall in told:
        found.append((name, meter.until(at + wall) - meter.until(at)))
        at += wall
    return [*found, ("afterwards", meter.until(settled) - meter.until(at))]


def summed(told: list[tuple[str, float]]) -> dict[str, float]:
    """Return each stage once, with what they are together."""
    found = {name: sum(ms for other, ms in told if other == name) for name in dict(told)}
    whole = sum(found.values())
    return {**found, "in all": whole, "of ours": whole - sum(found[name] for name in TESTS)}


def measured(
    root: Path, samples: int, group: Path | None
) -> tuple[list[dict[str, float]], list[dict[str, float]], str]:
    """Return the stages of each sample by wall and by CPU (nothing where it cannot be had), the tier of the sandbox."""
    walls, cpus = [], []
    meter = Meter(group) if group else None
    with Room(root / "room", WATCHER_CONCURRENCY="1") as room:
        room.under = cgroup.entering(group)
        watcher = room.start()
        room.wait(lambda: "serving" in room.said())
        repaired(room, -1)  # the first one loads what the others find loaded
        for number in range(samples):
            if meter:
                meter.settled()
            job, began = repaired(room, number)
            told = stages(job, began)
            walls.append(summed(told))
            if meter:
                cpus.append(summed(spent(told, began, meter)))
        tier = json.loads((Path(next(room.queue.jobs(State.OK)).path) / "telemetry.json").read_bytes())["sandbox"]
        room.stop(watcher)
    if meter:
        meter.close()
    return walls, cpus, tier


def cells(samples: list[dict[str, float]], name: str) -> list[str]:
    """Return median, ninth decile and largest of a stage."""
    times = [each[name] for each in samples if name in each]
    return (
        [f"{value:.1f}" for value in (percentile(times, 0.5), percentile(times, 0.9), max(times))]
        if times
        else ["-"] * 3
    )


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--samples", type=int, default=20)
    made.add_argument("--dir", type=Path, help="where to put the state directory (default: $TMPDIR)")
    options = made.parse_args()
    group = cgroup.made()
    with tempfile.TemporaryDirectory(prefix="repairlab-handoff-", dir=options.dir) as scratch:
        try:
            walls, cpus, tier = measured(Path(scratch), options.samples, group)
        finally:
            cgroup.remove(os.getsid(0))
        print(f"{options.samples} handoffs, one after the other, sandbox {tier}; {machine(Path(scratch))}\n")
    if group is None:
        print("no CPU: there is no control group (version 2) that is ours to divide\n")
    rows = [[name, *cells(walls, name), *cells(cpus, name)] for name in (*STAGES, "in all", "of ours")]
    print(table(["stage", "wall p50 ms", "p90", "max", "CPU p50 ms", "p90", "max"], rows))


if __name__ == "__main__":
    main()
