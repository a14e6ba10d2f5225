"""state: our own directories: the root, the queues, the roots of bundles, the disk below them."""

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from repairlab import config
from repairlab.operate import output
from repairlab.operate.app import QUEUES, App
from repairlab.operate.checks import Check, Status

# File systems on which flock, rename and inotify do not all work for every reader at once.
REMOTE = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs", "fuse.glusterfs"}
FLEETING = {"tmpfs", "ramfs"}


def directory(app: App) -> Iterator[Check]:
    """Whether the state directory is there, ours, private enough, writable and on a fit file system."""
    root = app.root
    if not root.is_dir():
        fix = "none needed: the first `repairlab submit` or the watcher makes it"
        yield Check("state", Status.WARN if _creatable(root) else Status.FAIL, f"{root} does not exist yet", fix)
        return
    status = root.stat()
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        yield Check("state", Status.FAIL, f"{root}: anyone may rename what is in it", f"chmod o-w {root}")
    elif not os.access(root, os.W_OK) and _may_submit(app):
        yield Check("state", Status.OK, f"{root}: you may hand jobs in; uid {status.st_uid} serves them")
    elif not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        fix = f"run as its owner (uid {status.st_uid}), or as a member of the group of {root}/spool/repair"
        yield Check("state", Status.FAIL, f"{root}: not readable and writable for uid {os.geteuid()}", fix)
    else:
        yield from _file_system(root)


def _may_submit(app: App) -> bool:
    """Whether this user has all that a producer needs: the queue, its staging directory, a place for bundles."""
    queue = config.queue_dir(app.root)
    places = (queue, queue / "tmp", config.bundles_dir(app.root))
    return all(os.access(path, os.W_OK | os.X_OK) for path in places)


def _creatable(path: Path) -> bool:
    parent = next((p for p in path.parents if p.exists()), Path("/"))
    return os.access(parent, os.W_OK | os.X_OK)


def _file_system(root: Path) -> Iterator[Check]:
    kind = file_system(root)
    if kind in REMOTE:
        fix = "put the state directory on a local disk; producers elsewhere may copy into it"
        yield Check("state", Status.FAIL, f"{root} is on {kind}: claims are not exclusive there", fix)
    elif kind in FLEETING:
        yield Check(
            "state", Status.WARN, f"{root} is on {kind}: a reboot loses all jobs", "use a disk, except for tests"
        )
    else:
        yield Check("state", Status.OK, f"{root} on {kind}")


def file_system(path: Path) -> str:
    """Return the type of the file system that holds `path`, by the longest mount point above it (proc(5))."""
    best, kind = -1, "an unknown file system"
    real = str(path.resolve())
    for entry in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        left, _, right = entry.partition(" - ")
        point = left.split()[4].encode().decode("unicode_escape")  # \040 stands for a space
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:
            best, kind = len(point), right.split()[0]
    return kind


def queues(app: App) -> Iterator[Check]:
    """Whether the queues' directories are complete and what is in them is where it should be."""
    for name in QUEUES:
        spool = app.spool(name)
        if not Path(spool.path).is_dir():
            yield Check("queue", Status.OK, f"{name}: not there yet; made when it is needed")
            continue
        try:
            counts = spool.counts()
        except PermissionError:
            yield Check("queue", Status.OK, f"{name}: the service's alone")
            continue
        told = ", ".join(f"{count} {where}" for where, count in counts.items() if count) or "empty"
        strays = [os.path.basename(stray.path) for stray in spool.strays()]
        if strays:
            shown = ", ".join(strays[:3]) + (" …" if len(strays) > 3 else "")
            why = f"{name}: {output.plural(len(strays), 'file')} that no pattern matches: {shown}"
            yield Check("queue", Status.WARN, why, f"name arrivals {QUEUES[name]}, or move them away")
        else:
            yield Check("queue", Status.OK, f"{name}: {told}")


def bundle_roots(app: App) -> Iterator[Check]:
    """Whether the directories that bundles may come from are there and readable."""
    for root in config.bundle_roots(app.settings, app.root):
        if not root.is_dir():
            default = root == config.bundles_dir(app.root)
            status = Status.OK if default else Status.FAIL
            fix = "" if default else f"create {root}, or take it out of roots in [bundles]"
            yield Check("bundles", status, f"{root} does not exist{' yet' if default else ''}", fix)
        elif root == config.bundles_dir(app.root) and _may_submit(app):
            yield Check("bundles", Status.OK, f"{root}: you may put bundles there")
        elif not os.access(root, os.R_OK | os.X_OK):
            yield Check("bundles", Status.FAIL, f"{root} is not readable for uid {os.geteuid()}", f"chmod o+rx {root}")
        else:
            yield Check("bundles", Status.OK, str(root))


def disk(app: App) -> Iterator[Check]:
    """Whether there is room: below `watcher.min_free_mb` nothing is claimed."""
    at = next((p for p in (app.root, *app.root.parents) if p.exists()), Path("/"))
    told = os.statvfs(at)
    free, floor = told.f_bavail * told.f_frsize, app.settings.watcher.min_free_mb << 20
    why = f"{output.size(free)} free at {at}"
    if free < floor:
        fix = "make room (`repairlab-cleanup --dry-run` shows what it would remove), or lower min_free_mb in [watcher]"
        yield Check("disk", Status.FAIL, f"{why}, nothing is claimed below {output.size(floor)}", fix)
    elif told.f_files and told.f_favail < 10_000:
        yield Check("disk", Status.WARN, f"only {told.f_favail} inodes free at {at}", "make room for small files")
    elif free < 4 * max(floor, 256 << 20):
        yield Check("disk", Status.WARN, why, "make room: `repairlab-cleanup --dry-run` shows what it would remove")
    else:
        yield Check("disk", Status.OK, why)


def escalations(app: App) -> Iterator[Check]:
    """Whether units failed since somebody last looked: each such file is open until it is removed."""
    found = escalations_of(app.root)
    by_unit = {path.name.rpartition("-")[0]: path for path in found}  # the last one stays
    for unit, path in by_unit.items():
        older = sum(other.name.startswith(f"{unit}-") for other in found) - 1
        fix = f"read {path} and do what it says, then remove it" + (f" and the {older} before it" if older else "")
        yield Check("escalations", Status.WARN, f"{unit} failed at {_written(path)}", fix)
    if not found:
        yield Check("escalations", Status.OK, "no unit has failed, as far as you may see")


def escalations_of(root: Path) -> list[Path]:
    """Return what units that failed have left, oldest first; nothing for who may not look there."""
    try:
        found = [path for path in config.escalations_dir(root).iterdir() if not path.name.startswith(".")]
    except OSError:
        return []
    return sorted(found, key=lambda path: (_written(path), path.name))


def _written(path: Path) -> str:
    try:
        return output.instant(datetime.fromtimestamp(path.stat().st_mtime, UTC))
    except FileNotFoundError:  # somebody has dealt with it
        return ""
