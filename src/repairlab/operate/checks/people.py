"""people: whether a queue that several people share keeps them apart."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from repairlab import access, config
from repairlab.operate.app import App
from repairlab.operate.checks import Check, Status

HARD_LINKS = Path("/proc/sys/fs/protected_hardlinks")


def sharing(app: App) -> Iterator[Check]:
    """Whether submitters are kept apart by access control lists; says nothing of a tree of one person."""
    queue = config.queue_dir(app.root)
    try:
        shared = stat.S_IMODE(queue.stat().st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
    except OSError:
        return
    if not shared:
        return
    yield _lists(app.root, queue)
    if HARD_LINKS.exists() and HARD_LINKS.read_text().strip() == "0":
        why = "anyone may link another's handoff into the queue, where it counts as the other's"
        yield Check("people", Status.WARN, why, "sysctl fs.protected_hardlinks=1")


def _lists(root: Path, queue: Path) -> Check:
    without = "nobody sees a job once it is claimed, and submitters may read what others have waiting"
    if not access.supported(queue):
        return Check("people", Status.WARN, f"no ACLs on the file system of {root}: {without}", "mount it with acl")
    entries = access.entries(queue, access.DEFAULT) if os.access(queue, os.R_OK) else []
    if not entries:
        fix = "`systemd-tmpfiles --create` sets them, from tmpfiles.d/repairlab.conf"
        return Check("people", Status.WARN, f"{queue} is shared without ACLs: {without}", fix)
    return Check("people", Status.OK, "submitters see their own jobs, and nobody else's")
