"""bench/handoff: where the wall time and the CPU of a whole handoff go, stage by stage.

    python bench/handoff.py [--samples 20] [--dir DIR]

The real watcher, the real agent, the sandbox that this machine gives; each handoff is another bundle of one function
with one wrong operator and two tests, so that every stage is as short as it can be. Milliseconds of wall time:

    claim      from the rename that drops the handoff to its claim
    prepare    until the attempt is recorded: a worker reads the handoff and freezes the bundle
    sandbox    start of the sandboxes, of the search and of the verification, until the bundle is in them
    collect    import of pytest in the sandbox, and collection of the tests
    search     baseline, localization, candidates, a look at what the patches do
    verify     plain pytest in the second sandbox
    report     the rest of the agent: its start, its end, patch and telemetry
    publish    until the job is in processed/ok: a worker proves the patch and publishes the challenger, the job leaves

`of ours` is everything but what belongs to search and tests (collect, search, verify): what the suite itself costs. CPU
is that of watcher, workers and agent for one handoff; what runs inside a sandbox dies with it unaccounted.
"""

import json
import os
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine, percentile, table
from program import parser
from room import Room

from repairlab.spool import Job, State
from repairlab.spool.arrival import id_of

STAGES = ("claim", "prepare", "sandbox", "collect", "search", "verify", "report", "publish")
TESTS = ("collect", "search", "verify")
BUNDLE = {
    "calc_py": "NUMBER = {}\n\n\ndef add(a, b):\n    return a - b\n",
    "test_calc_py": "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n\n\n"
    "def test_zero():\n    assert add(0, 0) == 0\n",
}


def instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() * 1e3


def repaired(room: Room, number: int) -> dict[str, float]:
    """Hand in one bundle and return the ms of each stage."""
    files = {name: text.replace("{}", str(number)) for name, text in BUNDLE.items()}
    document = json.dumps({"bundle_dir": str(room.bundle(f"sample-{number}", **files)), "number": number})
    staged = room.queue.path / "tmp" / f"probe-{number}"
    staged.write_text(document)
    began = time.time() * 1e3
    staged.rename(room.queue.path / f"handoff-{number}.json")
    job = room.wait_state(id_of(document.encode(), os.geteuid()), State.OK, within_s=120)
    return stages(job, began, os.stat(job.path).st_ctime_ns / 1e6)


def stages(job: Job, began: float, ended: float) -> dict[str, float]:
    """Return the stages of a job from what is kept with it; the last rename changed the directory's ctime."""
    work, at = Path(job.path), {event["event"]: instant(event["at"]) for event in job.attempts()}
    claimed = instant(json.loads((work / "claim").read_bytes())["claimed"])
    took = {key: value * 1e3 for key, value in json.loads((work / "telemetry.json").read_bytes())["timings"].items()}
    answered = os.stat(work / "work" / "agent.stdout").st_mtime_ns / 1e6
    found = {"claim": claimed - began, "prepare": at["started"] - claimed, "publish": ended - answered}
    found |= {"sandbox": took["sandbox_s"], "collect": took["collect_s"], "verify": took["verify_s"]}
    found["search"] = sum(took[key] for key in ("baseline_s", "localize_s", "search_s", "probe_s"))
    agent = answered - at["started"]
    found["report"] = agent - sum(found[name] for name in ("sandbox", "collect", "search", "verify"))
    found["in all"] = ended - began
    found["of ours"] = sum(found[name] for name in STAGES if name not in TESTS)
    return found


def measured(root: Path, samples: int) -> tuple[list[dict[str, float]], float, str]:
    """Return the stages of each sample, the CPU ms of one handoff, and the tier of the sandbox."""
    with Room(root / "room", WATCHER_CONCURRENCY="1") as room:
        watcher = room.start()
        room.wait(lambda: "serving" in room.said())
        repaired(room, -1)  # the first one loads what the others find loaded
        before = spent(watcher.pid)
        found = [repaired(room, number) for number in range(samples)]
        cpu = (spent(watcher.pid) - before) / samples
        tier = json.loads((Path(next(room.queue.jobs(State.OK)).path) / "telemetry.json").read_bytes())["sandbox"]
        room.stop(watcher)
    return found, cpu, tier


def spent(pid: int) -> float:
    """Return the CPU ms of a process and of its living children, with what each of them has waited for (proc(5))."""
    pids = [pid, *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    fields = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[11:15] for each in pids]
    return sum(int(field) for four in fields for field in four) / os.sysconf("SC_CLK_TCK") * 1e3


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--samples", type=int, default=20)
    made.add_argument("--dir", type=Path, help="where to put the state directory (default: $TMPDIR)")
    options = made.parse_args()
    with tempfile.TemporaryDirectory(prefix="repairlab-handoff-", dir=options.dir) as scratch:
        found, cpu, tier = measured(Path(scratch), options.samples)
        print(f"{options.samples} handoffs, one after the other, sandbox {tier}; {machine(Path(scratch))}\n")
    rows = []
    for name in (*STAGES, "in all", "of ours"):
        times = [each[name] for each in found]
        rows.append([name, *(f"{value:.1f}" for value in (percentile(times, 0.5), percentile(times, 0.9), max(times)))])
    rows.append(["CPU outside", f"{cpu:.1f}", "", ""])
    print(table(["stage", "p50 ms", "p90 ms", "max ms"], rows))


if __name__ == "__main__":
    main()
