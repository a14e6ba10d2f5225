"""bench/stage: a state directory for one fault, and the healthy programs that carry on after it."""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from layout import PATTERNS, Ledger
from memory import Memory
from room import QUICK, peer

from repairlab import config
from repairlab.operate import cleanup
from repairlab.spool import Policy, Spool, State

DOCUMENTS = [b'{"bundle_dir":"/b","ts":%d}' % n for n in range(8)]
LATER_S = 2.5 * 86_400  # after the age at which staging files are swept
SETTINGS = {**QUICK, "QUEUE_SETTLE_S": "0", "CLEANUP_WORK_DAYS": "1", "WATCHER_CONCURRENCY": "1"}
SETTINGS |= {"QUEUE_FAILURES": "2"}
SETTINGS |= {f"CLEANUP_{what}_DAYS": "9000" for what in ("PROCESSED", "CHALLENGERS", "BUNDLES", "ESCALATIONS")}
ROUNDS = 12
# What programs import when they need it, and work out once: here, and not anew in each fork.
LAZY = ["tomllib", "filelock", "cyclonedx.output.json", "cyclonedx.model.component", "repairlab.chain.documents"]
LAZY += ["repairlab.evaluate.consumer"]
LAZY += [f"repairlab.operate.{name}" for name in ("aged", "checks", "demote", "fate", "pruning", "rooms")]


def warm():
    """Do once, in the process that all others are forked from, what each of them would do."""
    for name in LAZY:
        importlib.import_module(name)
    config.load({f"REPAIRLAB_{key}": value for key, value in SETTINGS.items()})


class Unharmed:
    """The layer of a healthy program."""

    tells = -1

    def plays(self, role):
        pass


class Stage:
    """One state directory, its ledger, and the spools that work on it."""

    memory: Memory  # of all stages of a run

    def __init__(self, base: Path) -> None:
        self.base, self.root = base, base / "state"
        self.ledger = Ledger(base / "ledger")
        Path(self.ledger.path).touch()
        self.root.mkdir()
        self.layer = Unharmed()

    def spool(self, queue="repair") -> Spool:
        policy = Policy(failures=2, settle_s=0.0, backoff_base_s=0.01, backoff_cap_s=0.02, recovery_base_s=0.01)
        pattern = "*".join(PATTERNS[queue])
        return Spool(self.root / "spool" / queue, pattern=pattern, policy=policy, random=lambda: 0.5)

    def hand_in(self, number=0, name=None):
        self.publish([(DOCUMENTS[number], name)])

    def publish(self, pairs, queue="repair"):
        for document, _ in pairs:
            self.ledger.offer(document, queue=queue)
        jobs = self.spool(queue).publish_many(pairs)
        for document, _ in pairs:
            self.ledger.accepted(document, queue=queue)
        return jobs

    def take(self):
        with closing(self.spool().backlog()) as backlog:
            backlog.scan(1.0)
            return backlog.take()

    def only(self, queue="repair"):
        return next(self.spool(queue).jobs()).id

    def waits(self, queue):
        """Whether a queue has jobs that nobody has ended yet."""
        spool = self.spool(queue)
        spool.create()
        return any(spool.jobs(State.WAITING, State.DEFERRED, State.HOLD)) or bool(os.listdir(spool.path / "active"))

    def run(self, main, *argv, **settings) -> int:
        """Run a program in this process, which is a fork made for it; errors end it as they end the program."""
        os.environ |= {f"REPAIRLAB_{key}": value for key, value in (SETTINGS | settings).items()}
        os.environ["REPAIRLAB_ROOT"] = str(self.root)
        os.environ["REPAIRLAB_WATCHER_AGENT"] = json.dumps(self.agent())
        return main(list(argv))

    def agent(self):
        words = (self.base / "agent").read_text().split() if (self.base / "agent").exists() else ["noop"]
        return peer(*words)


def serve(stage):
    """Consume what is ready, as a healthy worker would."""
    spool = stage.spool()
    for claim in spool.claims():
        with claim:
            claim.put("telemetry.log", b"done\n")
            claim.finish()


@dataclass(frozen=True)
class Scene:
    """One thing that is done to a queue: what must be there, what is done, and who carries on after a fault.

    `meanwhile` is what another worker does while the struck one is stopped or slow.
    """

    ready: Callable[[Stage], object]
    act: Callable[[Stage], object]
    served: Callable[[Stage], object]
    role: str = ""
    meanwhile: Callable[[Stage], object] = serve


def ahead(seconds):
    """Let this process live later: what waits is due, and what is old goes."""
    wall, clock = time.time, time.clock_gettime
    time.time = lambda: wall() + seconds
    time.clock_gettime = lambda which: clock(which) + (seconds if which == time.CLOCK_BOOTTIME else 0.0)


def serve_to_the_end(stage):
    """Reap, release and consume until nothing is left; then sweep."""
    ahead(LATER_S)
    spool = stage.spool()
    spool.create()
    for _ in range(ROUNDS):
        for job in list(spool.jobs(State.HOLD)):
            spool.release(job.id)
        serve(stage)
        if not stage.waits("repair"):
            break
        time.sleep(0.02)  # the spool itself puts a busy id off for 50 ms
    spool.sweep()


def finishes_all(stage, queue):
    """End what others have made for a queue whose own program is not the matter here."""
    spool = stage.spool(queue)
    spool.create()
    for claim in spool.claims():
        claim.finish()


def served_and_cleaned(stage):
    serve_to_the_end(stage)
    cleans(stage)


def cleans(stage, **settings):
    """Run the weekly cleanup, as of the time that this process lives in."""
    return stage.run(cleanup.main, "--now", datetime.fromtimestamp(time.time(), UTC).isoformat(), **settings)


def in_a_fork(act):
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            act()
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.waitpid(pid, 0)
