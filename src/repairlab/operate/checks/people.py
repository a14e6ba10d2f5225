"""people: whether a queue that several people share keeps them apart."""

import fnmatch
import itertools
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from repairlab import access, config
from repairlab.operate.app import QUEUES, App
from repairlab.operate.checks import Check, Status
from repairlab.spool.disk import EXPIRED

SHARED = {"repair": config.queue_dir, "specs": config.specs_dir}  # what submitters hand in to
LOOKED_AT = 1000  # entries of one directory
HARD_LINKS = Path("/proc/sys/fs/protected_hardlinks")


def sharing(app: App) -> Iterator[Check]:
    """Whether submitters are kept apart by access control lists; says nothing of a tree of one person."""
    shared = [name for name, place in SHARED.items() if _shared(place(app.root))]
    if not shared:
        return
    yield from _lists(app.root, shared)
    if HARD_LINKS.exists() and HARD_LINKS.read_text().strip() == "0":
        why = "anyone may link another's handoff into the queue, where it counts as the other's"
        yield Check("people", Status.WARN, why, "sysctl fs.protected_hardlinks=1")


def _shared(queue: Path) -> bool:
    with suppress(OSError):
        return bool(stat.S_IMODE(queue.stat().st_mode) & (stat.S_IWGRP | stat.S_IWOTH))
    return False


def _lists(root: Path, names: list[str]) -> Iterator[Check]:
    without = "nobody sees a job once it is claimed, and submitters may read what others have waiting"
    queues = {name: SHARED[name](root) for name in names}
    if not access.supported(queues[names[0]]):
        yield Check("people", Status.WARN, f"no ACLs on the file system of {root}: {without}", "mount it with acl")
        return
    bundles = config.bundles_dir(root)
    amiss = []
    places = [
        (queue / below, pattern)
        for name, queue in queues.items()
        for below, pattern in ((".", QUEUES[name]), ("tmp", "*"), ("active", ""))
    ]
    for place, pattern in [*places, (bundles, "*")]:
        try:
            handed_down = access.entries(place, access.DEFAULT)
        except FileNotFoundError:  # a first job makes it
            continue
        if not handed_down:
            fix = "`systemd-tmpfiles --create` sets them, from tmpfiles.d/repairlab.conf"
            amiss.append(Check("people", Status.WARN, f"{place} is shared without ACLs: {without}", fix))
        elif found := _open_ones(place, pattern, handed_down):
            why = f"others may read {len(found)} of what is in {place}: {found[0]}"
            fix = "its owner may `chmod -R go=` it; or restore the backup again with its ACLs (cp -a, tar --acls)"
            amiss.append(Check("people", Status.WARN, why, fix))
    yield from amiss or [Check("people", Status.OK, "submitters see their own jobs, and nobody else's")]


def _open_ones(place: Path, pattern: str, handed_down: list[access.Entry]) -> list[str]:
    """Name what was moved in with modes of its own, or lost its list in a backup; nothing where names are hidden."""
    found = []
    with suppress(PermissionError), os.scandir(place) as listing:
        for entry in itertools.islice(listing, LOOKED_AT):
            if entry.is_symlink() or entry.name.startswith(EXPIRED) or not fnmatch.fnmatch(entry.name, pattern):
                continue
            with suppress(FileNotFoundError):  # taken meanwhile
                if not access.as_closed(entry.path, handed_down):
                    found.append(entry.name)
    return sorted(found)
