"""rooms: what a cleanup removes outside of queues and the store: documents of the chain, letters, questions, staging.

Never the documents of a bundle that is needed (`pruning` knows which), nor of any bundle that one of those comes from:
what a document names stays, and so on to the origin. Never the letter of a champion, of one before it, or of a
challenger in an evaluator's hands. Everything is looked at twice, right before it goes and after it was moved aside.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

from repairlab import config
from repairlab.errors import BadInput
from repairlab.operate.aged import IN_USE, Place, Removal, certain, entries_of, judged, set_aside, written
from repairlab.spool import State
from repairlab.spool.disk import remove_tree

KINDS = ("sbom", "patches")
DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
MAX_DOCUMENT = 1 << 26
# What `Disk` and `Champions` write before they rename it: .NAME. and 8 hex digits or the id of the job that is held,
# .16 hex digits, .new-, .current-.
STAGED = re.compile(
    r"\.(.+\.([0-9a-f]{8}|[0-9a-f]{24})|[0-9a-f]{16}|(new|current)-[0-9a-f]{8}|tmp-cleanup-[0-9a-f]{16})"
)
UNFINISHED = (State.WAITING, State.DEFERRED, State.HOLD, State.ACTIVE)


def ended(place: Place) -> Iterator[Removal]:
    """Yield specs and questions that have ended, and questions that nobody took."""
    for kind, spool, days in (("specs", place.specs, place.ttl.specs_days), ("llm", place.llm, place.ttl.llm_days)):
        if spool is None or not spool.path.is_dir():
            continue
        for old in spool.expired(timedelta(days=days), place.now):
            yield Removal(kind, old.path, old.bytes, old.inodes, old.error)
        for job in spool.jobs(State.WAITING) if kind == "llm" else ():
            yield from judged(kind, job.path, place.limit(days), partial(written, job.path))


def responses(place: Place) -> Iterator[Removal]:
    """Yield answers that nobody asks for any more."""
    for entry in _seen(config.llm_responses_dir(place.root)):
        if not entry.is_dir(follow_symlinks=False):
            yield from judged("llm", entry.path, place.limit(place.ttl.llm_days), partial(written, entry.path))


def documents(place: Place, chain: Callable[[], set[str]]) -> Iterator[Removal]:
    """Yield the rooms of bundles that are not in the `chain` of a needed one."""
    for entry in _seen(config.sbom_dir(place.root)):
        for removal in judged("sbom", entry.path, place.limit(place.ttl.sbom_days), partial(_youngest, entry.path)):
            if entry.name not in chain() and not entry.name.startswith("."):
                yield removal


def letters(place: Place, standing: Callable[[], "Standing"]) -> Iterator[Removal]:
    """Yield the patches for people of what is no champion."""
    for lineage in _seen(config.patches_dir(place.root)):
        if not lineage.is_dir(follow_symlinks=False):
            continue
        for entry in _seen(Path(lineage.path)):
            limit = place.limit(place.ttl.patches_days)
            for removal in judged("patches", entry.path, limit, partial(written, entry.path)):
                if not entry.name.startswith(".") and not standing().has(removal.path):
                    yield removal


def staged(place: Place) -> Iterator[Removal]:
    """Yield what a death left beside the files that it was to become."""
    for room in _rooms(place.root):
        for entry in _seen(room):
            if STAGED.fullmatch(entry.name):
                yield from judged("work", entry.path, place.limit(place.ttl.work_days), partial(_youngest, entry.path))


def remove(
    place: Place, removal: Removal, chain: Callable[[], set[str]], standing: Callable[[], "Standing"]
) -> str | None:
    """Remove a room of the chain or a letter, if it still is old and nothing has come to need it."""
    path, days = removal.path, {"sbom": place.ttl.sbom_days, "patches": place.ttl.patches_days}[removal.kind]
    if removal.kind == "sbom" and path.name in chain():
        return IN_USE
    if removal.kind == "patches" and standing().has(path):
        return IN_USE
    return set_aside(path, lambda: _youngest(str(path)) <= place.limit(days).timestamp())


def remove_staged(path: Path) -> str | None:
    """Remove staging, or an answer to a question."""
    with suppress(FileNotFoundError):
        remove_tree(str(path))
    return None


def chained(place: Place, needed: set[str]) -> set[str]:
    """Return the needed bundles and all that their documents name, and so on."""
    top, kept, waiting = config.sbom_dir(place.root), set[str](), list(needed)
    while waiting:
        sha256 = waiting.pop()
        if sha256 in kept or len(sha256) != 64:
            continue
        kept.add(sha256)
        for entry in _seen(top / sha256):
            raw = certain(str(top / sha256), entry.name, MAX_DOCUMENT)
            waiting += [found.decode() for found in DIGEST.findall(raw)]
    return kept


class Standing:
    """Whose letters stay: champions, those before them, challengers whose evaluation has not ended; each read once."""

    def __init__(self, place: Place) -> None:
        self._place, self._before = place, dict[str, set[str] | None]()
        there = place.challengers.path.is_dir()
        self._unfinished = {job.id for job in place.challengers.jobs(*UNFINISHED)} if there else set()

    def has(self, letter: Path) -> bool:
        """Whether a letter stays; so does each of a lineage whose records cannot be read: who stands is not known."""
        lineage, name = letter.parent.name, letter.name.partition(".")[0]
        if lineage not in self._before:
            self._before[lineage] = self._ancestry(lineage)
        before = self._before[lineage]
        return before is None or name in before or name in self._unfinished

    def _ancestry(self, lineage: str) -> set[str] | None:
        from repairlab.champions import Champions

        try:
            return {champion.id for champion in Champions(config.champions_dir(self._place.root)).ancestry(lineage)}
        except (BadInput, OSError):
            return None


def _rooms(root: Path) -> Iterator[Path]:
    """Yield the directories in which programs stage what they write."""
    for top in (config.sbom_dir(root), config.patches_dir(root), config.champions_dir(root)):
        yield top
        yield from (Path(entry.path) for entry in _seen(top) if entry.is_dir(follow_symlinks=False))
    yield from (config.patterns_dir(root), config.metrics_dir(root), root / "specder", config.llm_responses_dir(root))


def _seen(directory: Path) -> list["os.DirEntry[str]"]:
    """Return what is in a directory; nothing where it is none, or closed to whoever only looks (a dry run)."""
    with suppress(PermissionError, NotADirectoryError):
        return entries_of(directory)
    return []


def _youngest(path: str) -> float:
    """Return when a file, or the youngest in a directory and itself, was written."""
    times = [written(path)]
    if os.path.isdir(path) and not os.path.islink(path):
        times += [written(entry.path) for entry in _seen(Path(path))]
    return max(times)
