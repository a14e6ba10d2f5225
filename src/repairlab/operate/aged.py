"""aged: what a cleanup says of what it removes, when something is old enough, how it goes after a second look."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from repairlab import config
from repairlab.errors import RepairLabError
from repairlab.operate import views
from repairlab.spool.disk import remove_or_hand_over, rename_new, trouble
from repairlab.spool.measure import usage

if TYPE_CHECKING:
    from repairlab.spool import Spool

STAGING = ".tmp-"
IN_USE = "it has come into use"


@dataclass(frozen=True)
class Removal:
    """One path that is too old and that nothing needs; `error` says why it is still there after all."""

    kind: str
    path: Path
    bytes: int
    inodes: int
    error: str = ""


@dataclass(frozen=True)
class Place:
    """What a cleanup works on, and the instant that it works for."""

    root: Path
    repair: "Spool"
    challengers: "Spool"
    ttl: config.Cleanup
    now: datetime
    specs: "Spool | None" = None
    llm: "Spool | None" = None

    def limit(self, days: float) -> datetime:
        """Return the instant that divides old from young; the instant itself is old."""
        return self.now - timedelta(days=days)

    @property
    def queues(self) -> list["Spool"]:
        """The queues that exist."""
        known = (self.repair, self.challengers, self.specs, self.llm)
        return [spool for spool in known if spool is not None and spool.path.is_dir()]


def judged(kind: str, path: str, limit: datetime, last: Callable[[], float]) -> Iterator[Removal]:
    """Yield the entry if `last` happened at the limit or before, with its error if that cannot be told."""
    try:
        found = [Removal(kind, Path(path), *usage(path))] if last() <= limit.timestamp() else []
    except (FileNotFoundError, NotADirectoryError):  # somebody removed it, or it moved while it was read
        return
    except (OSError, RepairLabError) as error:
        found = [Removal(kind, Path(path), 0, 0, told(error))]
    yield from found


def told(error: OSError | RepairLabError) -> str:
    """Return trouble as the words of a `Removal`."""
    return f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)


def entries_of(directory: Path) -> list["os.DirEntry[str]"]:
    """Return what is in a directory, by name; nothing where there is none."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def certain(directory: str | Path, name: str, limit: int) -> bytes:
    """Return what a file holds, nothing where it is none, or closed; TemporaryFailure where that cannot be known now.

    What names a bundle keeps it: a failing disk, or no descriptor left, must not look like nothing that names it.
    """
    try:
        with trouble(f"read {directory}/{name}"):
            return views.contents(directory, name, limit) or b""
    except OSError:  # a link, a device, not readable for anybody like us
        return b""


def written(path: str) -> float:
    """Return when a file was written."""
    return os.lstat(path).st_mtime


def set_aside(path: Path, old: Callable[[], bool]) -> str | None:
    """Remove `path` if it still is `old` and nobody uses it between two looks; return why it is there after all.

    Another user's directories are left to root (`.expired-*`): gone for everybody here, but not yet from the disk.
    """
    aside = path.parent / f"{STAGING}cleanup-{secrets.token_hex(8)}"
    try:
        before = os.lstat(path)
        if not old():
            return IN_USE
        os.rename(path, aside)
        # Not by its age: a time in the future, which is its owner's to set, would bring it back for ever.
        if (now := os.lstat(aside)).st_mtime_ns != before.st_mtime_ns or not os.path.samestat(now, before):
            # Used again between our two looks. Where a new one has the name already, the old one goes.
            with suppress(OSError):
                rename_new(str(aside), str(path))
                return IN_USE
        remove_or_hand_over(str(aside))
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{error.strerror}: {error.filename}"
    return None


def remove_file(path: Path) -> str | None:
    """Remove a file; return why it could not be removed."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        return f"{error.strerror}: {error.filename}"
    return None
