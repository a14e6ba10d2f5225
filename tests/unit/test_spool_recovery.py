"""What a dead owner leaves behind, and who takes it up."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from repairlab.spool import Clock, Policy, Spool, State

DOC = b'{"bundle_dir":"/b","lineage":"sorting","priority":7}'
POLICY = Policy(backoff_base_s=10, backoff_cap_s=120)


class Hand(Clock):
    """A clock moved by hand: `pass_s` is time that passes, `stepped_s` what somebody set the wall clock by."""

    def __init__(self) -> None:
        super().__init__()
        self.pass_s = self.stepped_s = 0.0

    def wall(self) -> float:
        return 2e9 + self.pass_s + self.stepped_s

    def boottime(self) -> float:
        return 5e5 + self.pass_s


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def spool(tmp_path: Path, clock: Hand) -> Spool:
    spool = Spool(tmp_path, policy=POLICY, clock=clock, random=lambda: 1.0)
    spool.create()
    spool.publish(DOC)
    return spool


def take(spool: Spool):
    with closing(spool.backlog()) as backlog:
        backlog.scan(1.0)
        return backlog.take()


def fail(spool: Spool, clock: Hand, after_s: float = 150.0, fingerprint: str | None = None):
    clock.pass_s += after_s
    claim = take(spool)
    claim.started()
    return claim.fail("no patch found", fingerprint)


def test_orphans_are_deferred_with_growing_pauses_and_end_by_their_own_limit(tmp_path: Path, clock: Hand) -> None:
    spool = Spool(tmp_path, policy=Policy(orphans=4), clock=clock, random=lambda: 1.0)
    spool.create()
    spool.publish(DOC)
    results = []
    for _ in range(4):
        clock.pass_s += 50
        claim = take(spool)
        claim.started()
        claim.note("snapshot")
        claim.close()
        [reaped] = spool.reap()
        results.append((reaped.job.state, reaped.job.attempts()[-1].get("delay_s")))
    deferred = State.DEFERRED
    assert results == [(deferred, 1), (deferred, 2), (deferred, 4), (State.HARD_FAIL, None)]


def test_claim_that_died_before_its_attempt_began_counts_nothing(spool: Spool) -> None:
    for _ in range(30):
        take(spool).close()
        spool.reap()
    assert take(spool).attempt == 1


def test_owners_that_die_slower_than_the_window_end_a_job_too(tmp_path: Path, clock: Hand) -> None:
    spool = Spool(tmp_path, policy=Policy(max_orphans=12), clock=clock)
    spool.create()
    spool.publish(DOC)
    for death in range(1, 13):
        clock.pass_s += 700
        claim = take(spool)
        claim.started()
        claim.close()
        [reaped] = spool.reap()
        assert reaped.job.state is (State.HARD_FAIL if death == 12 else State.DEFERRED)


def test_living_owner_is_not_reaped(spool: Spool) -> None:
    claim = take(spool)
    assert spool.reap() == []
    assert claim.finish().state is State.OK


def test_child_that_inherited_the_lock_keeps_the_job_claimed(spool: Spool) -> None:
    claim = take(spool)
    child = os.dup(claim.fd)  # the same open file description, as fork or SCM_RIGHTS hand it on
    claim.close()
    assert spool.reap() == []
    os.close(child)
    assert [reaped.what for reaped in spool.reap()] == ["orphaned"]


def test_torn_history_line_is_sealed_and_skipped(spool: Spool, clock: Hand) -> None:
    job = fail(spool, clock)
    with Path(job.path, "attempts.jsonl").open("ab") as file:
        file.write(b'{"event":"fai')
    clock.pass_s += 100
    claim = take(spool)
    claim.note("seen")
    assert [event["event"] for event in claim.hand_back("x").attempts()] == ["started", "failed", "seen", "interrupted"]


def test_lost_claim_file_is_made_up_from_the_document(spool: Spool) -> None:
    """As a power cut may leave it: claims are not fsynced."""
    claim = take(spool)
    (claim.path / "claim").write_bytes(b"")
    claim.close()
    spool.reap()
    claim = take(spool)
    assert (claim.lineage, claim.priority, claim.submitter) == ("sorting", 7, os.getuid())


@pytest.mark.parametrize(
    "line",
    [
        b'{"event":"failed","to":"nowhere"}',
        b'{"event":"finished","to":"ok","day":"../../etc"}',
        b'{"event":"started","attempt":"x","at":7,"boottime_s":"y"}',
        b'{"event":"failed","to":"hard_fail","delay_s":"z","not_before":[]}',
        b"[1]\n7\nnull",
        b"\0" * 100,
    ],
)
def test_history_that_somebody_edited_stops_neither_the_reaper_nor_the_worker(spool: Spool, line: bytes) -> None:
    claim = take(spool)
    (claim.path / "attempts.jsonl").write_bytes(line + b"\n")
    (claim.path / "claim").write_bytes(b'{"submitter":"root","priority":null}')
    claim.close()
    [reaped] = spool.reap()
    assert reaped.what in {"carried_on", "orphaned"}
    assert Path(reaped.job.path).is_relative_to(spool.path)
    assert spool.find(claim.id).attempts()
    spool.retry(claim.id)
    assert take(spool).submitter == os.getuid()


def test_job_whose_claimer_died_before_scheduling_it_still_waits_for_its_instant(tmp_path: Path, clock: Hand) -> None:
    class Died(BaseException):
        pass

    def hook(step: str) -> None:
        if step == "before history.open":
            raise Died

    spool = Spool(tmp_path, clock=clock)
    spool.create()
    spool.publish(b'{"not_before":"2999-01-01T00:00:00Z"}')
    with pytest.raises(Died):
        take(Spool(tmp_path, clock=clock, hook=hook))
    assert [reaped.job.state for reaped in spool.reap()] == [State.DEFERRED]
    assert take(spool) is None
    [job] = spool.jobs()
    spool.retry(job.id)
    assert take(spool) is not None, "an operator's retry does not wait"


def test_unreadable_history_does_not_lock_an_abandoned_job(spool: Spool) -> None:
    claim = take(spool)
    claim.close()
    (claim.path / "attempts.jsonl").mkdir()
    assert [reaped.what for reaped in spool.reap()] == ["stuck"]
    (claim.path / "attempts.jsonl").rmdir()
    assert [reaped.what for reaped in spool.reap()] == ["orphaned"]
