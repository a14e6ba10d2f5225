"""hints: real inotify on real directories; select with a deadline instead of sleep."""

import os
import resource
import select
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from repairlab.spool import Policy, Spool, hints
from repairlab.spool.hints import Hints


@contextmanager
def watching(*directories: Path) -> Iterator[Hints]:
    watched = Hints(directories)
    try:
        yield watched
    finally:
        watched.close()


def seen(watched: Hints, name: str, within_s: float = 5) -> float:
    """Return after how many seconds `name` was known."""
    began = time.monotonic()
    while (left := began + within_s - time.monotonic()) > 0:
        select.select([watched], [], [], left)
        if name in watched.take():
            return time.monotonic() - began
    raise AssertionError(f"{name} was never seen")


def test_a_rename_a_link_and_a_plain_copy_are_seen_in_every_watched_directory(tmp_path: Path) -> None:
    queue, deferred, outside = tmp_path / "queue", tmp_path / "deferred", tmp_path / "outside"
    for directory in (queue, deferred, outside):
        directory.mkdir()
    with watching(queue, deferred) as watched:
        (outside / "a").write_bytes(b"x")
        (outside / "a").rename(queue / "a")
        seen(watched, "a")
        os.link(queue / "a", deferred / "b")
        seen(watched, "b")
        with (queue / "c").open("wb") as file:
            seen(watched, "c")
            file.write(b"x")
        seen(watched, "c")  # once more when it is closed: only then may it be read
        (outside / "d").mkdir()
        (outside / "d").rename(deferred / "d")
        seen(watched, "d")


def test_a_claim_neither_wakes_us_nor_delays_the_next_arrival(tmp_path: Path) -> None:
    """watchdog's own emitters hold what follows a rename out of the directory back for half a second."""
    queue, active = tmp_path / "queue", tmp_path / "active"
    queue.mkdir()
    active.mkdir()
    (queue / "first").write_bytes(b"x")
    with watching(queue) as watched:
        (queue / "first").rename(active / "first")
        (active / "first").rename(queue / "second")
        assert seen(watched, "second") < 0.3
        (queue / "second").rename(active / "first")
        (queue / "third").mkdir()
        seen(watched, "third")  # and so the claim before it was heard, if it is ever
        assert not select.select([watched], [], [], 0)[0]


def test_an_overflow_of_the_kernels_queue_is_told_once(tmp_path: Path) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    one, two = tmp_path / "one", tmp_path / "two"
    one.touch()
    with watching(tmp_path) as watched:
        assert not watched.missed()
        with watched._lock:  # the reader of events stands still
            for _ in range(most // 2 + 2000):  # two arrivals each; the kernel takes equal neighbours for one
                one.rename(two)
                two.rename(one)
        end = time.monotonic() + 20
        while not watched.missed():
            assert select.select([watched], [], [], end - time.monotonic())[0], "an overflow is told"
            watched.take()
        assert not watched.missed()


def test_where_descriptors_run_out_none_is_kept(tmp_path: Path) -> None:
    """The eventfd takes the last but one, the instance of inotify the last, and then there is none for its pipe."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    held: list[int] = []
    try:
        _hold_all(held)
        for _ in range(3):
            for fd in (held.pop(), held.pop()):
                os.close(fd)
            with pytest.raises(OSError, match="Too many open files"):
                Hints([tmp_path])
            assert _hold_all(held) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for fd in held:
            os.close(fd)


def _hold_all(held: list[int]) -> int:
    """Open what may still be opened; return how many that were."""
    before = len(held)
    with suppress(OSError):
        while True:
            held.append(os.dup(0))
    return len(held) - before


def test_a_flood_is_bounded_and_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "BOUND", 3)
    with watching(tmp_path) as watched:
        for name in ("a", "b", "b", "c", "d"):
            assert not watched.missed() or name == "d"
            watched.put(name)
        assert watched.missed(), "the rescan finds what was forgotten"
        assert watched.take() == ["b", "c", "d"]
        assert watched.take() == []
        assert not select.select([watched], [], [], 0)[0]


def test_a_removed_queue_is_told(tmp_path: Path) -> None:
    queue = tmp_path / "queue"
    queue.mkdir()
    with watching(queue) as watched:
        assert not watched.lost
        queue.rmdir()
        select.select([watched], [], [], 5)
        assert watched.lost


def test_a_missing_directory_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Hints([tmp_path, tmp_path / "missing"])


def test_a_queue_behind_a_symlink_is_watched(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with watching(tmp_path / "link") as watched:
        (tmp_path / "real" / "a").write_bytes(b"x")
        seen(watched, "a")


def test_names_that_are_not_text_are_hints_too(tmp_path: Path) -> None:
    with watching(tmp_path) as watched:
        os.close(os.open(os.fsencode(tmp_path) + b"/handoff\xff.json", os.O_CREAT | os.O_WRONLY))
        seen(watched, "handoff\udcff.json")


def test_events_after_the_end_are_ignored(tmp_path: Path) -> None:
    watched = Hints([tmp_path])
    watched.close()
    watched.close()
    watched.put("late")


def test_a_rescan_that_is_asked_for_comes_at_once_also_when_a_pass_is_under_way(tmp_path: Path) -> None:
    """What is published here no hint tells of; the regular pass is an hour away."""
    spool = Spool(tmp_path, policy=Policy(rescan_s=3600))
    spool.create()
    spool.publish_many([b'{"n": %d}' % number for number in range(200)], durable=False)
    with closing(spool.backlog()) as backlog:
        for known in (201, 202):
            assert backlog.scan(0.0) is (known == 201)
            backlog.rescan()
            spool.publish(b'{"n": %d}' % known)
            end = time.monotonic() + 30
            while len(backlog) < known:
                assert time.monotonic() < end, "the pass comes at once"
                backlog.scan(1.0)
