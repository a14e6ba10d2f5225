"""Several processes on one queue, one of them killed again and again: each job is in one hand at a time, and ends once.

A worker holds a POSIX lock on byte n of one file while it has job n in hand. The kernel drops that lock before the
job's own (descriptors are closed in order), so a lock that is taken proves that two hands held the job at once.
"""

import fcntl
import os
import random
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest

from repairlab.spool import Policy, Spool, State

JOBS = 150
WORKERS = 3
KILL_S = 0.04
RUN_S = 2.5
VIOLATION = 41
POLICY = Policy(orphans=10_000, max_orphans=10_000, recovery_base_s=0.0, backoff_base_s=0.0, rescan_s=0.05)


def document(number: int) -> bytes:
    return b'{"idempotency_key":"%d","copy":%d}' % (number, random.randrange(1 << 30))


class Hands:
    """The file whose bytes say which job is in whose hand."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT)

    def grip(self, number: int) -> None:
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            os._exit(VIOLATION)

    def let_go(self, number: int) -> None:
        fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, number)


def work(root: Path, hands: Hands, lock_jobs: bool) -> None:
    """What a worker does until it is killed or nothing is left."""
    chance = random.Random(os.getpid())
    spool = Spool(root, policy=POLICY)
    if not lock_jobs:
        from repairlab.spool import tree

        tree.fcntl = type("NoLock", (), {"flock": staticmethod(lambda *_: None), "LOCK_EX": 0, "LOCK_NB": 0})
    with closing(spool.backlog()) as backlog:
        while any(spool.counts()[state] for state in (State.WAITING, State.ACTIVE, State.DEFERRED)):
            spool.reap()
            backlog.scan(0.01)
            claim = backlog.take()
            if claim is None:
                continue
            number = int(claim.facts["idempotency_key"])
            hands.grip(number)
            claim.started()
            time.sleep(chance.random() * 0.004)
            hands.let_go(number)
            claim.hand_back("again") if chance.random() < 0.3 else claim.finish()


def start(root: Path, lock_jobs: bool = True) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 42
    try:
        work(root, Hands(root.parent / "hands"), lock_jobs)
        status = 0
    finally:
        os._exit(status)


def run(root: Path, lock_jobs: bool = True) -> set[int]:
    """Run the workers, killing one every now and then; return their exit codes."""
    workers = [start(root, lock_jobs) for _ in range(WORKERS)]
    codes = set()
    chance = random.Random(7)
    end = time.monotonic() + RUN_S
    while time.monotonic() < end and VIOLATION not in codes:
        time.sleep(KILL_S)
        index = chance.randrange(WORKERS)
        os.kill(workers[index], signal.SIGKILL)
        codes.add(os.waitstatus_to_exitcode(os.waitpid(workers[index], 0)[1]))
        workers[index] = start(root, lock_jobs)
    for pid in workers:
        if not lock_jobs:
            os.kill(pid, signal.SIGKILL)
        codes.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return codes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "queue"
    spool = Spool(root)
    spool.create()
    for copy in range(2):
        pairs = [(document(n), f"handoff-{n}-{copy}.json") for n in range(JOBS)]
        spool.publish_many(pairs, durable=False)
    return root


def test_each_job_is_in_one_hand_at_a_time_and_ends_once_whoever_is_killed(root: Path) -> None:
    codes = run(root)
    assert codes <= {0, -signal.SIGKILL}
    spool = Spool(root)
    assert spool.counts()[State.OK] == JOBS
    assert sum(spool.counts().values()) == JOBS
    spool.reap()
    assert [finding for finding in spool.fsck(mend=True) if not finding.mended] == []
    assert spool.fsck() == []
    kept = sum(len(list(Path(job.path, "duplicates").iterdir())) for job in spool.jobs(State.OK))
    assert kept == JOBS, "every second copy is kept with its job"


def test_control_without_the_lock_hands_meet_on_one_job_or_lose_it_to_each_other(root: Path) -> None:
    assert not run(root, lock_jobs=False) <= {0, -signal.SIGKILL}
