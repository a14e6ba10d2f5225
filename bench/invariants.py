"""bench/invariants: the independent judge of a state directory: what it must hold whatever has happened to it.

    python bench/invariants.py ROOT LEDGER [--moving] [--machine]

Imports nothing of the project: it reads the directories, and the ledger in which producers wrote what they offered and
what they were told was accepted (`Ledger`). Every queue below ROOT/spool is judged. Without --moving all programs are
done: nothing may wait any more, and no lock, staged file or gate may be left. --machine also looks for processes,
mounts and cgroups that outlived their programs.

    lost, doubled, nowhere   each accepted document is in exactly one place, and nothing else is
    unended, history         each job rests in one terminal state, the one that its history ends with, once
    bytes                    what was handed in is what lies there, rejected input included
    effect                   what jobs were for exists once, none torn, none without its decision (effects.py)
    torn                     each JSON file of ours is JSON, each line of a log is a line
    temporary, gate, stray   nothing half made is left
    lock, process, mount, cgroup

Exit 0 when all of that holds, 1 with one line for each finding: its kind, a tab, what it is.
"""

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import effects
from layout import (
    DAY,
    ID,
    OWN,
    PARKED,
    STAGED,
    TERMINAL,
    Finding,
    Ledger,
    Queue,
    children,
    digest,
    document_of,
    identify,
    whole_lines,
)

UNTOUCHED = {"work", "duplicates"}  # directories of a job whose files are an attempt's, or a producer's


def check(root, ledger, *, moving=False, machine=False) -> list[Finding]:
    """Return every finding of a state directory."""
    root = Path(root)
    queues = [Queue(path) for path in children(root / "spool") if path.is_dir()]
    found = []
    for queue in queues:
        found += _census(queue, ledger)
        found += _places(queue)
        found += [finding for state, path in queue.jobs() for finding in _history(state, path)]
        found += _strays(queue)
        found += [] if moving else _unfinished(queue)
    found += effects.check(root, ledger)
    found += _torn(root, moving)
    if not moving:
        found += [("temporary", str(path)) for path in _walk(root) if STAGED.fullmatch(path.name)]
        found += _locks(root)
    return found + (list(_machine(root)) if machine else [])


def _census(queue, ledger) -> Iterator[Finding]:
    """Hold the producers' ledger against the documents of a queue."""
    accepted, offered, cut = ledger.read(queue.path.name)
    there = {}
    for state, job in queue.jobs():
        there.setdefault(job.name, []).append((state, job / "job.json"))
    for arrival in queue.arrivals():
        there.setdefault(identify(arrival.read_bytes(), arrival.stat().st_uid), []).append(("waiting", arrival))
    for job_id, places in there.items():
        for state, document in places:
            yield from _bytes(job_id, state, document, queue.path.name, offered, cut)
        if job_id in accepted and not any(digest(document.read_bytes()) in offered for _, document in places):
            yield "bytes", f"{job_id}: accepted bytes are kept nowhere"
    for job_id in accepted - there.keys() - ledger.dropped():
        yield "lost", f"{job_id} was accepted and is nowhere"


def _bytes(job_id, state, document, queue, offered, cut) -> Iterator[Finding]:
    raw = document.read_bytes()
    known = digest(raw) in offered or any(text.startswith(raw) for text in cut)
    if not known and not effects.made_here(document_of(document), queue):
        yield "nowhere", f"{job_id} in {state}: nobody handed in {raw[:80]!r}"
    # Whose a claimed document is says its claim, which the id proves; until then it is its owner's.
    told = document_of(document.parent / "claim").get("submitter") if state != "waiting" else document.stat().st_uid
    if identify(raw, told) != job_id:
        yield "bytes", f"{job_id} in {state}: the document is that of {identify(raw, told)}"


def _places(queue) -> Iterator[Finding]:
    places = {}
    for state, path in queue.jobs():
        places.setdefault(path.name, []).append(state)
    for job_id, states in places.items():
        if len(states) > 1:
            yield "doubled", f"{job_id} is in {', '.join(states)}"


def _history(state, path) -> Iterator[Finding]:
    """A job's history must end with the decision that brought it to where it is, and say the end once."""
    events = [json.loads(line) for line in whole_lines(path / "attempts.jsonl")]
    decisions = [event for event in events if "to" in event or event["event"] == "moved"]
    if state in TERMINAL and (not decisions or decisions[-1].get("to") != state):
        yield "history", f"{path.name} is in {state}, its history ends with {decisions[-1:]}"
    last = max((n for n, event in enumerate(events) if event["event"] == "retried"), default=-1)
    ends = [event["event"] for event in events[last + 1 :] if event.get("to") in TERMINAL]
    if len(ends) > 1:
        yield "history", f"{path.name} ended {len(ends)} times: {ends}"
    if state in ("hard_fail", "rejected") and document_of(path / "reason.json").get("outcome") != state:
        yield "history", f"{path.name} is in {state} without its reason"


def _strays(queue) -> Iterator[Finding]:
    expected = OWN | {path.name for path in queue.arrivals()}
    for entry in queue.path.iterdir():
        if entry.name not in expected and not STAGED.fullmatch(entry.name):
            yield "stray", str(entry)
    for state in (*PARKED, *(f"processed/{state}" for state in TERMINAL)):
        wanted = DAY if state.startswith("processed") else ID
        for entry in children(queue.path / state):
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
    for path in children(queue.path / "tmp"):
        yield "temporary", str(path)


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
    places = [path for queue in children(root / "spool") if queue.is_dir() for _, path in Queue(queue).directories()]
    places += [*effects.logs(root), *root.glob("champions/*/.lock"), *root.glob("*.lock")]
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
