"""bench/powercut_roles: who works on the disk while the power is cut, and what each must find again afterwards.

A role runs in a process of its own, on the disk, until it is killed. Whatever a call of ours has returned for it writes
into its ledger, a file that is not on that disk, as one line `WHAT ID`: from then on it has been promised.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from repairlab.champions import Champions, Lost
from repairlab.documents import Champion, Components, Course, Decision, MetricsRow, Strategy
from repairlab.metrics import MetricsLog
from repairlab.spool import Claim, Policy, Spool, State
from repairlab.spool.disk import Disk, rename_new
from repairlab.spool.tree import JOB

POLICY = Policy(backoff_base_s=0.01, backoff_cap_s=0.05, recovery_base_s=0.01, settle_s=0.1)
RESULT = "result.json"
RELAXED = "handoff-relaxed-"  # what may be torn until it is published with a promise
ONES = Components(correctness=1, safety=1, performance=1, robustness=1, documentation=1, stability=1)
SHA, NOW = "0" * 64, datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class World:
    """What lies on the disk."""

    root: Path

    def __post_init__(self) -> None:
        self.queue = Spool(self.root / "queue", policy=POLICY)
        self.results = Spool(self.root / "results", pattern="challenger_*.json", policy=POLICY)
        self.log = MetricsLog(self.root / "metrics", rotate_bytes=1 << 18)
        self.champions = Champions(self.root / "champions")

    def create(self) -> None:
        self.queue.create()
        self.results.create()
        os.sync()


@dataclass
class Me:
    """One role at work: its world, its ledger, its dice, and a name that nobody else has."""

    world: World
    ledger: int
    dice: random.Random
    name: str
    made: int = 0

    def promised(self, what: str, names: list[str]) -> None:
        os.write(self.ledger, "".join(f"{what} {name}\n" for name in names).encode())

    def document(self) -> bytes:
        self.made += 1
        body = {"bundle_dir": "/b", "lineage": self.name, "number": self.made}
        body["filling"] = "x" * self.dice.choice([0, 100, 5000])
        return sealed(body)


def sealed(body: dict[str, Any]) -> bytes:
    """A document that tells of itself whether it is whole."""
    return json.dumps(body | {"sum": hashlib.sha256(json.dumps(body).encode()).hexdigest()}).encode()


def whole(raw: bytes) -> bool:
    try:
        body = json.loads(raw)
        told = body.pop("sum")
    except (ValueError, KeyError):
        return False
    return told == hashlib.sha256(json.dumps(body).encode()).hexdigest()


def single(me: Me) -> None:
    """One durable document after the other."""
    while True:
        me.promised("published", [me.world.queue.publish(me.document()).id])


def batch(me: Me) -> None:
    """Batches, from a handful to more than a commit holds."""
    while True:
        documents = [me.document() for _ in range(me.dice.choice([2, 5, 100, 500, 1500]))]
        me.promised("published", [job.id for job in me.world.queue.publish_many(documents)])


def again(me: Me) -> None:
    """First without a promise, then the same again with one."""
    while True:
        made = [me.document() for _ in range(me.dice.choice([1, 10]))]
        documents = [(raw, f"{RELAXED}{hashlib.sha256(raw).hexdigest()[:24]}.json") for raw in made]
        me.world.queue.publish_many(documents, durable=False)
        me.promised("published", [job.id for job in me.world.queue.publish_many(documents)])


def consumer(me: Me) -> None:
    """Serve the queue: a result and an effect elsewhere before the job leaves, and some attempts in vain."""
    with closing(me.world.queue.backlog()) as backlog:
        while True:
            backlog.scan()
            if (claim := backlog.take()) is None:
                time.sleep(0.001)
                continue
            with claim:
                claim.started()
                if int(claim.id, 16) % 5 == 0 and me.dice.random() < 0.7:
                    claim.fail("no luck", fingerprint=f"fp-{claim.id}")
                    me.promised("failed", [claim.id])
                else:
                    _finish(me, claim)


def _finish(me: Me, claim: Claim) -> None:
    result = sealed({"job": claim.id, "idempotency_key": claim.id})
    claim.put(RESULT, result)
    me.world.results.publish(result, f"challenger_{claim.id}.json")
    me.promised("effect", [claim.id])
    claim.finish()
    me.promised("finished", [claim.id])


def metrics(me: Me) -> None:
    """Rows of the metrics log."""
    while True:
        me.made += 1
        row = MetricsRow(
            timestamp=NOW, id=f"{me.name}-{me.made}", path=Course.CHALLENGER, lineage=me.name, fitness=1.0,
            components=ONES, decision=Decision.PROMOTED, meta_repair=True, bundle_sha256=SHA, parent_sha256=None,
        )  # fmt: skip
        me.world.log.append(row)
        me.promised("row", [row.id])


def promotion(me: Me) -> None:
    """Champions of one lineage, each over the one before it."""
    parent = None
    while True:
        me.made += 1
        name = hashlib.sha256(f"{me.name}-{me.made}".encode()).hexdigest()[:24]
        champion = Champion(
            id=name, at=NOW, lineage=me.name, parent=parent, bundle_dir="/b", bundle_sha256=SHA, parent_sha256=SHA,
            patch=f"--- {me.made}\n", fitness=1.0, components=ONES, strategy=Strategy.MULTI_EDIT,
        )  # fmt: skip
        try:
            me.world.champions.promote(champion)
        except Lost:
            raise AssertionError(f"the champion of {me.name} is not {parent}") from None
        me.promised("promoted", [f"{me.name}/{name}"])
        parent = name


def without(step: str) -> Callable[[Me], None]:
    """A producer as they are often written: without the fsync of the file, or of the directory."""

    def careless(me: Me) -> None:
        disk, tree = Disk(), me.world.queue.path
        while True:
            documents = [me.document() for _ in range(5)]
            for document in documents:
                staged = tree / "tmp" / f"publish-{os.getpid()}"
                disk.write("publish", str(staged), document, sync=step != "file")
                rename_new(
                    str(staged), str(tree / f"handoff-{me.name}-{hashlib.sha256(document).hexdigest()[:24]}.json")
                )
            if step != "directory":
                disk.sync_directory("publish.directory", str(tree))
            me.promised("careless", [hashlib.sha256(document).hexdigest() for document in documents])

    return careless


ROLES: dict[str, Callable[[Me], None]] = {
    "single": single, "batch": batch, "again": again, "consumer": consumer, "metrics": metrics, "promotion": promotion,
    "no_file_fsync": without("file"), "no_directory_fsync": without("directory"),
}  # fmt: skip
PUBLISHERS = {"single", "batch", "again", "no_file_fsync", "no_directory_fsync"}  # whose documents are counted


def started(role: str, world: World, ledgers: Path, name: str, seed: int) -> int:
    """Fork a process that plays a role; return its pid. What it dies of before the power does is in NAME.trouble."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        ledger = os.open(ledgers / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        ROLES[role](Me(world, ledger, random.Random(seed), name))
    except BaseException:
        (ledgers / f"{name}.trouble").write_text(traceback.format_exc())
    finally:
        sys.stdout.flush()
        os._exit(status)


def promises(ledgers: Path) -> dict[str, Counter[str]]:
    """Return what → id → how often, from every ledger; half a line is no promise."""
    found: dict[str, Counter[str]] = {}
    for path in ledgers.iterdir():
        if path.suffix != ".trouble":
            for line in path.read_text().split("\n")[:-1]:
                what, _, name = line.partition(" ")
                found.setdefault(what, Counter())[name] += 1
    return found


def lost(world: World, promised: dict[str, Counter[str]]) -> Iterator[str]:
    """Say what of the promises does not hold, and what is there twice or torn."""
    none: Counter[str] = Counter()
    jobs: dict[str, list[Any]] = {}
    for job in world.queue.jobs():
        jobs.setdefault(job.id, []).append(job)
    yield from (f"{name} was published and is gone" for name in promised.get("published", none) if name not in jobs)
    for name in promised.get("published", none):
        # What was handed in twice waits beside its own job until somebody claims it and finds that out.
        places = sorted(jobs.get(name, ()), key=lambda job: job.state is State.WAITING)
        if [place.state for place in places[1:]] not in ([], [State.WAITING]):
            yield f"{name} is in {[str(place.state) for place in places]}"
        if places and not whole(places[0].document()):
            yield f"{name} was published and is torn in {places[0].state}"
    if not promised.get("careless"):
        yield from _torn(jobs)
    yield from _decided(jobs, promised)
    yield from _effects(world, promised.get("effect", none))
    yield from _careless(world, promised.get("careless", none))
    rows = Counter(row.id for row in world.log.rows())
    yield from (f"row {name} is there {rows[name]} times" for name in promised.get("row", none) if rows[name] != 1)
    for name in promised.get("promoted", none):
        lineage, _, champion = name.partition("/")
        if champion not in [known.id for known in world.champions.ancestry(lineage)]:
            yield f"champion {name} is gone"


def _torn(jobs: dict[str, list[Any]]) -> Iterator[str]:
    """Say which documents have their name and not their bytes, though nobody was told yet that they are there.

    What was claimed and lost its facts with the power is not known to be relaxed, nor not to be.
    """
    for name, places in jobs.items():
        for job in places:
            if not job.name.startswith((RELAXED, JOB)) and not whole(job.document()):
                yield f"{name} ({job.name}) is torn in {job.state}"


def _decided(jobs: dict[str, list[Any]], promised: dict[str, Counter[str]]) -> Iterator[str]:
    for name in promised.get("finished", ()):
        if name not in jobs:
            yield f"{name} was finished and is gone"
            continue
        ended = [job for job in jobs[name] if job.state is State.OK]
        if not ended:
            yield f"{name} was finished and is {jobs[name][0].state}"
        elif not whole((Path(ended[0].path) / RESULT).read_bytes()):
            yield f"the result of {name} is torn"
    for name, count in promised.get("failed", Counter()).items():
        told = [event["event"] for job in jobs.get(name, ()) for event in job.attempts()]
        if not count <= told.count("failed") <= POLICY.failures:
            yield f"{name} failed {count} times, its history says {told}"


def _effects(world: World, promised: Counter[str]) -> Iterator[str]:
    there = Counter(json.loads(job.document())["job"] for job in world.results.jobs())
    yield from (f"the effect of {name} is there {there[name]} times" for name in promised if there[name] != 1)
    yield from (f"the effect of {name} is there {count} times" for name, count in there.items() if count > 1)


def _careless(world: World, promised: Counter[str]) -> Iterator[str]:
    if promised:
        there = {hashlib.sha256(path.read_bytes()).hexdigest() for path in world.queue.path.glob("handoff*.json")}
        yield from (f"{name} is gone" for name in promised if name not in there)
