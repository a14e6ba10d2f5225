"""bench/flood: one producer floods the queue, another hands in a few; these must not wait for the flood.

    python bench/flood.py [--documents 100000] [--few 5] [--behind 50] [--growth-mb 32]

The flood is urgent as it says, and more than the window of a watcher holds. As root the few are of another user; else
only of another lineage. While a real watcher serves them, it is counted how many jobs of the flood end before each of
the few does, and how much memory the watcher takes after the few more than at its start with an empty queue. Then it is
stopped, and the judge (bench/invariants.py) looks whether everything that was handed in is in exactly one place.

Prints one line; exit 0 when all of that holds, 1 with what does not.
"""

import json
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import invariants
import program
from room import Room, peer

from repairlab.spool import State

OTHER = 54_323
WITHIN_S = 120


@dataclass
class Told:
    """What came of a flood: jobs that ended before each of the few did, the watcher's memory, what is wrong."""

    behind: list[int] = field(default_factory=list)
    grown_mb: float = 0.0
    ended: int = 0
    wrong: list[str] = field(default_factory=list)


def flooded(documents: int, few: int) -> Told:
    """Flood a queue of its own, which is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="repairlab-flood-") as scratch:
        os.chmod(scratch, 0o755)  # the other user must be able to read what he wants to have repaired
        return _flooded(Path(scratch), documents, few)


def _flooded(base: Path, documents: int, few: int) -> Told:
    told = Told()
    ledger = invariants.Ledger(base / "ledger")
    log = base / "state" / "runs.log"
    with Room(base / "state", peer("by_bundle", log=log), QUEUE_QUOTA_WAITING=str(2 * documents)) as room:
        bundle = room.behaving("noop")
        watcher = room.start()
        room.wait(lambda: "serving" in room.said())
        room.wait_state(_handed_in(room, ledger, bundle, "first"), State.OK)
        before_kb = _resident_kb(watcher.pid)
        _flood(room, ledger, bundle, documents)
        room.wait(lambda: len(room.ended()) > 5, WITHIN_S)
        for number in range(few):
            ended = len(room.ended())
            job = room.wait_state(_handed_in(room, ledger, bundle, str(number)), State.OK, within_s=WITHIN_S)
            told.behind.append(sum(other.since <= job.since for other in room.jobs(State.OK).values()) - ended - 1)
        told.grown_mb = (_resident_kb(watcher.pid) - before_kb) / 1024
        status = room.stop(watcher)
        told.wrong += [f"the watcher ended with {status}"] if status else []
        told.ended = len(room.ended())
        found = invariants.check(room.root, ledger, moving=True)
        told.wrong += [f"{kind}: {what}" for kind, what in found]
        told.wrong += [f"{told.ended} have ended, that is all"] if told.ended >= documents else []
    return told


def _flood(room: Room, ledger: invariants.Ledger, bundle: Path, count: int) -> None:
    said = b'{"bundle_dir":"%s","lineage":"flood","priority":100,"idempotency_key":"%d"}'
    documents = [said % (os.fsencode(bundle), number) for number in range(count)]
    room.queue.publish_many(documents, durable=False)
    for document in documents:
        ledger.accepted(document)


def _handed_in(room: Room, ledger: invariants.Ledger, bundle: Path, key: str) -> str:
    """Hand in one of the few, as another user where that can be."""
    document = json.dumps({"bundle_dir": str(bundle), "lineage": "few", "idempotency_key": f"few-{key}"}).encode()
    ledger.offer(document)
    staged = room.queue.path / "tmp" / f"few-{key}"
    staged.write_bytes(document)
    owner = OTHER if os.geteuid() == 0 else os.geteuid()
    os.chown(staged, owner, -1)
    staged.rename(room.queue.path / f"handoff-few-{key}.json")
    return invariants.identify(document, owner)


def _resident_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--few", type=int, default=5)
    parser.add_argument("--behind", type=int, default=50, help="jobs of the flood that may end before one of the few")
    parser.add_argument("--growth-mb", type=float, default=32, help="that the watcher's memory may grow by")
    options = parser.parse_args()
    told = flooded(options.documents, options.few)
    wrong = list(told.wrong)
    wrong += [f"one of the few waited for {most} jobs" for most in told.behind if most > options.behind]
    if told.grown_mb > options.growth_mb:
        wrong.append(f"the watcher's memory grew by {told.grown_mb:.1f} MiB")
    few = ", ".join(map(str, told.behind))
    print(f"flood: {options.documents:,} waited; before the {options.few} others ended {few} jobs; {told.ended} in all")
    print(f"flood: the watcher grew by {told.grown_mb:.1f} MiB; {len(wrong)} findings")
    print("\n".join(wrong[:20]), end="\n" if wrong else "")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
