"""A cleanup among several people: nothing that one of them makes keeps it from what the others left."""

import errno
import fcntl
import json
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from strangers import ALICE, BOB, SERVICE, as_user

from repairlab import config
from repairlab.operate.pruning import Place, carry_out, plan
from repairlab.spool import Spool
from repairlab.spool.measure import statuses, usage

DOC = b'{"bundle_dir":"/b"}'
pytestmark = pytest.mark.root


def chain(name: str, depth: int, here: Path) -> None:
    """Make directories below each other, deeper than any path can say."""
    here.mkdir()
    fd = os.open(here, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def only_listed(path: Path) -> None:
    (path / "r").mkdir(parents=True)
    (path / "r/file").touch()
    (path / "r").chmod(0o744)


def from_the_future(path: Path) -> None:
    path.mkdir()
    (path / "file").touch()
    for each in (path / "file", path):
        os.utime(each, (4e9, 4e9))


def nothing(path: Path) -> None:
    path.mkdir()


HOSTILE = {
    "listed": only_listed,
    "deep": lambda path: chain("d", 1500, path),
    "long": lambda path: chain("d" * 200, 25, path),
    "future": from_the_future,
    "f" * 64: from_the_future,
    "control": nothing,
}


@pytest.fixture
def state(top):
    """A state directory of the service's whose queue and bundles are everybody's to write to."""
    spool = Spool(top / "state/spool/repair")
    for path in (top / "state", top / "state/spool", config.bundles_dir(top / "state")):
        path.mkdir()
        os.chown(path, SERVICE, SERVICE)
    as_user(SERVICE, spool.create)
    spool.path.chmod(0o1777)
    config.bundles_dir(top / "state").chmod(0o1777)
    return top / "state"


def cleaned(state: Path, days: float = 30) -> dict[str, str]:
    """Clean up as the service, that long from now; name → error of what was to go."""

    def clean() -> None:
        queues = [Spool(state / "spool" / name) for name in ("repair", "challengers")]
        place = Place(state, *queues, config.Cleanup(), datetime.now(UTC) + timedelta(days=days))
        found = {removal.path.name: removal.error for removal in carry_out(place, list(plan(place)))}
        (state / "told").write_text(json.dumps(found))

    as_user(SERVICE, clean)
    return json.loads((state / "told").read_text())


@pytest.mark.parametrize("shape", HOSTILE)
@pytest.mark.parametrize("where", ["bundles", "spool/repair"])
def test_no_shape_of_one_users_tree_keeps_the_cleanup_from_the_others(state, where, shape):
    name = shape if where == "bundles" else f"handoff-{shape}.json"
    as_user(ALICE, lambda: HOSTILE[shape](state / where / name))
    as_user(BOB, lambda: nothing(state / "bundles/bobs"))
    assert cleaned(state, days=1) == {}
    assert cleaned(state) == {"bobs": "", name: ""}
    assert not (state / where / name).exists()
    assert not (state / "bundles/bobs").exists()


def test_a_bundle_is_as_young_as_its_owner_made_it_and_never_younger(state):
    as_user(ALICE, lambda: from_the_future(state / "bundles/future"))
    as_user(ALICE, lambda: nothing(state / "bundles/past"))
    os.utime(state / "bundles/past", (0, 0))
    assert set(cleaned(state, days=1)) == {"past"}
    assert set(cleaned(state)) == {"future"}


def test_a_handoff_that_names_an_endless_chain_of_links_stops_nobody(state):
    def hand_in() -> None:
        for number in range(1500):
            (state / f"bundles/.link{number}").symlink_to(f".link{number + 1}")
        (state / "spool/repair/handoff-1.json").write_text(json.dumps({"bundle_dir": f"{state}/bundles/.link0"}))

    as_user(ALICE, hand_in)
    as_user(BOB, lambda: nothing(state / "bundles/bobs"))
    assert cleaned(state) == {"bobs": ""}


def test_a_handoff_whose_owner_holds_a_lease_on_it_stops_nobody(state):
    path = state / "spool/repair/handoff-1.json"
    as_user(BOB, lambda: nothing(state / "bundles/bobs"))
    as_user(ALICE, lambda: path.write_bytes(DOC))
    fd = os.open(path, os.O_RDWR)
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    try:
        with pytest.raises(BlockingIOError):
            os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        assert cleaned(state) == {"bobs": ""}
    finally:
        os.close(fd)


def test_an_entry_that_the_disk_does_not_give_back_is_told_and_keeps_no_other(state, monkeypatch):
    as_user(BOB, lambda: nothing(state / "bundles/bobs"))
    as_user(ALICE, lambda: nothing(state / "bundles/alices"))
    stat = os.stat

    def broken(path, **how):
        if str(path).endswith("alices"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return stat(path, **how)

    monkeypatch.setattr(os, "stat", broken)
    told = cleaned(state)
    assert told == {"bobs": "", "alices": f"Input/output error: {state}/bundles/alices"}


def test_a_tree_is_measured_to_its_end_and_back(top):
    for name in ("a", "b"):
        chain("d", 1500, top / name)
        (top / name / "d/d/beside").write_bytes(b"x" * 10_000)
    os.mkdir(top / "a/closed", 0)
    (top / "a/link").symlink_to("/etc")
    assert usage(str(top / "a"))[1] == 1501 + 3
    assert usage(str(top))[1] == 1 + 1501 + 3 + 1501 + 1
    assert list(statuses(str(top / "nothing"))) == []
