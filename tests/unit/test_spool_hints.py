"""hints: real inotify on real directories; select with a deadline instead of sleep."""

import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import InotifyConstants

from repairlab.spool import hints
from repairlab.spool.hints import Hints


@contextmanager
def watching(*directories: Path, mask: int = hints.MASK) -> Iterator[Hints]:
    watched = Hints(directories, mask=mask)
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
    assert _next_arrival_after_a_claim(tmp_path / "ours", hints.MASK) < 0.3
    # The control: with IN_MOVED_FROM in the mask, watchdog holds the claim back and the arrival waits behind it.
    assert _next_arrival_after_a_claim(tmp_path / "control", hints.MASK | InotifyConstants.IN_MOVED_FROM) > 0.3


def _next_arrival_after_a_claim(root: Path, mask: int) -> float:
    queue, active = root / "queue", root / "active"
    queue.mkdir(parents=True)
    active.mkdir()
    (queue / "first").write_bytes(b"x")
    with watching(queue, mask=mask) as watched:
        (queue / "first").rename(active / "first")
        (active / "first").rename(queue / "second")
        return seen(watched, "second")


def test_a_flood_is_bounded_and_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "BOUND", 3)
    with watching(tmp_path) as watched:
        for name in ("a", "b", "b", "c", "d"):
            watched.put(name)
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
