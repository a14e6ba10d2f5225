"""Which job is next, what it costs to know, and when to look again."""

import errno
import fcntl
import os
import time
from contextlib import closing
from pathlib import Path

import pytest

from repairlab.errors import Unavailable
from repairlab.spool import Backlog, Clock, Policy, Spool, State


class Hand(Clock):
    ahead_s = 0.0

    def wall(self) -> float:
        return super().wall() + self.ahead_s

    def boottime(self) -> float:
        return super().boottime() + self.ahead_s


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def spool(tmp_path: Path, clock: Hand) -> Spool:
    spool = Spool(tmp_path, clock=clock)
    spool.create()
    return spool


def publish(spool: Spool, *jobs: tuple[str, str, int]) -> None:
    for name, lineage, priority in jobs:
        document = b'{"lineage":"%s","priority":%d,"n":"%s"}' % (lineage.encode(), priority, name.encode())
        spool.publish(document, f"handoff-{name}.json", durable=False)
        os.utime(spool.path / f"handoff-{name}.json")


def names(backlog: Backlog, eligible=None) -> list[str]:
    taken = []
    while claim := backlog.take(eligible):
        taken.append(claim.name.removeprefix("handoff-").removesuffix(".json"))
        claim.finish()
    return taken


def scanned(spool: Spool) -> Backlog:
    backlog = spool.backlog()
    while backlog.scan(1.0):
        pass
    return backlog


def test_higher_priority_goes_first(spool: Spool) -> None:
    publish(spool, ("low", "a", -1), ("normal", "a", 0), ("high", "a", 5))
    assert names(scanned(spool)) == ["high", "normal", "low"]


def test_lineages_take_turns(spool: Spool) -> None:
    publish(spool, *((f"a{n}", "flood", 0) for n in range(5)), ("b0", "rare", 0), ("b1", "rare", 0))
    lineages = [name[0] for name in names(scanned(spool))]
    assert sorted(lineages[:2]) == ["a", "b"]
    assert sorted(lineages[2:4]) == ["a", "b"]


def test_lineage_that_always_has_one_more_does_not_starve_another(spool: Spool) -> None:
    publish(spool, ("a0", "steady", 0), ("b0", "other", 0))
    backlog = scanned(spool)
    order = []
    for n in range(1, 4):
        claim = backlog.take()
        order.append(claim.lineage)
        claim.finish()
        publish(spool, (f"a{n}", "steady", 0))
        backlog.hint(f"handoff-a{n}.json")
    assert "other" in order[:2]


def test_ineligible_lineages_are_passed_over(spool: Spool) -> None:
    publish(spool, ("a", "busy", 9), ("b", "free", 0))
    assert names(scanned(spool), lambda entry: entry.lineage != "busy") == ["b"]


def test_hint_makes_one_arrival_known_without_a_scan(spool: Spool) -> None:
    backlog = spool.backlog()
    publish(spool, ("a", "x", 0))
    assert backlog.take() is None
    backlog.hint("handoff-a.json")
    assert len(backlog) == 1
    assert names(backlog) == ["a"]


def test_hints_of_foreign_names_are_ignored(spool: Spool) -> None:
    backlog = spool.backlog()
    for name in ("tmp", ".handoff.swp", "other.json", "handoff.json/x", "0123"):
        backlog.hint(name)
    assert backlog.take() is None


def test_hint_of_a_finished_write_overrules_the_pause_before_the_next_look(spool: Spool) -> None:
    backlog = spool.backlog()
    with (spool.path / "handoff-a.json").open("wb") as file:
        file.write(b"{}")
        file.flush()
        backlog.hint("handoff-a.json")
        assert backlog.take() is None
    backlog.hint("handoff-a.json")
    assert names(backlog) == ["a"]


def test_failed_job_comes_back_when_due_without_a_rescan(spool: Spool, clock: Hand) -> None:
    publish(spool, ("a", "x", 0))
    backlog = scanned(spool)
    job = backlog.take().defer(30, "later")
    backlog.hint(job.id)
    assert backlog.take() is None
    assert 0 < backlog.next_wakeup() - time.monotonic() <= 30
    clock.ahead_s = 31
    assert backlog.take().id == job.id


def test_scan_goes_on_where_it_stopped(spool: Spool) -> None:
    publish(spool, *((f"{n}", "x", 0) for n in range(50)))
    backlog = spool.backlog()
    slices = 1
    while backlog.scan(0.0):
        slices += 1
        assert backlog.next_wakeup() <= time.monotonic()
    assert slices >= 50
    assert len(backlog) == 50


def test_unchanged_directory_is_not_read_again(spool: Spool, clock: Hand, monkeypatch) -> None:
    publish(spool, ("a", "x", 0))
    clock.ahead_s = 100
    backlog = scanned(spool)
    monkeypatch.setattr("repairlab.spool.backlog.os.scandir", lambda _: pytest.fail("it was read again"))
    clock.ahead_s = 200
    assert backlog.scan() is False


def test_directory_changed_too_recently_to_prove_anything_is_read_again(spool: Spool, clock: Hand) -> None:
    backlog = scanned(spool)
    stamp = os.stat(spool.path).st_mtime_ns
    publish(spool, ("a", "x", 0))
    os.utime(spool.path, ns=(stamp, stamp))  # as if the change had fallen into the same tick
    clock.ahead_s = 100
    while backlog.scan():
        pass
    assert names(backlog) == ["a"]


def test_window_is_bounded_and_what_has_no_room_is_found_later(tmp_path: Path, clock: Hand) -> None:
    spool = Spool(tmp_path, policy=Policy(backlog_entries=10), clock=clock)
    spool.create()
    publish(spool, *((f"{n}", "x", 0) for n in range(35)))
    backlog = scanned(spool)
    assert len(backlog) == 10
    seen: set[str] = set()
    while len(seen) < 35:
        taken = names(backlog)
        assert taken, "nothing was taken though jobs wait"
        seen |= set(taken)
        while backlog.scan(1.0):
            pass


def test_queue_that_was_removed_is_named(spool: Spool, tmp_path: Path) -> None:
    with closing(Spool(tmp_path / "nowhere").backlog()) as backlog, pytest.raises(Unavailable, match="nowhere"):
        backlog.scan()


def test_two_windows_share_the_jobs_without_taking_one_twice(spool: Spool) -> None:
    publish(spool, *((f"{n}", "x", 0) for n in range(20)))
    one, two = scanned(spool), scanned(spool)
    claims = []
    while (first := one.take()) or (second := two.take()):
        claims.append(first or second)
        if first and (second := two.take()):
            claims.append(second)
    assert len({claim.id for claim in claims}) == len(claims) == 20


def test_deferred_job_found_by_the_scan_of_another_process(spool: Spool, clock: Hand) -> None:
    publish(spool, ("a", "x", 3))
    scanned(spool).take().defer(30, "later")
    backlog = scanned(spool)
    assert backlog.take() is None
    clock.ahead_s = 31
    assert backlog.take().priority == 3


def test_pass_that_looks_again_at_all_it_has_no_room_for_is_rare(tmp_path: Path) -> None:
    spool = Spool(tmp_path, policy=Policy(backlog_entries=4, rescan_s=0.0))
    spool.create()
    publish(spool, *((str(number), "a", 0) for number in range(500)))
    with closing(spool.backlog()) as backlog:
        began = time.perf_counter()
        while backlog.scan(1.0):
            pass
        took_s = time.perf_counter() - began
        assert backlog.next_wakeup() - time.monotonic() > 5 * took_s


@pytest.mark.root
def test_who_holds_locks_on_his_own_jobs_waits_for_them_and_slows_nobody(tmp_path: Path, clock: Hand) -> None:
    """Who may read a job's directory may lock it; each of a flood of such jobs would be tried 20 times a second."""
    tries: list[float] = []

    def hook(step: str) -> None:
        if step == "before parked.lock":
            tries.append(clock.ahead_s)

    spool = Spool(tmp_path, clock=clock, policy=Policy(settle_s=0), hook=hook)
    spool.create()
    publish(spool, *((f"locked{n}", f"l{n % 7}", 0) for n in range(100)))
    for path in tmp_path.glob("handoff*"):
        os.chown(path, 54322, 54322)
    for claim in spool.claims():
        claim.defer(30, "for the test")
    locks = [os.open(path, os.O_RDONLY) for path in (tmp_path / "deferred").iterdir()]
    for fd in locks:
        fcntl.flock(fd, fcntl.LOCK_SH)
    clock.ahead_s = 31
    publish(spool, *((f"other{n}", "x", 0) for n in range(5)))
    for path in tmp_path.glob("handoff*"):
        os.chown(path, 54323, 54323)
    tries.clear()
    with closing(scanned(spool)) as backlog:
        for number in range(5):
            with backlog.take() as claim:
                assert claim.submitter == 54323
                claim.finish()
            assert len(tries) <= number + 1, "a try in vain is a turn"
        while clock.ahead_s < 31 + 120:
            clock.ahead_s += 0.05
            backlog.scan()
            assert backlog.take() is None
        assert len(tries) < 100 * 15
        assert max(tries) > 31 + 60, "they are tried again"
        for fd in locks:
            os.close(fd)
        clock.ahead_s += 60
        assert len(names(backlog)) == 100


def test_a_hint_ends_the_pause_of_what_was_in_somebodys_hands(spool: Spool) -> None:
    path = spool.path / "handoff-1.json"
    with open(path, "wb", buffering=0) as file, closing(scanned(spool)) as backlog:
        for _ in range(10):
            backlog.hint(path.name)
            assert backlog.take() is None
        assert backlog.next_wakeup() < time.monotonic() + 0.5
        file.write(b'{"bundle_dir":"/b"}')
        file.close()
        backlog.hint(path.name)
        with backlog.take() as claim:
            claim.finish()


def test_a_parked_job_that_cannot_be_moved_is_told_once_and_stops_nobody(spool: Spool) -> None:
    """As in the lower layer of an overlay, whose directories cannot be renamed."""
    parked = spool.publish(b'{"bundle_dir":"/parked"}')
    spool.hold(parked.id)
    spool.release(parked.id)

    def hook(step: str) -> None:
        if step == "before parked.rename":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    hooked = Spool(spool.path, hook=hook)
    with closing(hooked.backlog()) as backlog:
        assert backlog.scan(1.0) is False
        assert backlog.take() is None
        [incident] = backlog.events
        assert (incident.kind, incident.name) == ("stuck", parked.id)
        assert "cross-device" in incident.reason
        other = hooked.publish(b'{"bundle_dir":"/other"}')
        for name in (parked.id, other.name):
            backlog.hint(name)
        with backlog.take() as claim:
            assert claim.id == other.id
            claim.finish()
        assert backlog.take() is None
        assert len(backlog.events) == 1
    assert spool.find(parked.id).state is State.DEFERRED


@pytest.mark.parametrize("ours", [True, False])
def test_a_queue_that_nobody_may_write_to_is_no_fault_of_its_parked_jobs(spool: Spool, monkeypatch, ours: bool) -> None:
    """They are served as soon as its owner has mended it: nothing of theirs would change then."""
    parked = spool.publish(b'{"bundle_dir":"/parked"}')
    spool.hold(parked.id)
    spool.release(parked.id)
    closed = [True]

    def hook(step: str) -> None:
        if step == "before parked.rename" and closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "access", lambda path, *_, **__: not (closed and ours and path.endswith("/active")))
    with closing(Spool(spool.path, hook=hook).backlog()) as backlog:
        backlog.scan(1.0)
        if ours:
            with pytest.raises(PermissionError):
                backlog.take()
        else:
            assert backlog.take() is None
        assert [incident.kind for incident in backlog.events] == ([] if ours else ["stuck"])
        closed.clear()
        backlog.hint(parked.id)
        claim = backlog.take()
        assert (claim is not None) is ours
        if claim:
            claim.finish()
