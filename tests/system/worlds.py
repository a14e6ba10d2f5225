"""worlds: file systems that are too small, too slow or too layered, and a real watcher in them; tells as JSON what came
of it.

    worlds.py full|inodes|overlay|readonly|slow|elsewhere DIRECTORY

A program of its own, because it mounts them in a namespace of its own (bench/disk.py).
"""

import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
import disk
import room
import torture

from repairlab.errors import TemporaryFailure
from repairlab.spool import State

JOBS = 6
WITH_US = ["setpriv", "--pdeathsig", "KILL"]  # a killed test leaves no process, and so no mount, behind
MS_RDONLY, MS_REMOUNT = 1, 32
FLUSH_MS = 100.0  # of a worn-out disk, or one that many share


def mounted(kind: str, target: Path, options: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    disk._mount(kind, target, kind, 0, options)


def behaving(top: Path) -> room.Room:
    here = room.Room(top, room.peer("by_bundle", log=top / "runs.log"))
    here.under = WITH_US
    return here


def filled(directory: Path, size: int) -> list[Path]:
    """Make files of so many bytes until the file system takes no more, and then smaller ones."""
    made: list[Path] = []
    while True:
        path = directory / f"filling-{len(made)}"
        try:
            with path.open("wb", buffering=0) as file:
                made.append(path)
                if file.write(b"x" * size) < size:
                    raise OSError
        except OSError:
            if size <= 1:
                return made
            size //= 16


def served_though(top: Path, fill: Callable[[Path], list[Path]]) -> dict[str, Any]:
    """Serve a queue in which nothing can be written, then make room."""
    with behaving(top) as here:
        kinds = {here.drop(here.behaving("hopeless" if n == 0 else "noop", n)): n for n in range(JOBS)}
        bundle, refused = here.behaving("noop", JOBS), ""
        filling = fill(top / "spool")
        try:
            here.queue.publish(json.dumps({"bundle_dir": str(bundle)}).encode())
        except TemporaryFailure as error:
            refused = str(error)
        watcher = here.start()
        here.wait(lambda: "paused" in here.said() or "disk is full" in here.said())
        waiting = here.queue.counts()[State.WAITING]
        for path in filling:
            path.unlink()
        ended = here.wait(lambda: len(here.ended()) == JOBS and here.ended(), 60)
        status = here.stop(watcher)
        return {
            "refused": refused, "waiting": waiting, "status": status, "said": here.said(),
            "ended": sorted(ended.values()), "ids": sorted(ended) == sorted(kinds),
            "fsck": [str(finding) for finding in here.queue.fsck()],
            "ok": len(here.jobs(State.OK)), "hard_fail": [here.events(job) for job in here.jobs(State.HARD_FAIL)],
            "challengers": len(list(here.challengers.path.glob("*.json"))),
            "left": [path.name for path in here.queue.path.rglob("publish-*")],
        }  # fmt: skip


def full(top: Path) -> dict[str, Any]:
    mounted("tmpfs", top / "spool", "size=3m")
    return served_though(top, lambda directory: filled(directory, 1 << 16))


def inodes(top: Path) -> dict[str, Any]:
    mounted("tmpfs", top / "spool", "size=30m,nr_inodes=400")
    return served_though(top, lambda directory: filled(directory, 0))


def overlay(top: Path) -> dict[str, Any]:
    """A spool whose lower layer holds jobs, as an image would; another is put into the upper one: no event comes."""
    with behaving(top) as here:
        waiting = here.drop(here.behaving("noop", 1))
        parked = here.drop(here.behaving("noop", 2))
        here.queue.hold(parked)
        here.queue.release(parked)
        for name in ("upper", "work"):
            (top / name).mkdir()
        mounted("overlay", top / "spool", f"lowerdir={top}/spool,upperdir={top}/upper,workdir={top}/work")
        watcher = here.start()
        here.wait_state(waiting, State.OK)
        document = json.dumps({"bundle_dir": str(here.behaving("noop", 3))}).encode()
        (top / "upper" / "repair" / "handoff-beneath.json").write_bytes(document)
        beneath = here.wait(
            lambda: [job for job in here.jobs(State.OK).values() if job.name == "handoff-beneath.json"], 20
        )
        here.wait(lambda: f"{parked} is stuck" in here.said(), 20)
        status = here.stop(watcher)
        return {
            "status": status, "beneath": len(beneath), "said": here.said(), "parked": str(here.job(parked).state),
            "ended": sorted(here.ended().values()), "fsck": [str(finding) for finding in here.queue.fsck()],
        }  # fmt: skip


def remounted(target: Path, flags: int) -> None:
    """Change how it is mounted, once nobody has a file open for writing at that moment."""
    end = time.monotonic() + 20
    while True:
        try:
            return disk._mount("tmpfs", target, "tmpfs", MS_REMOUNT | flags, "size=30m")
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > end:
                raise


def readonly(top: Path) -> dict[str, Any]:
    """The file system is remounted read-only in the middle of the work, as after an error, and comes back."""
    mounted("tmpfs", top / "spool", "size=30m")
    with behaving(top) as here:
        kinds, refused = torture.dropped(here, 40), ""
        watcher = here.start()
        here.wait(lambda: len(here.ended()) >= 3)
        remounted(top / "spool", MS_RDONLY)
        try:
            here.drop(here.behaving("noop", 1000))
        except TemporaryFailure as error:
            refused = str(error)
        here.wait(lambda: "claiming pauses" in here.said())
        during, alive = len(here.ended()), watcher.poll() is None
        remounted(top / "spool", 0)
        torture.served(here, kinds, 60)
        return {
            "refused": refused, "during": during, "alive": alive, "status": watcher.returncode, "said": here.said(),
            "jobs": len(kinds), "findings": torture.findings(here, kinds),
        }  # fmt: skip


@contextmanager
def manager(place: Path) -> Any:
    """A service manager's socket; yields its name, and a function that tells when which words came."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hears:
        hears.bind(str(place))
        hears.setblocking(False)
        heard: list[tuple[float, str]] = []

        def told() -> list[tuple[float, str]]:
            try:
                while True:
                    heard.append((time.monotonic(), hears.recv(4096).decode()))
            except BlockingIOError:
                return heard

        yield str(place), told


def slow(top: Path) -> dict[str, Any]:
    """Each flush takes long; the watcher's loop must still tell the service manager that it lives."""
    top.mkdir()
    with (
        disk.Disk(flush_ms=FLUSH_MS) as slow,
        manager(top / "notify") as (name, told),
        behaving(slow.path / "s") as here,
    ):
        kinds = torture.dropped(here, 10)
        watcher = here.start(NOTIFY_SOCKET=name, WATCHDOG_USEC="2000000")
        here.wait(lambda: told() and len(here.ended()) == len(kinds), 90)
        status = here.stop(watcher)
        fed = [at for at, words in told() if "WATCHDOG=1" in words or "READY=1" in words]
        return {
            "flushes": slow.told()["flushes"], "status": status, "fed": len(fed),
            "gap_s": max(later - earlier for earlier, later in pairwise(fed)),
            "findings": torture.findings(here, kinds),
        }  # fmt: skip


def elsewhere(top: Path) -> dict[str, Any]:
    """The spool is behind a FUSE file system; what other hosts drop, as into NFS, comes to it without an event.

    Nor does it know renameat2's flags or (of this kernel) leases.
    """
    with behaving(top) as here, (top / "bindfs.log").open("wb") as log:
        (top / "spool").rename(top / "there")
        (top / "spool").mkdir()
        fresh = ("-o", "attr_timeout=1,entry_timeout=1", "--no-allow-other")
        command = [*WITH_US, "bindfs", "-f", *fresh, top / "there", top / "spool"]
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            here.wait(lambda: os.path.ismount(top / "spool"))
            return _served_elsewhere(top, here)
        finally:
            for watcher in here.watchers:
                watcher.kill()
                watcher.wait()
            disk._umount(top / "spool")
            server.wait(20)


def _served_elsewhere(top: Path, here: room.Room) -> dict[str, Any]:
    kinds = torture.dropped(here, 20)
    watcher = here.start()
    here.wait(lambda: len(here.ended()) == len(kinds), 60)
    late = json.dumps({"bundle_dir": str(here.behaving("noop", 500))}).encode()
    (top / "there" / "repair" / "handoff-late.json").write_bytes(late)
    here.wait(lambda: any(job.name == "handoff-late.json" for job in here.jobs(State.OK).values()), 30)
    kinds |= dict.fromkeys((job.id for job in here.jobs(State.OK).values() if job.name == "handoff-late.json"), "noop")
    kills = torture.torture(here, 2, 3.0, 0.15, torture.random.Random(1))
    kinds |= {here.drop(here.behaving("noop", 600 + n)): "noop" for n in range(10)}
    torture.served(here, kinds, 60)
    status = here.stop(watcher) if watcher.poll() is None else watcher.returncode
    return {"kills": kills, "status": status, "findings": torture.findings(here, kinds)}


def main() -> int:
    world, place = sys.argv[1:]
    disk._own_mounts()
    print(json.dumps(globals()[world](Path(place))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
