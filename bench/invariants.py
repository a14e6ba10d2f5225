"""bench/invariants: the independent judge of a state directory: what it must hold whatever has happened to it.

    python bench/invariants.py ROOT LEDGER [--moving] [--machine]

Imports nothing of the project: it reads the directories, and the ledger in which producers wrote what they offered and
what they were told was accepted (`Ledger`). Every queue below ROOT/spool is judged. Without --moving all programs are
done: nothing may wait any more, and no lock, staged file or gate may be left. --machine also looks for processes,
mounts and cgroups that outlived their programs.

    lost, doubled, nowhere   each accepted document is in exactly one place, and nothing else is
    unended, history         each job rests in one terminal state, the one that its history ends with, once
    bytes                    what was handed in is what lies there, rejected input included
    effect                   challenger, metrics row, champion and patch exist once for each job that made one
    torn                     each JSON file of ours is JSON, each line of a log is a line
    temporary, gate, stray   nothing half made is left
    lock, process, mount, cgroup

Exit 0 when all of that holds, 1 with one line for each finding: its kind, a tab, what it is.
"""

import argparse
import fcntl
import hashlib
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PATTERNS = {"repair": ("handoff", ".json"), "challengers": ("challenger_", ".json")}
PARKED = ("active", "deferred", "hold")
TERMINAL = ("ok", "hard_fail", "rejected")
OWN = {"tmp", "active", "deferred", "hold", "processed", "fingerprints"}
ID = re.compile(r"[0-9a-f]{24}")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
STAGED = re.compile(r"\.tmp-.*|\.new-.*|\.current-.*|\.expired-.*|trash-.*|publish-.*|\..+\.[0-9a-f]{8}")
UNTOUCHED = {"work", "duplicates"}  # directories of a job whose files are an attempt's, or a producer's

Finding = tuple[str, str]


class Ledger:
    """What producers offered (it may be there) and were told was accepted (it must be), what people dropped.

    One JSON object a line. `offer` also takes what may arrive cut short, as a plain cp that is killed leaves it.
    """

    def __init__(self, path):
        self.path = str(path)

    def _say(self, **line):
        fd = _open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        _write(fd, json.dumps(line).encode() + b"\n")
        _close(fd)

    def offer(self, document, *, cut=False):
        self._say(said="offered", sha256=_hash(document), cut=document.decode("latin-1") if cut else None)

    def accepted(self, document):
        self._say(said="accepted", sha256=_hash(document), id=identify(document))

    def dropping(self, job_id):
        self._say(said="dropping", id=job_id)

    def read(self):
        """Return the accepted ids and hashes, the offered hashes, the texts that may be cut, and the dropped ids."""
        lines = [json.loads(line) for line in Path(self.path).read_bytes().splitlines()]
        told = {said: [line for line in lines if line["said"] == said] for said in ("accepted", "offered", "dropping")}
        return (
            {line["id"]: line["sha256"] for line in told["accepted"]},
            {line["sha256"] for line in told["accepted"] + told["offered"]},
            [line["cut"].encode("latin-1") for line in told["offered"] if line["cut"] is not None],
            {line["id"] for line in told["dropping"]},
        )


_open, _write, _close = os.open, os.write, os.close  # a fault is for the program under test, not for its ledger


def _hash(document):
    return hashlib.sha256(document).hexdigest()


def identify(document, uid=None):
    """Return the id that the documentation promises: a digest of the owner and the key, or else the bytes."""
    owner = os.getuid() if uid is None else uid
    try:
        value = json.loads(document)
    except ValueError:
        value = None
    key = value.get("idempotency_key") if isinstance(value, dict) else None
    kind, what = ("key", key.encode()) if isinstance(key, str) and key else ("bytes", document)
    return hashlib.sha256(f"{kind}\0{owner}\0".encode() + what).hexdigest()[:24]


class Queue:
    """One queue as it lies on the disk."""

    def __init__(self, path):
        self.path = path
        self.prefix, self.suffix = PATTERNS.get(path.name, ("handoff", ".json"))

    def arrivals(self):
        for entry in sorted(self.path.iterdir()):
            if entry.name.startswith(self.prefix) and entry.name.endswith(self.suffix):
                yield entry

    def directories(self):
        """Yield (state, path) of everything where a job directory belongs."""
        for state in PARKED:
            yield from ((state, path) for path in _children(self.path / state))
        for state in TERMINAL:
            for day in _children(self.path / "processed" / state):
                yield from ((state, path) for path in _children(day))

    def jobs(self):
        return [(state, path) for state, path in self.directories() if (path / "job.json").exists()]


def _children(path):
    return sorted(path.iterdir()) if path.is_dir() else []


def check(root, ledger, *, moving=False, machine=False) -> list[Finding]:
    """Return every finding of a state directory."""
    root = Path(root)
    queues = [Queue(path) for path in _children(root / "spool") if path.is_dir()]
    found = list(_census(root / "spool" / "repair", ledger))
    for queue in queues:
        found += _places(queue)
        found += [finding for state, path in queue.jobs() for finding in _history(state, path)]
        found += _strays(queue)
        found += [] if moving else _unfinished(queue)
    found += _effects(root, ledger)
    found += _torn(root, moving)
    if not moving:
        found += [("temporary", str(path)) for path in _walk(root) if STAGED.fullmatch(path.name)]
        found += _locks(root)
    return found + (list(_machine(root)) if machine else [])


def _census(path, ledger) -> Iterator[Finding]:
    """Hold the producers' ledger against the documents of the queue that they hand in to."""
    accepted, offered, cut, dropped = ledger.read()
    queue = Queue(path)
    there = {}
    for state, job in queue.jobs():
        there.setdefault(job.name, []).append((state, job / "job.json"))
    for arrival in queue.arrivals():
        there.setdefault(identify(arrival.read_bytes()), []).append(("waiting", arrival))
    for job_id, places in there.items():
        for state, document in places:
            yield from _bytes(job_id, state, document, offered, cut)
        if accepted.get(job_id) and not any(_hash(document.read_bytes()) in offered for _, document in places):
            yield "bytes", f"{job_id}: accepted bytes are kept nowhere"
    for job_id in accepted.keys() - there.keys() - dropped:
        yield "lost", f"{job_id} was accepted and is nowhere"


def _bytes(job_id, state, document, offered, cut) -> Iterator[Finding]:
    raw = document.read_bytes()
    if _hash(raw) not in offered and not any(text.startswith(raw) for text in cut):
        yield "nowhere", f"{job_id} in {state}: nobody handed in {raw[:80]!r}"
    if identify(raw) != job_id:
        yield "bytes", f"{job_id} in {state}: the document is that of {identify(raw)}"


def _places(queue) -> Iterator[Finding]:
    places = {}
    for state, path in queue.jobs():
        places.setdefault(path.name, []).append(state)
    for job_id, states in places.items():
        if len(states) > 1:
            yield "doubled", f"{job_id} is in {', '.join(states)}"


def _history(state, path) -> Iterator[Finding]:
    """A job's history must end with the decision that brought it to where it is, and say the end once."""
    events = [json.loads(line) for line in _whole_lines(path / "attempts.jsonl")]
    decisions = [event for event in events if "to" in event or event["event"] == "moved"]
    if state in TERMINAL and (not decisions or decisions[-1].get("to") != state):
        yield "history", f"{path.name} is in {state}, its history ends with {decisions[-1:]}"
    last = max((n for n, event in enumerate(events) if event["event"] == "retried"), default=-1)
    ends = [event["event"] for event in events[last + 1 :] if event.get("to") in TERMINAL]
    if len(ends) > 1:
        yield "history", f"{path.name} ended {len(ends)} times: {ends}"
    if state in ("hard_fail", "rejected") and _json(path / "reason.json").get("outcome") != state:
        yield "history", f"{path.name} is in {state} without its reason"


def _whole_lines(path):
    """Yield the lines that are JSON; a line that a crash tore in the middle of the file has been ended, and stays."""
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            json.loads(line)
        except ValueError:
            continue
        yield line


def _json(path):
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}


def _strays(queue) -> Iterator[Finding]:
    arrivals = {path.name for path in queue.arrivals()}
    for entry in queue.path.iterdir():
        if entry.name not in OWN | arrivals and not STAGED.fullmatch(entry.name):
            yield "stray", str(entry)
    for state in (*PARKED, *(f"processed/{state}" for state in TERMINAL)):
        wanted = DAY if state.startswith("processed") else ID
        for entry in _children(queue.path / state):
            if not wanted.fullmatch(entry.name):
                yield "stray", str(entry)


def _unfinished(queue) -> Iterator[Finding]:
    for arrival in queue.arrivals():
        yield "unended", f"{arrival.name} still waits"
    for state, path in queue.directories():
        if not (path / "job.json").exists():
            yield "gate", f"{path} holds no job"
        elif state in PARKED:
            yield "unended", f"{path.name} is still in {state}"
    for path in _children(queue.path / "tmp"):
        yield "temporary", str(path)


# What the jobs were for


def _effects(root, ledger) -> Iterator[Finding]:
    queue = Queue(root / "spool" / "challengers")
    if not queue.path.is_dir():
        return
    documents = [*queue.arrivals(), *(path / "job.json" for _, path in queue.jobs())]
    made = Counter(_json(path).get("idempotency_key") for path in documents)
    kept = {_json(path).get("idempotency_key"): path.read_bytes() for path in documents}
    for state, job in Queue(root / "spool" / "repair").jobs():
        own = job / "challenger.json"
        wanted = int(state == "ok" and (own.exists() or (job / "telemetry.json").exists()))
        if made.pop(job.name, 0) != wanted and (state in TERMINAL or not own.exists()):
            yield "effect", f"{job.name} in {state} should have {wanted} challengers"
        elif wanted and kept[job.name] != own.read_bytes():
            yield "effect", f"{job.name}: its challenger is not the one that was decided"
    for job_id in made.keys() - ledger.read()[-1]:
        yield "effect", f"there is a challenger of {job_id}, and no such job"
    evaluated = {path.name for state, path in queue.jobs() if state == "ok" and (path / "evaluation.json").exists()}
    yield from _tournament(root, evaluated)


def _tournament(root, evaluated) -> Iterator[Finding]:
    rows = [json.loads(line) for path in _logs(root) for line in _whole_lines(path)]
    count = Counter(row.get("id") for row in rows)
    for job_id in evaluated | set(count):
        if count[job_id] != (job_id in evaluated):
            yield "effect", f"{job_id} has {count[job_id]} rows in the metrics log"
    for row in rows:
        if row.get("decision") == "promoted" and row.get("id") in evaluated:
            yield from _promoted(root, row["lineage"], row["id"])
    for lineage in _children(root / "champions"):
        if (lineage / "current").is_symlink() and not (lineage / "current" / "champion.json").exists():
            yield "effect", f"{lineage}/current names no champion"


def _promoted(root, lineage, job_id) -> Iterator[Finding]:
    champion = root / "champions" / lineage / job_id
    if _json(champion / "champion.json").get("id") != job_id:
        yield "effect", f"{job_id} was promoted and is no champion"
    wanted = bool(_json(champion / "champion.json").get("patch"))
    if len(list((root / "patches").glob(f"*/{job_id}.patch"))) != wanted:
        yield "effect", f"{job_id} was promoted and its patch is not there once"


def _logs(root):
    return sorted((root / "metrics").glob("*.jsonl"))


# What must never be half there


def _walk(root):
    """Yield every path below that is ours, not a bundle's, an attempt's or a producer's."""
    for directory, names, files in os.walk(root):
        here = Path(directory)
        frozen = here == root / "bundles"
        yield from (here / name for name in (*names, *files))
        names[:] = [] if frozen else [name for name in names if name not in UNTOUCHED and not STAGED.fullmatch(name)]


def _torn(root, moving) -> Iterator[Finding]:
    for path in _walk(root):
        if path.is_symlink() or not path.is_file() or path.name == "job.json" or STAGED.fullmatch(path.name):
            continue
        raw = path.read_bytes()
        log = path.suffix == ".jsonl" or path.parent.name == "fingerprints"
        if log and raw and not raw.endswith(b"\n") and not moving:
            yield "torn", f"{path} ends with {raw[-40:]!r}"
        arrival = path.parent.parent.name == "spool"  # a producer's, until it is claimed
        if path.name == "claim" or (path.suffix == ".json" and not arrival):
            try:
                json.loads(raw)
            except ValueError:
                yield "torn", f"{path} is no JSON: {raw[:40]!r}"


# What must not outlive a program


def _locks(root) -> Iterator[Finding]:
    places = [path for queue in _children(root / "spool") if queue.is_dir() for _, path in Queue(queue).directories()]
    places += [*_logs(root), *root.glob("champions/*/.lock"), *root.glob("*.lock")]
    for path in places:
        fd = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield "lock", f"{path} is locked"
        finally:
            os.close(fd)


def _machine(root) -> Iterator[Finding]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) != os.getpid() and (why := _works_in(pid, str(root))):
            yield "process", f"{pid} {why}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.split()[4].startswith(str(root)):
            yield "mount", line.split()[4]
    yield from _cgroups()


def _cgroups() -> Iterator[Finding]:
    """Whoever has no cgroup of its own shares the root with the whole machine, where nothing tells whose one is."""
    for line in _read("/proc/self/cgroup").decode().splitlines():
        number, _, path = line.split(":", 2)
        for directory, _, _ in os.walk(f"/sys/fs/cgroup{path}") if number == "0" and path != "/" else []:
            if directory != f"/sys/fs/cgroup{path}" and b"populated 0" in _read(f"{directory}/cgroup.events"):
                yield "cgroup", directory


def _works_in(pid, root):
    """Return why a process has to do with the state directory, "" if it has not."""
    for name in ("cwd", *(f"fd/{fd}" for fd in _listed(f"/proc/{pid}/fd"))):
        try:
            target = os.readlink(f"/proc/{pid}/{name}")
        except OSError:
            continue
        if target == root or target.startswith(root + "/"):
            return f"has {target} as {name}"
    return "has it in its environment" if f"={root}\0".encode() in _read(f"/proc/{pid}/environ") else ""


def _listed(path):
    try:
        return os.listdir(path)
    except OSError:
        return []


def _read(path):
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--moving", action="store_true", help="programs still run: nothing has to have ended")
    parser.add_argument("--machine", action="store_true", help="look for processes, mounts and cgroups too")
    options = parser.parse_args()
    found = check(options.root.resolve(), Ledger(options.ledger), moving=options.moving, machine=options.machine)
    print("\n".join(f"{kind}\t{what}" for kind, what in found))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
