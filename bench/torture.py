"""bench/torture: two watchers, 200 handoffs, kill -9 of a random one every 100 ms; nothing may be lost or doubled.

    python bench/torture.py [--seconds 30] [--handoffs 200] [--watchers 2] [--every-ms 100] [--seed N] [--keep DIR]

Four fifths of the bundles pass at once, the others are hopeless, kill their agent, or are no handoffs at all. A killed
watcher is started again at once. After the killing the queue is served to its end, and then it must hold that

    every id is in exactly one place, and that place is terminal;
    it is the place that its bundle deserves;
    every job that ended in ok has exactly one challenger, and no other job has any;
    fsck finds nothing, and no process is left.

Exit 0 when all of that holds, 1 with what does not.
"""

import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import program
from room import Room, peer

from repairlab.spool import State

DESERVED = {"noop": State.OK, "hopeless": State.HARD_FAIL, "segfaults": State.HARD_FAIL, "rejected": State.REJECTED}


def dropped(room: Room, handoffs: int) -> dict[str, str]:
    """Drop the handoffs; return what each job's bundle does."""
    kinds = {}
    for number in range(handoffs):
        words = {17: "hopeless", 18: "segfaults", 19: "rejected"}.get(number % 20, "noop")
        if words == "rejected":
            kinds[room.drop("/nonexistent", number=number)] = words
        else:
            kinds[room.drop(room.behaving(words, number))] = words
    return kinds


def torture(room: Room, watchers: int, seconds: float, every_s: float, dice: random.Random) -> int:
    """Kill and restart for a while; return the number of kills.

    Half of them come when they may. For the other half it has begun to serve who was started last: on a busy machine
    all would die before they had a job in hand.
    """
    running = [room.start() for _ in range(watchers)]
    kills, serving, end = 0, 0, time.monotonic() + seconds
    while time.monotonic() < end:
        while kills % 2 and _serving(room) <= serving and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(every_s)
        victim = dice.randrange(watchers)
        running[victim].kill()
        running[victim].wait()
        serving = _serving(room)
        running[victim] = room.start()
        kills += 1
    return kills


def _serving(room: Room) -> int:
    """How often a watcher has begun to serve."""
    return room.said().count(": serving ")


def findings(room: Room, kinds: dict[str, str]) -> list[str]:
    """Return what does not hold."""
    wrong = []
    places: dict[str, list[State]] = {}
    for job in room.queue.jobs():
        places.setdefault(job.id, []).append(job.state)
    for job_id, kind in kinds.items():
        if places.get(job_id) != [DESERVED[kind]]:
            wrong.append(f"{job_id} ({kind}) is in {places.get(job_id)}: {json.dumps(history(room, job_id))}")
    wrong += [f"{job_id} came from nowhere" for job_id in places.keys() - kinds.keys()]
    made = Counter(json.loads(path.read_bytes())["idempotency_key"] for path in room.challengers.path.glob("*.json"))
    good = {job_id for job_id, kind in kinds.items() if kind == "noop"}
    wrong += [f"{job_id} has {made[job_id]} challengers" for job_id in made if made[job_id] != 1 or job_id not in good]
    wrong += [f"{job_id} has no challenger" for job_id in good - made.keys()]
    wrong += [f"fsck: {finding}" for queue in (room.queue, room.challengers) for finding in queue.fsck()]
    return wrong


def history(room: Room, job_id: str) -> list[Any]:
    try:
        return [event["event"] for event in room.job(job_id).attempts()]
    except Exception as error:
        return [repr(error)]


def served(room: Room, kinds: dict[str, str], within_s: float) -> float:
    """Serve to the end, undisturbed; return how long it took."""
    began = time.monotonic()
    while len(room.ended()) < len(kinds) and time.monotonic() < began + within_s:
        time.sleep(0.1)
    for watcher in room.watchers:
        if watcher.poll() is None:
            room.stop(watcher)
    return time.monotonic() - began


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--handoffs", type=int, default=200)
    parser.add_argument("--watchers", type=int, default=2)
    parser.add_argument("--every-ms", type=float, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--keep", type=Path, help="run there and leave everything for inspection")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="repairlab-torture-") as scratch:
        root = options.keep or Path(scratch)
        with Room(root / "state", peer("by_bundle", log=root / "state" / "runs.log")) as room:
            kinds = dropped(room, options.handoffs)
            dice = random.Random(options.seed)
            kills = torture(room, options.watchers, options.seconds, options.every_ms / 1000, dice)
            during = len(room.ended())
            took_s = served(room, kinds, 300)
            wrong = findings(room, kinds)
            runs = len(room.runs())
    print(f"seed {options.seed}: {kills} kills in {options.seconds:g} s, {during} of {len(kinds)} jobs ended meanwhile")
    print(f"and the rest within {took_s:.1f} s; {runs} agent runs, {len(wrong)} findings")
    print("\n".join(wrong[:40]))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
