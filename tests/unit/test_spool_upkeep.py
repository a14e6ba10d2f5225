"""What operators do to a job, what time does to old ones, and what fsck says about a tree that was tampered with."""

import os
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from repairlab.errors import BadInput, TemporaryFailure, Unavailable
from repairlab.spool import Clock, Spool, State
from repairlab.spool.disk import remove_tree

DOC = b'{"bundle_dir":"/b"}'
WEEK = timedelta(days=7)
NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)


class Hand(Clock):
    at = NOW

    def wall(self) -> float:
        return self.at.timestamp()


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def spool(tmp_path: Path, clock: Hand) -> Spool:
    spool = Spool(tmp_path, clock=clock)
    spool.create()
    return spool


def job_at(spool: Spool, state: State, number: int = 0):
    job = spool.publish(b'{"n":%d}' % number)
    if state is State.WAITING:
        return job
    with closing(spool.backlog()) as backlog:
        backlog.hint(job.name)
        claim = backlog.take()
    ends = {State.OK: claim.finish, State.DEFERRED: lambda: claim.hand_back("x"), State.HOLD: claim.hold}
    ends |= {State.HARD_FAIL: lambda: claim.quarantine("x"), State.REJECTED: lambda: claim.reject("x")}
    return ends[state]()


RESTING = [State.WAITING, State.DEFERRED, State.HOLD, State.OK, State.HARD_FAIL, State.REJECTED]


@pytest.mark.parametrize("state", RESTING)
def test_job_is_found_by_id_and_prefix_in_every_state(spool: Spool, state: State) -> None:
    job = job_at(spool, state)
    assert spool.find(job.id).state is state
    assert spool.find(job.id[:6]).path == job.path
    assert spool.counts()[state] == sum(spool.counts().values()) == 1
    assert [found.id for found in spool.jobs(state)] == [job.id]


@pytest.mark.parametrize("state", RESTING)
def test_drop_removes_a_job_in_every_state(spool: Spool, state: State) -> None:
    job = job_at(spool, state)
    spool.drop(job.id)
    assert sum(spool.counts().values()) == 0
    with pytest.raises(BadInput, match="no job"):
        spool.find(job.id)


@pytest.mark.parametrize("state", [State.DEFERRED, State.HOLD, State.OK, State.HARD_FAIL, State.REJECTED])
def test_retry_makes_a_job_due_from_every_state(spool: Spool, state: State) -> None:
    job = spool.retry(job_at(spool, state).id)
    assert job.state is State.DEFERRED
    assert job.not_before <= NOW + timedelta(seconds=1)
    assert job.reason() is None


@pytest.mark.parametrize("text", ["", "abc", "zzzz", "../../etc/passwd", "0" * 24])
def test_what_names_no_job_is_bad_input(spool: Spool, text: str) -> None:
    with pytest.raises(BadInput):
        spool.find(text)


def test_ambiguous_prefix_is_refused(spool: Spool) -> None:
    for name in ("a" * 24, "a" * 23 + "b"):
        path = spool.path / "hold" / name
        path.mkdir()
        (path / "job.json").write_bytes(DOC)
    with pytest.raises(BadInput, match="2 ids"):
        spool.drop("aaaa")


def test_ended_job_cannot_be_held_nor_a_waiting_one_released(spool: Spool) -> None:
    with pytest.raises(BadInput):
        spool.hold(job_at(spool, State.OK).id)
    with pytest.raises(BadInput):
        spool.release(job_at(spool, State.WAITING, 1).id)


def test_held_job_is_not_taken(spool: Spool) -> None:
    spool.hold(spool.publish(DOC).id, "looking into it")
    assert list(spool.claims()) == []
    [job] = spool.jobs()
    spool.release(job.id)
    assert len(list(spool.claims())) == 1


def test_job_dropped_while_it_is_read_is_read_to_the_end_or_gone(spool: Spool) -> None:
    job = spool.find(job_at(spool, State.DEFERRED).id)
    with open(f"{job.path}/job.json", "rb") as reader:
        spool.drop(job.id)
        assert reader.read() == b'{"n":0}'
    assert job.attempts() == []
    with pytest.raises(FileNotFoundError):
        job.document()


def test_job_that_moved_since_it_was_found_is_still_read(spool: Spool) -> None:
    job = spool.find(job_at(spool, State.DEFERRED).id)
    spool.hold(job.id)
    assert job.attempts()[-1]["event"] == "held"
    assert job.state is State.HOLD


def test_operator_and_claimer_racing_for_a_job_leave_one_of_them_with_it(spool: Spool) -> None:
    job = job_at(spool, State.DEFERRED)
    taken = []

    def hook(step: str) -> None:
        if step == "before parked.rename" and not taken:
            taken.append(None)
            with closing(spool.backlog()) as backlog:
                backlog.hint(job.id)
                taken.append(backlog.take())

    Spool(spool.path, hook=hook).hold(job.id)
    assert taken[-1] is None
    assert spool.find(job.id).state is State.HOLD


def test_moved_by_hand_stays_where_the_operator_put_it(spool: Spool) -> None:
    """The spool can be operated with mv: a death after the claim must not undo it."""
    job = job_at(spool, State.HOLD)
    os.rename(job.path, spool.path / "deferred" / job.id)
    with closing(spool.backlog()) as backlog:
        backlog.hint(job.id)
        backlog.take().close()
    spool.reap()
    assert spool.find(job.id).state is State.DEFERRED


def test_active_job_is_out_of_reach_until_it_is_left(spool: Spool) -> None:
    claim = next(spool.claims()) if spool.publish(DOC) else None
    for method in (spool.hold, spool.retry, spool.drop):
        with pytest.raises(TemporaryFailure, match="being worked on"):
            method(claim.id)
    claim.hand_back("x")
    spool.hold(claim.id)


# -- age


def test_age_boundary_is_exact(spool: Spool, clock: Hand) -> None:
    clock.at = NOW - WEEK
    exactly = job_at(spool, State.OK, 1)
    clock.at = NOW - WEEK + timedelta(milliseconds=1)
    younger = job_at(spool, State.OK, 2)
    clock.at = NOW - WEEK - timedelta(days=3)
    older = job_at(spool, State.REJECTED, 3)
    assert {one.job_id for one in spool.expired(WEEK, NOW)} == {exactly.id, older.id}
    assert spool.find(older.id)
    gone = list(spool.expire(WEEK, NOW))
    assert {one.job_id for one in gone} == {exactly.id, older.id}
    assert all(one.bytes > 0 and one.inodes >= 4 and not one.error for one in gone)
    assert [job.id for job in spool.jobs()] == [younger.id]
    assert not Path(older.path).parent.exists(), "the empty bucket is removed"


def test_live_and_held_jobs_never_expire(spool: Spool) -> None:
    for number, state in enumerate([State.WAITING, State.DEFERRED, State.HOLD]):
        job_at(spool, state, number)
    assert list(spool.expire(timedelta(0), NOW + timedelta(days=999))) == []


def test_buckets_younger_than_the_limit_are_not_opened(spool: Spool, monkeypatch) -> None:
    job_at(spool, State.OK)
    monkeypatch.setattr("repairlab.spool.upkeep._expired_in", lambda *_: pytest.fail("it was opened"))
    assert list(spool.expired(WEEK, NOW)) == []


def test_job_that_an_operator_is_moving_does_not_expire(spool: Spool, clock: Hand) -> None:
    clock.at = NOW - WEEK - WEEK
    job = job_at(spool, State.HARD_FAIL)
    seen = []

    def hook(step: str) -> None:
        if step == "before parked.rename":
            seen.extend(spool.expire(WEEK, NOW))

    Spool(spool.path, hook=hook, clock=clock).retry(job.id)
    assert [one.error for one in seen] == ["an operator is moving it"]
    assert spool.find(job.id).state is State.DEFERRED


def test_what_others_own_inside_a_tree_is_removed_whatever_its_modes(tmp_path: Path) -> None:
    top = tmp_path / "t"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "file").write_bytes(b"")
    (top / "loop").symlink_to(top)
    os.mkfifo(top / "fifo")
    (top / "a").chmod(0)
    remove_tree(str(top))
    assert not top.exists()


def test_removal_never_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_bytes(b"")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "link").symlink_to(tmp_path / "precious")
    remove_tree(str(tmp_path / "t"))
    assert (tmp_path / "precious" / "file").exists()


# -- fsck


def findings(spool: Spool, mend: bool = False) -> set[str]:
    return {finding.kind for finding in spool.fsck(mend)}


def two_places(spool: Spool) -> None:
    job = job_at(spool, State.OK)
    os.makedirs(spool.path / "deferred" / job.id)
    (spool.path / "deferred" / job.id / "job.json").write_bytes(Path(job.path, "job.json").read_bytes())


def wrong_document(spool: Spool) -> None:
    Path(job_at(spool, State.DEFERRED).path, "job.json").write_bytes(b'{"n":99}')


def no_document(spool: Spool) -> None:
    Path(job_at(spool, State.DEFERRED).path, "job.json").unlink()


def no_reason(spool: Spool) -> None:
    Path(job_at(spool, State.REJECTED).path, "reason.json").unlink()


def torn(spool: Spool) -> None:
    with Path(job_at(spool, State.HOLD).path, "attempts.jsonl").open("ab") as file:
        file.write(b'{"ev')


def staged(spool: Spool) -> None:
    Path(job_at(spool, State.OK).path, ".patch.diff.0123").write_bytes(b"")


def misfiled(spool: Spool) -> None:
    path = Path(job_at(spool, State.OK).path, "duplicates")
    path.mkdir()
    (path / "handoff-z.json").write_bytes(b'{"n":5}')


def orphan(spool: Spool) -> None:
    spool.publish(DOC)
    next(spool.claims()).close()


def unclaimed(spool: Spool) -> None:
    (spool.path / "active" / ("0" * 24)).mkdir()


def missing(spool: Spool) -> None:
    (spool.path / "hold").rmdir()


def not_a_job(spool: Spool) -> None:
    (spool.path / "deferred" / "notes.txt").write_bytes(b"")


DAMAGE = {
    "twice": two_places,
    "wrong_id": wrong_document,
    "no_document": no_document,
    "no_reason": no_reason,
    "torn": torn,
    "staged": staged,
    "misfiled": misfiled,
    "orphan": orphan,
    "unclaimed": unclaimed,
    "missing": missing,
    "not_a_job": not_a_job,
}
FOR_A_PERSON = {"twice", "wrong_id", "no_document", "not_a_job"}


@pytest.mark.parametrize("kind", DAMAGE)
def test_fsck_names_the_damage_and_mends_only_what_is_safe(spool: Spool, kind: str) -> None:
    job_at(spool, State.OK, 77)
    assert spool.fsck() == []
    DAMAGE[kind](spool)
    assert findings(spool) == {kind}
    assert findings(spool) == {kind}, "without mend nothing is changed"
    mended = [finding.mended for finding in spool.fsck(mend=True)]
    assert mended == [kind not in FOR_A_PERSON]
    assert findings(spool) == ({kind} if kind in FOR_A_PERSON else set())
    assert all(finding.fix and finding.path for finding in spool.fsck())


def test_misfiled_document_is_handed_in_again(spool: Spool) -> None:
    misfiled(spool)
    spool.fsck(mend=True)
    assert [job.document() for job in spool.jobs(State.WAITING)] == [b'{"n":5}']


def test_fsck_beside_running_workers_finds_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.create()
    spool.publish_many([b'{"n":%d}' % n for n in range(60)], durable=False)
    found, done = [], threading.Event()

    def prove() -> None:
        while not done.is_set():
            found.extend(spool.fsck())

    thread = threading.Thread(target=prove)
    thread.start()
    for claim in spool.claims():
        claim.finish()
    done.set()
    thread.join()
    assert found == []


def test_missing_queue_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        Spool(tmp_path / "nowhere").counts()
    with pytest.raises(Unavailable):
        list(Spool(tmp_path / "nowhere").jobs())


def test_remove_tree_opens_what_is_closed_but_never_through_a_link(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "doomed").mkdir()
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o750)
    real = os.open

    def swapping(name, flags: int, *args, **kwargs) -> int:
        if name == str(tmp_path / "doomed") and not flags & os.O_PATH:  # closed to us; its owner swaps it meanwhile
            (tmp_path / "doomed").rename(tmp_path / "away")
            (tmp_path / "doomed").symlink_to(victim)
            raise PermissionError
        return real(name, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", swapping)
    remove_tree(str(tmp_path / "doomed"))
    assert victim.stat().st_mode & 0o777 == 0o750
