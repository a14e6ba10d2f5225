"""A sandbox that is started ahead: taken once, ended if not wanted, and no reason to fail."""

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from repairlab import sandbox as box
from repairlab.errors import TemporaryFailure
from repairlab.sandbox.tree import BundleLimits
from repairlab.trial.ahead import Ahead
from repairlab.trial.bundle import Bundle
from repairlab.trial.validation import Setup

SETTINGS = SimpleNamespace(tier="auto", memory_mb=256, processes=16, tmpfs_mb=4, open_files=64, file_mb=8)
PROGRAM = "stream.send(b'here'); stream.send(stream.recv())"


@pytest.fixture
def started():
    """What the started sandboxes are, and how to start one."""
    tier, found = box.open_sandbox(SETTINGS), []

    def start() -> box.Confined:
        found.append(tier.start(PROGRAM))
        return found[-1]

    yield found, start
    for confined in found:
        confined.kill()


def test_it_is_taken_once_and_lives_until_its_taker_ends_it(started):
    _, start = started
    ahead = Ahead(start)
    confined = ahead.take()
    assert ahead.take() is None
    with confined:
        assert confined.stream.recv(20) == b"here"
        confined.stream.send(b"still")
        assert confined.stream.recv(20) == b"still"
    ahead.close()


def test_what_nobody_took_is_ended_by_the_close(started):
    found, start = started
    ahead = Ahead(start)
    ahead._there.wait()
    assert found[0].wait(0) is None
    ahead.close()
    assert found[0].wait(20).why is box.Why.KILLED


def test_a_close_waits_for_the_start_that_is_in_flight_and_leaves_nothing(started):
    found, start = started
    begun, go = threading.Event(), threading.Event()

    def late() -> box.Confined:
        begun.set()
        go.wait()
        return start()

    ahead = Ahead(late)
    begun.wait()
    closing = threading.Thread(target=ahead.close)
    closing.start()
    go.set()
    closing.join(20)
    assert found[0].wait(0).why is box.Why.KILLED
    assert found[0].stream.fileno() == -1


def test_what_takes_too_long_to_start_is_ended_as_soon_as_it_stands(started, monkeypatch):
    monkeypatch.setattr("repairlab.trial.ahead.CLOSE_S", 0.0)
    found, start = started
    closed = threading.Event()

    def late() -> box.Confined:
        closed.wait()
        return start()

    ahead = Ahead(late)
    ahead.close()
    closed.set()
    assert ahead.take() is None
    assert found[0].wait(20).why is box.Why.KILLED


def test_one_that_cannot_be_started_is_none_and_no_error():
    def refused() -> box.Confined:
        raise TemporaryFailure("too many at a time")

    ahead = Ahead(refused)
    assert ahead.take() is None
    ahead.close()


def test_one_that_was_ended_while_it_waited_is_none(started):
    found, start = started
    ahead = Ahead(start)
    ahead._there.wait()
    found[0].kill()
    assert ahead.take() is None
    assert found[0].stream.fileno() == -1
    ahead.close()


def test_where_no_thread_can_be_started_there_is_none():
    code = """
import resource, sys
from repairlab.trial.ahead import Ahead
resource.setrlimit(resource.RLIMIT_AS, (1 << 20, 1 << 20))  # no room for the stack of another thread
ahead = Ahead(lambda: sys.exit("started"))
assert ahead.take() is None
ahead.close()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_no_thread_stays_behind(started):
    _, start = started
    before = set(threading.enumerate())
    ahead = Ahead(start)
    with ahead.take():
        pass
    ahead.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
        assert not thread.is_alive()


class Counted:
    """A tier that counts its starts."""

    def __init__(self) -> None:
        self.inner, self.starts = box.open_sandbox(SETTINGS), 0
        self.tier = self.inner.tier

    def start(self, *argv, **options) -> box.Confined:
        self.starts += 1
        return self.inner.start(*argv, **options)


@pytest.mark.parametrize("early", [True, False])
def test_a_run_takes_the_sandbox_that_is_there_and_starts_one_where_there_is_none(tmp_path, early):
    (tmp_path / "test_it.py").write_text("def test_it():\n    assert True\n")
    bundle = Bundle.read(tmp_path, tests=[], editable=[], limits=BundleLimits())
    tier = Counted()
    setup = Setup(tier, box.SandboxLimits.from_settings(SETTINGS, wall_s=20), bundle, None, {})
    ahead = setup.ahead(20.0) if early else None
    if ahead:
        ahead._there.wait()
    for starts in (1, 2):  # there is no second one ahead
        confined, root = setup.start({}, 20.0, ahead)
        with confined:
            assert root.endswith("bundle")
            assert tier.starts == starts
    if ahead:
        ahead.close()


def test_what_was_dismissed_or_begun_ahead_is_gone_after_the_close(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_it():\n    assert True\n")
    bundle = Bundle.read(tmp_path, tests=[], editable=[], limits=BundleLimits())
    setup = Setup(box.open_sandbox(SETTINGS), box.SandboxLimits.from_settings(SETTINGS, wall_s=20), bundle, None, {})
    confined, _ = setup.start({}, 20.0)
    ahead = setup.ahead(20.0)
    ahead._there.wait()
    unwanted = ahead._confined
    setup.dismiss(confined)
    setup.close()
    for each in (confined, unwanted):
        assert each.wait(0).why is box.Why.KILLED
        assert each.stream.fileno() == -1


class Narrow(Counted):
    """A tier with room for one sandbox at a time, as a socket with MaxConnections=1 has."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[box.Confined] = []

    def start(self, *argv, **options) -> box.Confined:
        if any(confined.wait(0) is None for confined in self.held):
            raise TemporaryFailure("no more sandboxes now", fix="wait")
        self.held.append(super().start(*argv, **options))
        return self.held[-1]


def test_where_there_is_room_for_one_the_next_waits_for_the_end_of_the_dismissed_one(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_it():\n    assert True\n")
    bundle = Bundle.read(tmp_path, tests=[], editable=[], limits=BundleLimits())
    setup = Setup(Narrow(), box.SandboxLimits.from_settings(SETTINGS, wall_s=20), bundle, None, {})
    held, _ = setup.start({}, 20.0)
    with pytest.raises(TemporaryFailure):
        setup.start({}, 20.0)
    for _ in range(3):
        setup.dismiss(held)
        held, _ = setup.start({}, 20.0)
    setup.dismiss(held)
    setup.close()
    assert all(confined.wait(0) is not None for confined in setup.sandbox.held)
