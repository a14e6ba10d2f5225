"""The same document twice is one job: where the second copy goes, whatever becomes of the first."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from repairlab.spool import Spool, State

DOC = b'{"bundle_dir":"/b"}'


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "q")
    spool.create()
    return spool


def drop(spool: Spool, name: str = "handoff.json", data: bytes = DOC) -> Path:
    path = spool.path / name
    path.write_bytes(data)
    return path


def take(spool: Spool):
    with closing(spool.backlog()) as backlog:
        backlog.scan(1.0)
        return backlog.take()


def test_new_arrival_under_the_name_of_a_duplicate_is_not_filed_with_it(spool: Spool) -> None:
    path, other = drop(spool), spool.path / "other"
    claim = take(spool)
    drop(spool)
    other.write_bytes(b'{"bundle_dir":"/other"}')

    def hook(step: str) -> None:
        if step == "before duplicate.rename" and other.exists():
            other.rename(path)

    assert take(Spool(spool.path, hook=hook)) is None
    assert path.read_bytes() == b'{"bundle_dir":"/other"}'
    assert list(claim.path.glob("duplicates/*")) == []


def test_same_bytes_under_another_name_are_the_same_job(spool: Spool) -> None:
    drop(spool, "handoff-1.json")
    drop(spool, "handoff-2.json")
    with closing(spool.backlog()) as backlog:
        backlog.scan(1.0)
        claim = backlog.take()
        assert backlog.take() is None
        [incident] = backlog.events
    assert (incident.kind, incident.job_id) == ("duplicate", claim.id)
    assert [path.read_bytes() for path in claim.path.glob("duplicates/*")] == [DOC]


@pytest.mark.parametrize("end", ["finish", "hand_back", "hold", "reject"])
def test_duplicate_is_filed_with_the_job_wherever_it_rests(spool: Spool, end: str) -> None:
    drop(spool, "handoff-1.json")
    claim = take(spool)
    job = claim.finish() if end == "finish" else getattr(claim, end)("test")
    drop(spool, "handoff-2.json")
    with closing(spool.backlog()) as backlog:
        backlog.hint("handoff-2.json")
        assert backlog.take() is None
        assert backlog.events[0].job_id == job.id
    assert len(list(Path(job.path).glob("duplicates/*"))) == 1
    assert list((spool.path / "active").iterdir()) == []
    assert spool.fsck() == []


def test_same_key_with_other_bytes_is_the_same_job_and_another_key_is_not(spool: Spool) -> None:
    for n, key in enumerate("aab"):
        drop(spool, f"handoff-{n}.json", b'{"idempotency_key":"%s","n":%d}' % (key.encode(), n))
    assert len(list(spool.claims())) == 2


def test_duplicates_of_a_producer_in_a_loop_stay_bounded(spool: Spool) -> None:
    drop(spool)
    job = take(spool).finish()
    for n in range(120):
        drop(spool, f"handoff-{n}.json")
    assert list(spool.claims()) == []
    assert len(list(Path(job.path).glob("duplicates/*"))) <= 101
    assert spool.counts()[State.WAITING] == 0


def test_duplicate_with_the_longest_name_is_filed(spool: Spool) -> None:
    drop(spool)
    assert take(spool) is not None
    drop(spool, "handoff" + "\u00e9" * 120 + ".json")
    assert take(spool) is None
    assert spool.counts()[State.WAITING] == 0


def test_duplicates_that_are_links_of_one_file_all_leave_the_queue(spool: Spool) -> None:
    drop(spool)
    assert take(spool) is not None
    first = drop(spool, "handoff-0.json")
    for number in range(1, 130):
        (spool.path / f"handoff-{number}.json").hardlink_to(first)
    with closing(spool.backlog()) as backlog:
        backlog.scan(1.0)
        while backlog.take() or backlog.busy:
            pass
    assert spool.counts()[State.WAITING] == 0


def test_duplicate_of_a_claim_that_never_came_about_is_an_arrival_again(spool: Spool) -> None:
    drop(spool, "handoff-1.json")
    drop(spool, "handoff-2.json")
    others: list[object] = []

    def hook(step: str) -> None:
        if step == "after claim.rename" and not others:
            others.append(take(Spool(spool.path)))
            os.utime(next(spool.path.glob("active/*/job.json")), (1, 1))  # the producer was not done with it

    assert take(Spool(spool.path, hook=hook)) is None
    assert others == [None]
    assert spool.counts()[State.WAITING] == 2
    assert take(spool) is not None


def test_duplicate_left_by_a_dead_claimer_is_handed_in_by_the_reaper(spool: Spool) -> None:
    gate = spool.path / "active" / ("0" * 24)
    (gate / "duplicates").mkdir(parents=True)
    (gate / "duplicates" / "x-handoff.json").write_bytes(DOC)
    assert [reaped.what for reaped in spool.reap()] == ["unclaimed"]
    assert take(spool).read() == DOC
