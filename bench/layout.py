"""bench/layout: what a state directory looks like, for the judge of it: queues, jobs, ids, and the ledger of producers.

Imports nothing of the project: written down from docs/internals.md alone.
"""

import hashlib
import json
import os
import re
from pathlib import Path

PATTERNS = {"repair": ("handoff", ".json"), "challengers": ("challenger_", ".json"), "specs": ("spec", ".json")}
PARKED = ("active", "deferred", "hold")
TERMINAL = ("ok", "hard_fail", "rejected")
OWN = {"tmp", "active", "deferred", "hold", "processed", "fingerprints"}
ID = re.compile(r"[0-9a-f]{24}")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
STAGED = re.compile(r"\.tmp-.*|\.new-.*|\.current-.*|\.expired-.*|trash-.*|publish-.*|\..+\.[0-9a-f]{8}")

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

    def offer(self, document, *, cut=False, queue="repair"):
        self._say(said="offered", queue=queue, sha256=digest(document), cut=document.decode("latin-1") if cut else None)

    def accepted(self, document, *, queue="repair"):
        self._say(said="accepted", queue=queue, sha256=digest(document), id=identify(document))

    def dropping(self, job_id):
        self._say(said="dropping", id=job_id)

    def _lines(self):
        return [json.loads(line) for line in Path(self.path).read_bytes().splitlines()]

    def read(self, queue):
        """Return the accepted ids of a queue, the hashes of what was offered to it, and the texts that may be cut."""
        lines = [line for line in self._lines() if line.get("queue") == queue]
        return (
            {line["id"] for line in lines if line["said"] == "accepted"},
            {line["sha256"] for line in lines},
            [line["cut"].encode("latin-1") for line in lines if line.get("cut") is not None],
        )

    def dropped(self):
        """Return the ids of the jobs that people, or their age, removed for good."""
        return {line["id"] for line in self._lines() if line["said"] == "dropping"}


_open, _write, _close = os.open, os.write, os.close  # a fault is for the program under test, not for its ledger


def digest(document):
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
            yield from ((state, path) for path in children(self.path / state))
        for state in TERMINAL:
            for day in children(self.path / "processed" / state):
                yield from ((state, path) for path in children(day))

    def jobs(self):
        return [(state, path) for state, path in self.directories() if (path / "job.json").exists()]


def children(path):
    return sorted(path.iterdir()) if path.is_dir() else []


def whole_lines(path):
    """Yield the lines that are JSON; a line that a crash tore in the middle of the file has been ended, and stays."""
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            json.loads(line)
        except ValueError:
            continue
        yield line


def document_of(path):
    """Return a document of ours; an empty one where there is none, or something else."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
