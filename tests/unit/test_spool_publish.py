"""A document is in the queue, whole and durable, or it is not and nothing is left of it."""

import errno
import os
from pathlib import Path

import pytest

from repairlab.errors import BadInput, TemporaryFailure
from repairlab.spool import Policy, Spool, State

DOC = b'{"bundle_dir":"/b"}'


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path)
    spool.create()
    return spool


def test_published_document_waits_under_a_name_of_its_contents(spool: Spool) -> None:
    job = spool.publish(DOC)
    assert (job.state, job.document()) == (State.WAITING, DOC)
    assert job.name == f"handoff-{job.id}.json"
    assert spool.find(job.name).id == job.id


def test_queue_of_another_pattern_names_its_documents_accordingly(tmp_path: Path) -> None:
    spool = Spool(tmp_path, pattern="challenger_*.json")
    spool.create()
    assert spool.publish(DOC).name.startswith("challenger_")
    assert [claim.read() for claim in spool.claims()] == [DOC]


def test_publishing_again_is_a_no_op(spool: Spool) -> None:
    first, second = spool.publish(DOC, "handoff-x.json"), spool.publish(DOC, "handoff-x.json")
    assert first.id == second.id
    assert spool.counts()[State.WAITING] == 1
    assert list((spool.path / "tmp").iterdir()) == []


def test_publishing_durably_what_a_relaxed_publisher_put_there_flushes_it(spool: Spool) -> None:
    spool.publish(DOC, durable=False)
    assert "publish.again" in steps_of(spool, lambda again: again.publish(DOC))
    assert "publish.again" not in steps_of(spool, lambda again: again.publish(DOC, durable=False))


def test_publishing_again_what_is_claimed_meanwhile_is_no_refusal(spool: Spool) -> None:
    waiting = spool.publish(DOC)

    def hook(step: str) -> None:
        if step == "before publish.compare":
            list(spool.claims())

    again = Spool(spool.path, hook=hook).publish(DOC)
    assert again.id == waiting.id
    assert {job.state for job in spool.jobs()} == {State.ACTIVE, State.WAITING}


def test_what_is_flushed_for_a_promise_is_the_file_that_was_compared(spool: Spool, monkeypatch) -> None:
    waiting = spool.publish(DOC, durable=False)
    place, flushed, flush = spool.path / waiting.name, [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: flush(flushed.append(os.fstat(fd).st_ino) or fd))
    inode = place.stat().st_ino

    def hook(step: str) -> None:
        if step == "after publish.compare":  # claimed by one, and the name taken by another
            place.rename(spool.path / "elsewhere")
            place.write_bytes(b"{}")

    Spool(spool.path, hook=hook).publish(DOC)
    assert inode in flushed


def test_name_taken_by_other_bytes_is_refused_and_kept(spool: Spool) -> None:
    spool.publish(DOC, "handoff-x.json")
    with pytest.raises(BadInput, match="other contents"):
        spool.publish(b"{}", "handoff-x.json")
    assert spool.find("handoff-x.json").document() == DOC


@pytest.mark.parametrize("name", ["x.json", "../handoff.json", "handoff/x.json", "handoff" + "x" * 250 + ".json", ""])
def test_name_that_the_queue_would_not_see_is_refused(spool: Spool, name: str) -> None:
    with pytest.raises(BadInput):
        spool.publish(DOC, name)
    assert list((spool.path / "tmp").iterdir()) == []


def steps_of(spool: Spool, act) -> list[str]:
    steps: list[str] = []
    act(Spool(spool.path, hook=steps.append))
    return [step.removeprefix("after ") for step in steps if step.startswith("after ")]


def test_one_document_is_flushed_before_it_has_its_name_and_its_name_after(spool: Spool) -> None:
    steps = steps_of(spool, lambda spool: spool.publish(DOC))
    wanted = ["publish.create", "publish.write", "publish.order", "publish.rename", "publish.directory"]
    assert steps == wanted


def test_many_documents_share_two_flushes(spool: Spool) -> None:
    steps = steps_of(spool, lambda spool: spool.publish_many([b'{"n":%d}' % n for n in range(100)]))
    assert steps.count("publish.rename") == 100
    assert [step for step in steps if step not in ("publish.create", "publish.write", "publish.rename")] == [
        "publish.syncfs",
        "publish.directory",
    ]
    assert steps.index("publish.syncfs") < steps.index("publish.rename")


def test_relaxed_publication_flushes_nothing(spool: Spool) -> None:
    steps = steps_of(spool, lambda spool: spool.publish_many([DOC, b"{}"], durable=False))
    assert set(steps) == {"publish.create", "publish.write", "publish.rename"}


def test_old_kernels_whose_syncfs_is_silent_get_a_fsync_a_file(spool: Spool, monkeypatch) -> None:
    monkeypatch.setattr("repairlab.spool.ordering.platform.release", lambda: "5.4.0-26-generic")
    steps = steps_of(spool, lambda spool: spool.publish_many([b'{"n":%d}' % n for n in range(5)]))
    assert steps.count("publish.order") == 5


def test_fsync_that_failed_is_not_repeated_and_the_file_is_gone(spool: Spool) -> None:
    calls = []

    def hook(step: str) -> None:
        if step == "before publish.order":
            calls.append(step)
            raise OSError(errno.EIO, "gone")

    with pytest.raises(TemporaryFailure):
        Spool(spool.path, hook=hook).publish(DOC)
    assert len(calls) == 1
    assert list((spool.path / "tmp").iterdir()) == []
    assert spool.counts()[State.WAITING] == 0


def test_full_disk_in_the_middle_of_a_group_publishes_nothing_of_it(spool: Spool) -> None:
    left = iter(range(7))

    def hook(step: str) -> None:
        if step == "before publish.write" and next(left, None) is None:
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(TemporaryFailure, match="full"):
        Spool(spool.path, hook=hook).publish_many([b'{"n":%d}' % n for n in range(20)])
    assert spool.counts()[State.WAITING] == 0
    assert list((spool.path / "tmp").iterdir()) == []


def test_quota_of_waiting_jobs_is_a_temporary_failure(tmp_path: Path) -> None:
    spool = Spool(tmp_path, policy=Policy(quota_waiting=3))
    spool.create()
    spool.publish_many([b'{"n":%d}' % n for n in range(3)])
    with pytest.raises(TemporaryFailure) as caught:
        spool.publish(DOC)
    assert caught.value.field == "queue.quota_waiting"
    next(spool.claims()).finish()
    spool.publish(DOC)


def test_quota_counts_only_the_files_of_the_publisher(tmp_path: Path, monkeypatch) -> None:
    spool = Spool(tmp_path, policy=Policy(quota_waiting=3))
    spool.create()
    spool.publish_many([b'{"n":%d}' % n for n in range(3)])
    monkeypatch.setattr("repairlab.spool.publish.os.geteuid", lambda: 12345)
    spool.publish(DOC)


def test_rename_without_replacing_works_where_the_file_system_cannot(spool: Spool, monkeypatch) -> None:
    """As on file systems that answer renameat2(RENAME_NOREPLACE) with EINVAL."""

    class Old:
        @staticmethod
        def renameat2(*_: object) -> int:
            import ctypes

            ctypes.set_errno(errno.EINVAL)
            return -1

    monkeypatch.setattr("repairlab.spool.disk._libc", Old)
    job = spool.publish(DOC)
    claim = next(spool.claims())
    assert claim.id == job.id
    assert claim.hand_back("x").state is State.DEFERRED
    with pytest.raises(BadInput):
        spool.publish(b"{}", spool.publish(b'{"n":1}').name)
    assert spool.fsck() == []


def test_what_was_published_before_a_failure_stays_and_again_adds_only_the_rest(spool: Spool) -> None:
    left = iter(range(5))

    def hook(step: str) -> None:
        if step == "before publish.rename" and next(left, None) is None:
            raise OSError(errno.ENOSPC, "full")

    documents = [b'{"n":%d}' % n for n in range(10)]
    with pytest.raises(TemporaryFailure):
        Spool(spool.path, hook=hook).publish_many(documents)
    assert spool.counts()[State.WAITING] == 5
    spool.publish_many(documents)
    assert spool.counts()[State.WAITING] == 10


def test_stale_staging_is_swept_and_fresh_is_not(spool: Spool) -> None:
    (spool.path / "tmp" / "publish-1-old").write_bytes(b"")
    assert spool.sweep() == []
    assert len(Spool(spool.path, policy=Policy(tmp_ttl_s=-1)).sweep()) == 1
    assert os.listdir(spool.path / "tmp") == []


@pytest.mark.parametrize("pattern", ["handoff.json", "*.json", "a*b*c", "x/*"])
def test_pattern_must_have_one_star_behind_a_prefix(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ValueError, match="star"):
        Spool(tmp_path, pattern=pattern)
