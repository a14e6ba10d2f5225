"""worlds: file systems that are too small or too layered, and a real watcher in them; tells as JSON what came of it.

    worlds.py full|inodes|overlay DIRECTORY

A program of its own, because it mounts them in a namespace of its own (bench/disk.py).
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
import disk
import room

from repairlab.errors import TemporaryFailure
from repairlab.spool import State

JOBS = 6


def mounted(kind: str, target: Path, options: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    disk._mount(kind, target, kind, 0, options)


def behaving(top: Path) -> room.Room:
    return room.Room(top, room.peer("by_bundle", log=top / "runs.log"))


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


def main() -> int:
    world, place = sys.argv[1:]
    disk._own_mounts()
    print(json.dumps(globals()[world](Path(place))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
