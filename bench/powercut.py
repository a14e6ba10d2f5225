"""bench/powercut: cut the power between any two acknowledgements, and look for what had been promised.

    python bench/powercut.py [--acknowledged 100000] [--handoffs 60] [--share 0.5] [--flush-ms 1] [--seed N]
    python bench/powercut.py --roles no_file_fsync --acknowledged 2000       # a producer that must lose: exit 1

Each life of the disk (bench/disk.py: ext4 on a cache that forgets) has producers, consumers, an appender to the metrics
log or a promoter of champions at work (bench/powercut_roles.py). Half of the cuts come at a random moment, the others
right after an acknowledgement; in half of them nothing that was not flushed survives, in the others a random part of
it, some of that torn. Then the processes are killed, the journal is replayed, fsck.ext4 must find nothing; the queue is
reaped and swept, and `fsck --mend` of ours must find nothing but torn lines of histories, which lose nothing that was
promised; and then all that was ever acknowledged must be there:

    a published document, whole, in exactly one place          a row of the metrics log, once
    a finished job in ok, its result whole, its effect once    a champion, in its lineage's ancestry
    each failure that was counted

Then real watchers serve `--handoffs` of bench/torture.py's kinds on such a disk, and the power is cut while they do. At
their end each job must be in the one place that it deserves, with one challenger where it passes, and with none else.

Exit 0 when all of that holds, 1 with what does not, 69 where there can be no such disk.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import torture
from disk import KINDS, Disk, impossible
from powercut_roles import PUBLISHERS, ROLES, World, lost, promises, started
from room import Room, peer

EVERY_ONE = ("single,batch,again,metrics", "consumer,consumer,single", "batch,batch", "consumer,again,promotion")
FULL = 8_000  # acknowledged documents on one disk: then a fresh one
LONGEST_S = 0.6
# xfs says of an fsync of a directory that it went well when the disk has gone meanwhile: what it had logged of the
# directory is given up, and then nothing is left to wait for. Who has power sees it by the next call that fails.
HIDES = ("xfs",)
WATCHED_CUTS = 5
CHECKED = 10  # one cut of so many is checked by fsck.ext4


class Lives:
    """The lives of one disk, and what was promised in all of them."""

    def __init__(self, disk: Disk, scratch: Path, roles: list[list[str]], dice: random.Random) -> None:
        self.disk, self.roles, self.dice = disk, roles, dice
        self.ledgers = scratch
        self.world = World(disk.path)
        self.world.create()
        self.cuts = 0

    def live(self, share: float) -> list[str]:
        """One life, from the start of the roles to the look after the cut; return what is wrong."""
        roles = self.roles[self.cuts % len(self.roles)]
        pids = [
            started(role, self.world, self.ledgers, f"{role}-{self.cuts}-{number}", self.dice.randrange(1 << 30))
            for number, role in enumerate(roles)
        ]
        try:
            self._await(self.dice.uniform(0.02, LONGEST_S), upon_acknowledgement=self.dice.random() < 0.5)
            early = self._troubles()
            known = {path: path.stat().st_size for path in self.ledgers.iterdir()}
            self.disk.cut(share if self.dice.random() < 0.5 else 0.0)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        if self.disk.kind in HIDES:
            self._forget(known)
        self.cuts += 1
        self.disk.boot(check=self.cuts % CHECKED == 0)
        self.world = World(self.disk.path)
        return early + self._found()

    def _await(self, seconds: float, *, upon_acknowledgement: bool) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.005)
        before = self._size()
        end = time.monotonic() + LONGEST_S
        while upon_acknowledgement and self._size() == before and time.monotonic() < end:
            pass  # the cut shall follow an acknowledgement as closely as it can

    def _forget(self, known: dict[Path, int]) -> None:
        """Take back what was told after the cut, when there was no power to tell it with."""
        for path in self.ledgers.iterdir():
            os.truncate(path, min(path.stat().st_size, known.get(path, 0)))

    def _size(self) -> int:
        return sum(path.stat().st_size for path in self.ledgers.iterdir())

    def _troubles(self) -> list[str]:
        return [f"{path.stem}: {path.read_text()}" for path in self.ledgers.glob(f"*-{self.cuts}-*.trouble")]

    def _found(self) -> list[str]:
        wrong = []
        for spool in (self.world.queue, self.world.results):
            spool.reap()
            spool.sweep()
            # An event that nobody promised may have lost its end: such a line is skipped, and ended by the next one.
            wrong += [finding for finding in spool.fsck(mend=True) if finding.kind != "torn"]
            wrong += spool.fsck()
        return [f"fsck: {finding}" for finding in wrong] + list(lost(self.world, promises(self.ledgers)))


def tortured(
    roles: list[list[str]], wanted: int, share: float, flush_ms: float, seed: int, kind: str = "ext4"
) -> tuple[Counter[str], list[str]]:
    """Cut until so much was acknowledged; return how much of what, and what is wrong."""
    dice = random.Random(seed)
    told: Counter[str] = Counter()
    wrong: list[str] = []
    while (left := wanted - told["published"] - told["careless"]) > 0 and not wrong:
        with (
            tempfile.TemporaryDirectory(prefix="repairlab-ledgers-") as scratch,
            Disk(size_mb=1024, flush_ms=flush_ms, seed=dice.randrange(1 << 30), kind=kind) as disk,
        ):
            lives = Lives(disk, Path(scratch), roles, dice)
            of_this: Counter[str] = Counter()
            while of_this["published"] + of_this["careless"] < min(left, FULL) and not wrong:
                wrong = lives.live(share)
                of_this = Counter({what: names.total() for what, names in promises(lives.ledgers).items()})
            told += of_this
            told["cuts"] += lives.cuts
        print(f"{told['published'] + told['careless']:,} acknowledged, {told['cuts']} cuts", file=sys.stderr)
    return told, wrong


def watched(
    handoffs: int, share: float, flush_ms: float, dice: random.Random, *, kind: str = "ext4", cuts: int = WATCHED_CUTS
) -> tuple[int, list[str]]:
    """Cut the power under real watchers; return how many ended meanwhile, and what is wrong in the end."""
    with Disk(size_mb=1024, flush_ms=flush_ms, seed=dice.randrange(1 << 30), kind=kind) as disk:
        state = disk.path / "state"
        with Room(state, peer("by_bundle", log=state / "runs.log")) as room:
            kinds = torture.dropped(room, handoffs)
            os.sync()
            for _ in range(cuts):
                watchers = [room.start() for _ in range(2)]
                enough = min(len(room.ended()) + 2, handoffs)  # on a quick machine nothing may be left to end
                room.wait(lambda enough=enough: len(room.ended()) >= enough, 120)
                time.sleep(dice.uniform(0, LONGEST_S))
                disk.cut(dice.choice([0.0, share]))
                for watcher in watchers:
                    watcher.kill()
                    watcher.wait()
                disk.boot()
            during = len(room.ended())
            room.start()
            torture.served(room, kinds, 300)
            return during, torture.findings(room, kinds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--acknowledged", type=int, default=100_000, help="documents, and then it ends")
    parser.add_argument("--roles", action="append", help=f"one life's, of {', '.join(ROLES)}; lives take turns")
    parser.add_argument("--handoffs", type=int, default=60, help="for the real watchers; 0 leaves them out")
    parser.add_argument("--share", type=float, default=0.5, help="of what was not flushed, where not nothing survives")
    parser.add_argument("--flush-ms", type=float, default=1.0)
    parser.add_argument("--kind", choices=KINDS, default="ext4", help="of the file system")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    roles = [words.split(",") for words in options.roles or EVERY_ONE]
    if unknown := {role for life in roles for role in life} - ROLES.keys():
        parser.error(f"--roles: no such role: {', '.join(sorted(unknown))}; there are {', '.join(ROLES)}")
    if not any(PUBLISHERS.intersection(life) for life in roles):
        parser.error(f"--roles: nobody publishes, so it would never end: add one of {', '.join(sorted(PUBLISHERS))}")
    if reason := impossible(options.kind):
        print(reason, file=sys.stderr)
        return os.EX_UNAVAILABLE
    began = time.monotonic()
    told, wrong = tortured(roles, options.acknowledged, options.share, options.flush_ms, options.seed, options.kind)
    print(f"seed {options.seed}: {told.pop('cuts')} power cuts in {time.monotonic() - began:.0f} s; acknowledged:")
    print(", ".join(f"{count:,} {what}" for what, count in sorted(told.items())))
    if options.handoffs and not wrong:
        dice = random.Random(options.seed)
        during, wrong = watched(options.handoffs, options.share, options.flush_ms, dice, kind=options.kind)
        print(f"{WATCHED_CUTS} cuts under two watchers: {during} of {options.handoffs} jobs ended meanwhile, then all")
    print(f"{len(wrong)} findings")
    print("\n".join(wrong[:20]))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
