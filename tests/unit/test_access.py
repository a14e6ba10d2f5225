"""access: our reading of an ACL is the kernel's, and a directory is opened for one person and nobody else."""

import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repairlab import access
from repairlab.access import ENTER, GROUP, GROUP_OBJ, MASK, OTHER, READ, USER, USER_OBJ, WRITE, Entry, Person
from repairlab.errors import Unavailable

OWNER, ALICE, BOB = 54321, 54322, 54323
TEAM, CREW, OWNERS = 54331, 54332, 54333

allowed = st.integers(0, 7)


@st.composite
def lists(draw) -> list[Entry]:
    """An ACL with the entries that each has to have and some of those that it may have."""
    found = [Entry(tag, draw(allowed)) for tag in (USER_OBJ, GROUP_OBJ, OTHER)]
    named = [Entry(USER, draw(allowed), who) for who in (ALICE, BOB) if draw(st.booleans())]
    named += [Entry(GROUP, draw(allowed), who) for who in (TEAM, CREW) if draw(st.booleans())]
    if named or draw(st.booleans()):
        found.append(Entry(MASK, draw(allowed)))
    return found + named


@pytest.fixture(scope="module")
def file():
    # Not below pytest's own directory: every run of pytest, also a neighbour's, closes that to others again.
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o711)
        path = Path(directory, "file")
        path.touch()
        if not access.supported(path):
            pytest.skip("no ACLs on the file system of the tests")
        os.chown(path, OWNER, OWNERS)
        yield path


def tried(path, who: Person, wanted: int) -> bool:
    """Whether the kernel lets this person: asked by a child that is this person."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(sorted(who.groups))
            os.setgid(65534)
            os.setuid(who.uid)
            os._exit(0 if os.access(path, wanted, effective_ids=True) else 1)
        finally:
            os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 1)
    return status == 0


@pytest.mark.root
@given(
    listed=lists(),
    uid=st.sampled_from([ALICE, BOB, 54399]),
    groups=st.frozensets(st.sampled_from([TEAM, CREW, OWNERS])),
    wanted=st.sampled_from([READ, WRITE, ENTER, READ | ENTER]),
)
def test_who_may_is_what_the_kernel_says(file, listed, uid, groups, wanted):
    os.setxattr(file, access.ACCESS, access.pack(listed))
    who = Person(uid, groups)
    fd = os.open(file, os.O_RDONLY)
    try:
        assert access.may(who, fd, wanted) == tried(file, who, wanted)
    finally:
        os.close(fd)


@pytest.mark.root
@given(mode=st.integers(0, 0o777), groups=st.frozensets(st.sampled_from([TEAM, OWNERS])))
def test_without_a_list_the_mode_says_it(file, mode, groups):
    if access.entries(file):
        os.removexattr(file, access.ACCESS)
    os.chmod(file, mode)
    who = Person(ALICE, groups)
    fd = os.open(file, os.O_RDONLY)
    try:
        assert access.may(who, fd, READ) == tried(file, who, READ)
        assert access.may(Person(OWNER, frozenset()), fd, READ), "an owner may change the mode"
    finally:
        os.close(fd)


@given(listed=lists())
def test_what_is_packed_is_what_is_parsed(listed):
    assert sorted(access.parse(access.pack(listed))) == sorted(listed)


@pytest.mark.parametrize("raw", [b"", b"\2\0\0", b"\3\0\0\0", b"\2\0\0\0" + b"x" * 7])
def test_an_unknown_layout_is_said_and_not_guessed(raw):
    with pytest.raises(Unavailable, match="unknown layout"):
        access.parse(raw)


def test_a_uid_without_a_name_has_no_groups():
    assert access.person(54399) == Person(54399, frozenset())


def test_a_file_system_without_lists_is_told_from_a_file_without_one(tmp_path, monkeypatch):
    def refuses(*_):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    assert access.supported("/proc") is False  # procfs has none
    monkeypatch.setattr(os, "getxattr", refuses)
    assert access.supported(tmp_path) is False
    assert access.entries(tmp_path) == []


@pytest.fixture
def shared(tmp_path):
    """A directory whose default ACL says that what is made in it is the owner's and the team's."""
    if not access.supported(tmp_path):
        pytest.skip("no ACLs on the file system of the tests")
    listed = [Entry(USER_OBJ, 7), Entry(GROUP_OBJ, 0), Entry(GROUP, 5, TEAM), Entry(MASK, 5), Entry(OTHER, 0)]
    os.setxattr(tmp_path, access.DEFAULT, access.pack(listed))
    return tmp_path


def opened(path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def test_who_is_let_in_reads_what_is_made_later_and_nobody_else_does(shared):
    job = shared / "job"
    job.mkdir()
    fd = opened(job)
    assert access.let_read(fd, ALICE)
    (job / "result").touch(mode=0o644)
    (job / "work").mkdir(mode=0o700)
    result = os.open(job / "result", os.O_RDONLY)
    work = opened(job / "work")
    alice, bob, team = Person(ALICE, frozenset()), Person(BOB, frozenset()), Person(BOB, frozenset({TEAM}))
    try:
        assert access.may(alice, fd, READ | ENTER)
        assert not access.may(alice, fd, WRITE)
        assert access.may(alice, result, READ)
        assert not access.may(alice, result, WRITE)
        assert access.may(team, result, READ)
        assert not access.may(bob, result, READ)
        assert not access.may(bob, fd, ENTER)
        assert not access.may(alice, work, ENTER), "a directory made with 0700 hands nothing on"
        assert stat.S_IMODE(os.fstat(result).st_mode) & 0o022 == 0, (
            "what is ours does not look as if others could write"
        )
    finally:
        for each in (fd, result, work):
            os.close(each)


@pytest.mark.parametrize(
    ("listed", "closed"),
    [
        ([Entry(USER_OBJ, 7), Entry(GROUP_OBJ, 0), Entry(GROUP, 5, TEAM), Entry(MASK, 7), Entry(OTHER, 0)], True),
        ([Entry(USER_OBJ, 7), Entry(GROUP_OBJ, 0), Entry(GROUP, 7, TEAM), Entry(MASK, 7), Entry(OTHER, 0)], False),
        ([Entry(USER_OBJ, 7), Entry(GROUP_OBJ, 0), Entry(USER, 4, BOB), Entry(MASK, 5), Entry(OTHER, 0)], False),
        ([Entry(USER_OBJ, 7), Entry(GROUP_OBJ, 4), Entry(OTHER, 0)], False),
        ([Entry(USER_OBJ, 7), Entry(GROUP_OBJ, 0), Entry(OTHER, 1)], False),
        ([Entry(USER_OBJ, 7), Entry(GROUP_OBJ, 0), Entry(OTHER, 0)], True),
    ],
)
def test_what_is_more_open_than_its_directory_hands_down_is_told(shared, listed, closed):
    path = shared / "file"
    path.touch(mode=0o666)
    handed_down = access.entries(shared, access.DEFAULT)
    assert access.as_closed(path, handed_down), "what is made there is"
    os.setxattr(path, access.ACCESS, access.pack(listed))
    assert access.as_closed(path, handed_down) == closed


def test_twice_is_once(shared):
    fd = opened(shared)
    try:
        access.let_read(fd, ALICE)
        once = os.getxattr(fd, access.DEFAULT)
        access.let_read(fd, ALICE)
        assert os.getxattr(fd, access.DEFAULT) == once
    finally:
        os.close(fd)


def test_a_tree_of_one_person_stays_as_it_is(tmp_path):
    fd = opened(tmp_path)
    try:
        assert not access.let_read(fd, ALICE)
        assert access.entries(fd) == []
    finally:
        os.close(fd)
