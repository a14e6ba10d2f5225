"""repairlab-library-extract: what the champions taught, as patterns for the next repair.

    repairlab-library-extract [--root DIR]

Reads <root>/champions (each one and those before it, with frozen bundle and patch; none that was demoted) and the
metrics log;
writes <root>/patterns/ID.json, each whole or not at all, and removes what has been merged into another or has sunk.
What it writes follows from what it reads alone: a second run changes nothing; one that was killed is just run again.

A repair teaches its edits and the functions that it changed, a tool that was made from its spec all its functions.
Nothing enters that was not correct, stable and verified: a champion whose bundle or patch is not what its record says
is left out and told. A pattern's quality is counted anew each time: wins are the champions that it was mined from,
transplants and successes the evaluations of repairs that used it, or one that was merged into it. One that keeps
failing is removed.

Exit: 0 done · 64 usage · 75 another run is at work, or the disk is full · 78 the configuration is wrong.
"""

import math
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from repairlab.commandline import Parser
from repairlab.errors import BadInput, TemporaryFailure

if TYPE_CHECKING:
    from repairlab.config import Settings
    from repairlab.documents import Champion, Pattern

PROGRAM = "repairlab-library-extract"
NEAR = 0.9  # of two functions' token triples in common: the same function for our purpose
LEAST_TRIES = 5  # evaluations before a pattern can sink
LEAST_RATE = 0.2  # upper bound of its success rate (Wilson, 95 %) below which it does
MAX_PATTERNS = 10_000
MAX_PROVENANCE = 1000
LOCK = ".lock"


def parser() -> Parser:
    """Return the command line, for the man page too."""
    return Parser(PROGRAM, "Mine the champions for patterns that later repairs can use.")


def main(argv: Sequence[str]) -> int:
    """Bring the library up to date."""
    parser().read(argv)
    from filelock import FileLock, Timeout

    from repairlab import config, journal
    from repairlab.journal import Event

    journal.configure(PROGRAM)
    settings, root = config.load(), config.root()
    directory = config.patterns_dir(root)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(directory / LOCK, timeout=0):
            library = Extraction(root, settings)
            library.mine()
            written, removed = library.write(directory)
    except Timeout:
        raise TemporaryFailure("another extraction is at work", fix="let it finish") from None
    message = f"{len(library.patterns)} patterns of {library.champions} champions: {written} written, {removed} removed"
    journal.event(Event.PATTERNS_EXTRACTED, message)
    return os.EX_OK


class Extraction:
    """One run over all champions."""

    def __init__(self, root: Path, settings: "Settings") -> None:
        from repairlab import config
        from repairlab.champions import Champions
        from repairlab.evaluate.sides import Sides
        from repairlab.metrics import MetricsLog

        self._store = Champions(config.champions_dir(root))
        self._sides = Sides(settings, root)
        self._used = MetricsLog(config.metrics_dir(root)).by_pattern()
        self.patterns: dict[str, Pattern] = {}
        self.champions = 0

    def mine(self) -> None:
        """Fill `patterns` from all champions and those before them."""
        found: dict[str, list[Pattern]] = {}
        for lineage in self._store.lineages():
            with suppress(BadInput, OSError):  # a damaged record: who stood before it is not known
                for champion in self._store.ancestry(lineage):
                    for pattern in self._of(champion):
                        found.setdefault(pattern.id, []).append(pattern)
        counted = (self._counted(*group) for group in _merged([_united(group) for group in found.values()]))
        self.patterns = {pattern.id: pattern for pattern in counted if not sunk(pattern)}

    def _of(self, champion: "Champion") -> "list[Pattern]":
        """Return what one champion teaches; nothing where it is not what its record says."""
        from repairlab import journal
        from repairlab.documents import PatternQuality
        from repairlab.patterns import mined

        if not _teaches(champion):
            return []
        try:
            side = self._sides.side(champion)
        except BadInput as error:
            message = f"nothing is learnt from champion {champion.id} of {champion.lineage}: {error}"
            journal.say(message, priority=journal.Priority.WARNING)
            return []
        self.champions += 1
        sources, made = side.bundle.sources, not champion.patch
        changed = [path for path in sources if made or side.files[path] != side.before[path]]
        before = {} if made else {path: sources[path].text for path in changed}
        after = {path: side.files[path].decode(sources[path].encoding) for path in changed}
        quality = PatternQuality(wins=1)
        return mined(before, after, origin=champion.lineage, provenance=[champion.bundle_sha256], quality=quality)

    def _counted(self, pattern: "Pattern", ids: "Sequence[str]") -> "Pattern":
        """Return the pattern with what became of the repairs that used it, by whichever of these ids."""
        from repairlab.metrics import Uses

        used = Uses()
        for name in ids:
            used.add(self._used.get(name, Uses()))
        quality = msgspec.structs.replace(
            pattern.quality, wins=len(pattern.provenance), transplants=used.rows, succeeded=used.correct,
            median_s=round(statistics.median(used.times_ms) / 1000, 6) if used.times_ms else None,
        )  # fmt: skip
        return msgspec.structs.replace(pattern, quality=quality)

    def write(self, directory: Path) -> tuple[int, int]:
        """Make the directory hold exactly the patterns; return how many files were written and removed."""
        from repairlab.documents import encode
        from repairlab.spool.disk import Disk, trouble

        disk, written, removed = Disk(), 0, 0
        best = sorted(self.patterns.values(), key=lambda p: (-p.quality.wins, -rate_bounds(p)[0], p.id))[:MAX_PATTERNS]
        names = {f"{pattern.id}.json": encode(pattern) for pattern in best}
        with trouble("write the pattern library"):
            for name, raw in names.items():
                path = directory / name
                if not _holds(path, raw):
                    disk.replace("pattern", str(path), raw, sync=True)
                    written += 1
            for path in directory.glob("*.json"):
                if path.name not in names and _ours(path.stem):
                    path.unlink()
                    removed += 1
            disk.sync_directory("patterns", str(directory))
        return written, removed


def _teaches(champion: "Champion") -> bool:
    """Whether it was right each time, and made here: by a repair, or from its spec.

    A tool that calls a pattern teaches nothing: the pattern is there, or is not there for a reason.
    """
    from repairlab.documents import Course

    right = champion.components.correctness == champion.components.stability == 1
    whole = champion.path is Course.SYNTHESIS and champion.pattern_id is None
    return right and (bool(champion.patch) or whole)


def _holds(path: Path, raw: bytes) -> bool:
    with suppress(OSError):
        return path.read_bytes() == raw
    return False


def _ours(stem: str) -> bool:
    """Whether a file's name is a pattern's id: what else lies here is a person's."""
    return len(stem) == 32 and set(stem) <= set("0123456789abcdef")


def _united(group: "list[Pattern]") -> "Pattern":
    """Return one pattern of those of equal content: the origin that comes first, the provenance of all."""
    provenance = sorted({sha for pattern in group for sha in pattern.provenance})
    first = min(group, key=lambda pattern: pattern.origin)
    return msgspec.structs.replace(first, provenance=provenance[:MAX_PROVENANCE])


def _merged(patterns: "Iterable[Pattern]") -> "Iterator[tuple[Pattern, list[str]]]":
    """Yield patterns with the ids that they go by: of functions that are nearly the same there is one.

    The one with the most wins stays, then the shortest. Edits are as they are.
    """
    kept: list[tuple[Pattern, list[str]]] = []
    known: dict[tuple[int, int, int], list[int]] = {}
    for pattern in sorted(patterns, key=_worth):
        marks = _marks(pattern)
        shared = Counter(at for mark in marks for at in known.get(mark, ()))
        at = min((at for at, count in shared.items() if count >= NEAR * len(marks)), default=None)
        if at is None:
            for mark in marks:
                known.setdefault(mark, []).append(len(kept))
            kept.append((pattern, [pattern.id]))
            continue
        other, ids = kept[at]
        both = sorted({*other.provenance, *pattern.provenance})[:MAX_PROVENANCE]
        kept[at] = msgspec.structs.replace(other, provenance=both), [*ids, pattern.id]
    yield from kept


def _marks(pattern: "Pattern") -> list[tuple[int, int, int]]:
    """Return what a pattern shares with one that is nearly the same: most of its minhashes, none for an edit.

    The share of them that two functions of as many parameters have in common estimates that of their token triples
    (A. Broder, 1997).
    """
    if pattern.function is None:
        return []
    return [(len(pattern.function.parameters), at, value) for at, value in enumerate(pattern.function.minhash)]


def _worth(pattern: "Pattern") -> tuple[int, int, str]:
    length = len(pattern.function.source) if pattern.function else 0
    return -len(pattern.provenance), length, pattern.id


def rate_bounds(pattern: "Pattern") -> tuple[float, float]:
    """Return Wilson's 95 % interval of the share of its transplants that were correct (E. B. Wilson, 1927)."""
    tries, good, z = pattern.quality.transplants, pattern.quality.succeeded, 1.96
    if not tries:
        return 0.0, 1.0
    share, square = good / tries, z * z
    middle = share + square / (2 * tries)
    spread = z * math.sqrt(share * (1 - share) / tries + square / (4 * tries * tries))
    return (middle - spread) / (1 + square / tries), (middle + spread) / (1 + square / tries)


def sunk(pattern: "Pattern") -> bool:
    """Whether a pattern keeps failing."""
    return pattern.quality.transplants >= LEAST_TRIES and rate_bounds(pattern)[1] < LEAST_RATE
