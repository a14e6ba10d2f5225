"""Every operation of the spool, stopped after each of its steps: by death, by a full disk, by a failing fsync.

A forked child dies after the n-th step, for every n until the operation gets through. Then recovery runs as a watcher
would run it, and the census must be what it was. Between any two steps somebody else may act, too.
"""

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest

from repairlab.errors import BadInput, RepairLabError, TemporaryFailure
from repairlab.spool import Claim, Clock, Policy, Spool, State

FINGERPRINT = "f" * 64
DOCS = [b'{"bundle_dir":"/b","ts":%d}' % n for n in range(3)]


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch) -> None:
    """Processes die here, not the power: what a flush costs would only slow the enumeration down."""
    monkeypatch.setattr("os.fsync", lambda _: None)


class Later(Clock):
    """The system's clocks, ahead by as much as a test wishes."""

    ahead_s = 0.0

    def wall(self) -> float:
        return super().wall() + self.ahead_s

    def boottime(self) -> float:
        return super().boottime() + self.ahead_s


def open_spool(path: Path, hook=None, ahead_s: float = 0.0) -> Spool:
    clock = Later()
    clock.ahead_s = ahead_s
    policy = Policy(failures=2, settle_s=0.0)
    return Spool(path, policy=policy, hook=hook, random=lambda: 0.5, clock=clock)


def take(spool: Spool):
    with closing(spool.backlog()) as backlog:
        backlog.scan(1.0)
        return backlog.take()


def foreign(spool: Spool) -> None:
    """A file that somebody else may still change: it is copied in the claim."""
    path = spool.path / "handoff-foreign.json"
    path.write_bytes(DOCS[0])
    path.chmod(0o666)


def one(spool: Spool) -> None:
    spool.publish(DOCS[0])


def two_same(spool: Spool) -> None:
    spool.publish(DOCS[0], "handoff-1.json")
    spool.publish(DOCS[0], "handoff-2.json")


def done_and_again(spool: Spool) -> None:
    one(spool)
    take(spool).finish()
    spool.publish(DOCS[0], "handoff-again.json")


def parked(spool: Spool) -> None:
    one(spool)
    take(spool).hand_back("test")


def failed_once(spool: Spool) -> None:
    one(spool)
    first = take(spool)
    first.fail("first", FINGERPRINT)
    spool.retry(first.id)
    take(spool).fail("second", FINGERPRINT)


def hard_failed(spool: Spool) -> None:
    one(spool)
    take(spool).quarantine("test")


def orphan(spool: Spool) -> None:
    one(spool)
    claim = take(spool)
    claim.started()
    claim.close()


def gate(spool: Spool) -> None:
    one(spool)
    (spool.path / "active" / ("a" * 24)).mkdir()


def orphan_with_intent(spool: Spool) -> None:
    one(spool)
    claim = take(spool)
    claim.history.append("failed", durable=True, to="hard_fail", day="2026-01-01", reason="x", fingerprint=FINGERPRINT)
    claim.close()


def finish(spool: Spool) -> None:
    claim = take(spool)
    claim.workdir()
    claim.put("telemetry.json", b"{}")
    claim.finish()


def fail(spool: Spool) -> None:
    claim = take(spool)
    claim.started()
    claim.fail("no patch", FINGERPRINT)


def drain_duplicates(spool: Spool) -> None:
    with closing(spool.backlog()) as backlog:
        backlog.scan(1.0)
        first = backlog.take()
        backlog.take()
        if first:
            first.hand_back("test")


def only_id(spool: Spool) -> str:
    return next(spool.jobs()).id


OPERATIONS: dict[str, tuple[Callable[[Spool], None], Callable[[Spool], object]]] = {
    "publish": (one, lambda spool: spool.publish(DOCS[1])),
    "publish in a group": (one, lambda spool: spool.publish_many([*DOCS[1:], *DOCS[1:]])),
    "claim": (one, take),
    "claim of a foreign file": (foreign, take),
    "claim of a duplicate of an active job": (two_same, drain_duplicates),
    "claim of a duplicate of an ended job": (done_and_again, take),
    "claim of a deferred job": (parked, take),
    "finish": (one, finish),
    "fail, to be tried again": (one, fail),
    "fail, for the last time": (failed_once, lambda spool: take(spool).fail("no patch", FINGERPRINT)),
    "crashed": (one, lambda spool: take(spool).crashed("signal 9")),
    "defer": (one, lambda spool: take(spool).defer(5, "gate closed")),
    "reject": (one, lambda spool: take(spool).reject("not JSON")),
    "hold": (one, lambda spool: spool.hold(only_id(spool))),
    "release": (lambda spool: spool.hold(spool.publish(DOCS[0]).id), lambda spool: spool.release(only_id(spool))),
    "retry": (hard_failed, lambda spool: spool.retry(only_id(spool))),
    "retry of a job with a fingerprint": (failed_once, lambda spool: spool.retry(only_id(spool))),
    "drop of a waiting job": (one, lambda spool: spool.drop(only_id(spool))),
    "drop of a deferred job": (parked, lambda spool: spool.drop(only_id(spool))),
    "reap of an orphan": (orphan, lambda spool: spool.reap()),
    "reap of an unfinished claim": (gate, lambda spool: spool.reap()),
    "reap of an intent": (orphan_with_intent, lambda spool: spool.reap()),
}
MAY_ADD = {"publish", "publish in a group"}
MAY_REMOVE = {"drop of a waiting job", "drop of a deferred job"}


def census(spool: Spool) -> Counter[bytes]:
    """Count every document outside duplicates/, by its bytes; read without the code under test."""
    places = [
        *spool.path.glob("handoff*.json"),
        *spool.path.glob("*/*/job.json"),
        *spool.path.glob("processed/*/*/*/job.json"),
    ]
    return Counter(path.read_bytes() for path in places)


def dies_at(step: int) -> Callable[[str], None]:
    left = iter(range(step))

    def hook(name: str) -> None:
        if name.startswith("after") and next(left, None) is None:
            os._exit(99)

    return hook


def run_and_die(path: Path, act: Callable[[Spool], object], step: int) -> bool:
    """Run `act` in a child that dies at its n-th step; True when it got through instead."""
    pid = os.fork()
    if pid == 0:
        status = 98
        with suppress(BaseException):
            act(open_spool(path, dies_at(step), ahead_s=1000.0))
            status = 0
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 99), "the operation failed instead of being killed"
    return status == 0


def every_death(tmp_path: Path, name: str) -> Iterator[tuple[Spool, Counter[bytes]]]:
    """Yield the spool as each death of the operation leaves it, with the census before."""
    prepare, act = OPERATIONS[name]
    for step in range(200):
        path = tmp_path / str(step)
        spool = open_spool(path)
        spool.create()
        prepare(spool)
        before = census(spool)
        through = run_and_die(path, act, step)
        yield open_spool(path, ahead_s=2000.0), before
        if through:
            assert step > 0, "the operation has no step that a hook can see"
            return
    pytest.fail("the operation never ended")


def check(spool: Spool, before: Counter[bytes], name: str) -> None:
    after = census(spool)
    assert max(after.values(), default=0) <= (2 if "duplicate" in name else 1)
    if name not in MAY_REMOVE:
        assert set(before) <= set(after), "a document was lost"
    if name not in MAY_ADD:
        assert set(after) <= set(before), "a document came from nowhere"


def drain(spool: Spool) -> None:
    for job in list(spool.jobs(State.HOLD)):
        spool.release(job.id)
    for claim in spool.claims():
        with claim:
            claim.finish()


@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_is_lost_or_doubled_by_a_death_after_any_step(tmp_path: Path, name: str) -> None:
    for spool, before in every_death(tmp_path, name):
        check(spool, before, name)
        spool.reap()
        spool.sweep()
        assert [f for f in spool.fsck(mend=True) if not f.mended] == []
        assert spool.fsck() == []
        check(spool, before, name)
        drain(open_spool(spool.path, ahead_s=9000.0))
        counts = spool.counts()
        assert sum(counts[state] for state in (State.WAITING, State.ACTIVE, State.DEFERRED, State.HOLD)) == 0
        ids = [job.id for job in spool.jobs()]
        assert len(ids) == len(set(ids)) == len(census(spool))


def test_control_without_the_reaper_deaths_strand_jobs(tmp_path: Path) -> None:
    stranded = sum(any(spool.jobs(State.ACTIVE)) for spool, _ in every_death(tmp_path, "fail, to be tried again"))
    assert stranded > 5


def test_control_without_the_intent_a_finished_job_runs_twice(tmp_path: Path) -> None:
    """What the reaper reads must be what makes the difference: cut the history, and the job is an orphan."""
    seen = set()
    for spool, _ in every_death(tmp_path, "finish"):
        for history in spool.path.glob("active/*/attempts.jsonl"):
            history.write_bytes(b"")
        seen |= {reaped.what for reaped in spool.reap()}
    assert "carried_on" not in seen
    assert "orphaned" in seen


def test_a_death_after_the_intent_to_finish_is_carried_on_not_run_again(tmp_path: Path) -> None:
    seen = Counter(reaped.what for spool, _ in every_death(tmp_path, "finish") for reaped in spool.reap())
    assert seen["carried_on"] >= 4
    assert seen["orphaned"] >= 1


class Failing:
    """A hook that lets the n-th step fail with an errno; `fired` says that there was such a step."""

    def __init__(self, step: int, code: int) -> None:
        self._left, self._code, self.fired = step, code, False

    def __call__(self, name: str) -> None:
        if name.startswith("before"):
            self._left -= 1
            if self._left == -1:
                self.fired = True
                raise OSError(self._code, os.strerror(self._code))


def every_failure(tmp_path: Path, name: str, code: int) -> Iterator[tuple[Spool, Counter[bytes]]]:
    """Run the operation once for each of its steps, that step failing; yield the spool and the census before."""
    prepare, act = OPERATIONS[name]
    for step in range(200):
        path = tmp_path / str(step)
        spool = open_spool(path)
        spool.create()
        prepare(spool)
        before, hook = census(spool), Failing(step, code)
        with suppress(TemporaryFailure):
            act(open_spool(path, hook, ahead_s=1000.0))
        yield open_spool(path, ahead_s=2000.0), before
        if not hook.fired:
            return
    pytest.fail("the operation never got through")


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_or_failing_disk_at_any_step_is_a_temporary_failure_that_loses_nothing(tmp_path, name, code) -> None:
    for spool, before in every_failure(tmp_path, name, code):
        assert not list(spool.path.glob("tmp/publish-*")), "staging was left behind"
        check(spool, before, name)
        spool.reap()
        spool.fsck(mend=True)
        assert spool.fsck() == []
        check(spool, before, name)


def test_control_a_disk_that_forgets_a_rename_is_noticed(tmp_path: Path) -> None:
    """The census has teeth: an operation that loses the document in between is found out."""
    spool = open_spool(tmp_path)
    spool.create()
    one(spool)
    before = census(spool)

    def unlink_first(name: str) -> None:
        if name == "before claim.rename":
            next(tmp_path.glob("handoff*.json")).unlink()

    take(open_spool(tmp_path, unlink_first))
    with pytest.raises(AssertionError, match="lost"):
        check(spool, before, "claim")


def take_and_finish(spool: Spool) -> None:
    if claim := take(spool):
        claim.finish()


def hand_in_again(spool: Spool) -> None:
    """A producer repeats himself, and another worker looks at once."""
    spool.publish(DOCS[0], "handoff-meanwhile.json", durable=False)
    take_and_finish(spool)


def hold_all(spool: Spool) -> None:
    for job in list(spool.jobs(State.WAITING, State.DEFERRED)):
        with suppress(RepairLabError, FileNotFoundError):
            spool.hold(job.id)


INTRUDERS: dict[str, Callable[[Spool], object]] = {
    "a reaper": lambda spool: spool.reap(),
    "another worker": take_and_finish,
    "a producer who repeats himself": hand_in_again,
    "an operator who holds all": hold_all,
    "a proof that mends": lambda spool: spool.fsck(mend=True),
}


@pytest.mark.parametrize("intruder", INTRUDERS)
@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - MAY_ADD))
def test_another_process_may_act_between_any_two_steps(tmp_path: Path, name: str, intruder: str) -> None:
    prepare, act = OPERATIONS[name]
    for step in range(200):
        path = tmp_path / str(step)
        spool = open_spool(path)
        spool.create()
        prepare(spool)
        before, hook = census(spool), Interrupted(step, partial(INTRUDERS[intruder], open_spool(path, ahead_s=1500.0)))
        with suppress(TemporaryFailure, BadInput, AttributeError):  # the job may be gone, or in other hands
            done = act(open_spool(path, hook, ahead_s=1000.0))
            if isinstance(done, Claim):
                done.close()
        if not hook.fired:
            return
        assert_drained_once(path, before, name)
    pytest.fail("the operation never ended")


class Interrupted:
    """A hook that lets somebody else act at the n-th step."""

    def __init__(self, step: int, intrude: Callable[[], object]) -> None:
        self._left, self._intrude, self.fired = step, intrude, False

    def __call__(self, name: str) -> None:
        self._left -= name.startswith("before")
        if self._left == -1 and not self.fired:
            self.fired = True
            self._intrude()


def assert_drained_once(path: Path, before: Counter[bytes], name: str) -> None:
    spool = open_spool(path, ahead_s=9000.0)
    drain(spool)
    after = census(spool)
    assert {job.state for job in spool.jobs()} <= {State.OK, State.HARD_FAIL, State.REJECTED}
    assert max(after.values(), default=1) == 1
    assert len({job.id for job in spool.jobs()}) == len(after)
    assert name in MAY_REMOVE or set(before) <= set(after), "a document was lost"
    assert spool.fsck() == []
