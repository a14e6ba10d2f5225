"""fingerprints: how often the same bundle failed, under whatever name it was handed in.

fingerprints/FP holds one JSON line a failure (`id`, `at`, `boot_id`, `boottime_s`) or `forgiven`. A failure is keyed by
the job and the instant of its `failed` event, so recording it again after a crash changes nothing. Files are bounded by
compaction, their number and age by `sweep`.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass

import orjson

from repairlab.errors import BadInput
from repairlab.spool import history
from repairlab.spool.disk import write_all
from repairlab.spool.history import Event
from repairlab.spool.tree import FINGERPRINTS, Tree

NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")
_KEPT = 100
_COMPACT_BYTES = 64 << 10
_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is known of one fingerprint: failures in the window and ever, and the jobs that failed, newest first."""

    name: str
    in_window: int
    recorded: int
    ids: tuple[str, ...]
    limit: int

    @property
    def exhausted(self) -> bool:
        """Whether another attempt would only thrash."""
        return self.in_window >= self.limit


def path_of(tree: Tree, name: str) -> str:
    """Return the file of a fingerprint; BadInput for what cannot be one."""
    if not NAME.fullmatch(name):
        raise BadInput("a fingerprint is 1 to 128 letters, digits, dots, dashes", field="fingerprint", fix="use a hash")
    return f"{tree.path}/{FINGERPRINTS}/{name}"


def known(tree: Tree, name: str) -> Fingerprint:
    """Return what is recorded of a fingerprint."""
    failures = _failures(tree, name)
    recent = sum(tree.clock.age_s(entry) < tree.policy.window_s for entry in failures)
    ids = dict.fromkeys(str(entry.get("id", "")) for entry in reversed(failures))
    return Fingerprint(name, recent, len(failures), tuple(ids), tree.policy.failures)


def record(tree: Tree, name: str, job_id: str, failed: Event) -> None:
    """Note the failure, once however often it is recorded; the job's move that follows is not durable without it."""
    if any(entry.get("id") == job_id and entry.get("at") == failed["at"] for entry in _failures(tree, name)):
        # Whoever noted it may have died before its bytes were in order.
        tree.disk.order_path("fingerprint.again", path_of(tree, name))
        return
    stamp: Event = {key: failed[key] for key in ("at", "boot_id", "boottime_s") if key in failed}
    _append(tree, name, {"event": "failed", "id": job_id, **stamp})


def forgive(tree: Tree, name: str, job_id: str) -> None:
    """Start the count of a fingerprint anew."""
    if os.path.exists(path_of(tree, name)):
        _append(tree, name, {"event": "forgiven", "id": job_id, **tree.clock.stamp()})


def _failures(tree: Tree, name: str) -> list[Event]:
    entries = history.read(path_of(tree, name))
    last = max((i for i, entry in enumerate(entries) if entry["event"] == "forgiven"), default=-1)
    return [entry for entry in entries[last + 1 :] if entry["event"] == "failed"]


def _append(tree: Tree, name: str, entry: Event) -> None:
    path = path_of(tree, name)
    fd = tree.disk.do("fingerprint.open", os.open, path, _APPEND, 0o666)
    try:
        size = os.fstat(fd).st_size
        if size > _COMPACT_BYTES:
            _compact(tree, name, path, entry)
            return
        line = orjson.dumps(entry) + b"\n"
        torn = size and os.pread(fd, 1, size - 1) != b"\n"
        # One O_APPEND write: appends of several processes do not mix.
        tree.disk.do("fingerprint.write", write_all, fd, b"\n" + line if torn else line)
        tree.disk.order("fingerprint.order", fd)
    finally:
        os.close(fd)
    if not size:
        tree.disk.order_path("fingerprint.directory", f"{tree.path}/{FINGERPRINTS}")


def _compact(tree: Tree, name: str, path: str, entry: Event) -> None:
    kept = [*_failures(tree, name)[-_KEPT:], entry]
    tree.disk.replace("fingerprint.compact", path, b"".join(orjson.dumps(e) + b"\n" for e in kept), sync=True)


def prune(tree: Tree) -> int:
    """Remove fingerprints that nobody failed on for their TTL, and the oldest beyond the bound; return how many.

    The files' times only choose what to look into: a stepped clock must not make the queue forget.
    """
    directory = f"{tree.path}/{FINGERPRINTS}"
    ages = sorted((tree.clock.wall() - entry.stat().st_mtime, entry.name) for entry in os.scandir(directory))
    policy = tree.policy
    ttl_s = max(policy.fingerprint_ttl_s, policy.window_s)
    old = {name for age_s, name in ages if age_s > ttl_s and _is_old(tree, name, ttl_s)}
    gone = old | {name for _, name in ages[policy.fingerprint_entries :]}
    for name in gone:
        with suppress(FileNotFoundError):
            tree.disk.do("fingerprint.prune", os.unlink, f"{directory}/{name}")
    return len(gone)


def _is_old(tree: Tree, name: str, ttl_s: float) -> bool:
    return all(tree.clock.age_s(entry) > ttl_s for entry in history.read(f"{tree.path}/{FINGERPRINTS}/{name}"))
