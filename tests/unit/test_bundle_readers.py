"""A bundle is read in the name of who handed it in: the service is no way to what he may not read himself."""

import os
import tempfile
from pathlib import Path

import pytest

from repairlab import access
from repairlab.access import GROUP_OBJ, MASK, OTHER, USER, USER_OBJ, Entry, Person
from repairlab.errors import BadInput
from repairlab.sandbox.bundle import remove_tree, snapshot

ALICE, BOB, TEAM = 54322, 54323, 54331
pytestmark = pytest.mark.root


@pytest.fixture
def top():
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    remove_tree(path)


@pytest.fixture
def store(top):
    return top / "store"


@pytest.fixture
def source(top):
    """A bundle of alice's, closed to others: below in/, which anyone may enter."""
    path = top / "in/home/project"
    (path / "pkg").mkdir(parents=True)
    (path / "code.py").write_text("x = 1\n")
    (path / "pkg/more.py").write_text("y = 2\n")
    for each in (top / "in/home", path, *path.rglob("*")):
        os.chown(each, ALICE, ALICE)
        each.chmod(0o700 if each.is_dir() else 0o600)
    return path


def freeze(source, store, uid, groups=()):
    roots = [store.parent / "in", store]
    return snapshot(source, roots=roots, store=store, reader=Person(uid, frozenset(groups)))


def open_up(source):
    for each in (source.parent, source, *source.rglob("*")):
        each.chmod(0o755 if each.is_dir() else 0o644)


def test_an_owner_hands_in_what_is_closed_to_all_others(source, store):
    assert freeze(source, store, ALICE).files == 2


def test_another_person_is_refused_with_field_and_fix(source, store):
    with pytest.raises(BadInput) as caught:
        freeze(source, store, BOB)
    assert caught.value.field == "bundle_dir"
    assert f"not readable for uid {BOB}" in caught.value.message
    assert "repairlab submit" in caught.value.fix
    assert not store.exists() or not list(store.iterdir())


def test_what_everybody_may_read_everybody_may_hand_in(source, store):
    open_up(source)
    assert freeze(source, store, BOB).files == 2


@pytest.mark.parametrize("closed", ["..", ".", "pkg", "code.py", "pkg/more.py"])
def test_one_closed_part_closes_the_bundle(source, store, closed):
    open_up(source)
    part = source / closed
    part.chmod(part.stat().st_mode & 0o770)
    whose = "" if closed in ("..", ".") else f"belongs to uid {ALICE} and is "  # which he sees in a directory's listing
    with pytest.raises(BadInput, match=f"{whose}not readable for uid {BOB}"):
        freeze(source, store, BOB)
    # Control: nothing but that is amiss.
    assert freeze(source, store, ALICE).files == 2


@pytest.mark.parametrize("above", ["in", "."])
def test_a_root_that_is_closed_to_him_closes_all_that_is_in_it(source, store, top, above):
    open_up(source)
    assert freeze(source, store, BOB).files == 2, "the control"
    (top / above).chmod(0o700)
    with pytest.raises(BadInput, match=f"not readable for uid {BOB}"):
        freeze(source, store, BOB)


def test_a_directory_of_a_team_is_for_its_members(source, store):
    for each in (source.parent, source, *source.rglob("*")):
        os.chown(each, ALICE, TEAM)
        each.chmod(0o750 if each.is_dir() else 0o640)
    assert freeze(source, store, BOB, {TEAM}).files == 2
    with pytest.raises(BadInput):
        freeze(source, store, BOB)


def test_a_list_that_lets_the_service_in_lets_nobody_else_in(source, store):
    service = [Entry(USER_OBJ, 7), Entry(USER, 5, 54399), Entry(GROUP_OBJ, 0), Entry(MASK, 5), Entry(OTHER, 0)]
    for each in (source.parent, source, *source.rglob("*")):
        os.setxattr(each, access.ACCESS, access.pack(service))
    with pytest.raises(BadInput):
        freeze(source, store, BOB)
    assert freeze(source, store, 54399).files == 2


def test_a_copy_in_a_shared_store_is_the_services_alone(source, store):
    """Who knows the digest of another's code, from a log say, gets nothing by naming the frozen copy."""
    store.mkdir(mode=0o755)
    handed_down = [Entry(USER_OBJ, 7), Entry(GROUP_OBJ, 0), Entry(MASK, 7), Entry(OTHER, 0)]
    os.setxattr(store, access.DEFAULT, access.pack([*handed_down, Entry(USER, 7, os.geteuid())]))
    frozen = freeze(source, store, ALICE)
    for uid in (BOB, ALICE):
        with pytest.raises(BadInput, match="not readable"):
            freeze(frozen.path, store, uid)
    assert {path.stat().st_mode & 0o007 for path in (frozen.path, *frozen.path.rglob("*"))} == {0}
    # Control: without the list copies are everybody's, as in a tree of one person.
    os.removexattr(store, access.DEFAULT)
    (source / "code.py").write_text("x = 3\n")
    assert freeze(freeze(source, store, ALICE).path, store, BOB).files == 2


@pytest.mark.parametrize("lost", ["the list came later", "a backup left the lists out"])
def test_a_copy_that_others_could_read_is_replaced_when_it_is_used_again(source, store, lost):
    """As from before there were lists: its mode lets all in, or, where the bits were the mask of a list, the group."""
    store.mkdir(mode=0o755)
    handed_down = [Entry(USER_OBJ, 7), Entry(GROUP_OBJ, 0), Entry(MASK, 7), Entry(OTHER, 0)]
    listed = access.pack([*handed_down, Entry(USER, 7, os.geteuid())])
    if lost == "the list came later":
        old = freeze(source, store, ALICE).path
        assert old.stat().st_mode & 0o005 == 0o005
    else:
        os.setxattr(store, access.DEFAULT, listed)
        old = freeze(source, store, ALICE).path
        for each in (old, *old.rglob("*")):
            os.removexattr(each, access.ACCESS)
            each.chmod(each.stat().st_mode | 0o050)  # as an earlier release froze them
    before = old.stat().st_ino
    os.setxattr(store, access.DEFAULT, listed)
    again = freeze(source, store, ALICE).path
    assert again == old
    assert again.stat().st_ino != before
    for uid, groups in ((ALICE, set()), (BOB, {again.stat().st_gid, old.parent.stat().st_gid})):
        with pytest.raises(BadInput, match="not readable"):
            freeze(again, store, uid, groups)
    kept = again.stat().st_ino
    assert freeze(source, store, ALICE).path.stat().st_ino == kept, "a closed one is kept"


@pytest.mark.parametrize("owner", [0, 54399], ids=["the service's own", "a submitter's"])
def test_a_copy_that_loses_its_list_is_not_thrown_open_to_all_submitters(source, store, owner):
    store.mkdir(mode=0o755)
    os.chown(store, owner, TEAM)
    store.chmod(0o2770)
    handed_down = [Entry(USER_OBJ, 7), Entry(GROUP_OBJ, 0), Entry(MASK, 7), Entry(OTHER, 0)]
    os.setxattr(store, access.DEFAULT, access.pack([*handed_down, Entry(USER, 7, 54399)]))
    frozen = freeze(source, store, ALICE).path
    (store / "control").touch(mode=0o660)
    member = Person(BOB, frozenset({TEAM}))
    for path in (store / "control", frozen, *frozen.rglob("*")):
        os.removexattr(path, access.ACCESS)
        fd = os.open(path, os.O_RDONLY)
        try:
            assert access.may(member, fd, access.READ) == (path.name == "control"), path
        finally:
            os.close(fd)


def answer(source, store):
    with pytest.raises(BadInput) as caught:
        freeze(source, store, BOB)
    return str(caught.value).replace(str(source), "SOURCE")


def test_what_he_may_not_see_is_answered_like_what_is_not_there(source, store, top):
    """Or the service would tell him what is in directories that he cannot list."""
    (source / "out").symlink_to("/etc")
    (source / "loop").symlink_to("loop")
    closed, missing = source.parent, top / "in/home-of-nobody"
    there = [closed, source, *(source / name for name in ("pkg", "code.py", "out", "loop")), top / "in/file"]
    (top / "in/file").touch()
    answers = {
        answer(path, store) for path in (*there, missing, missing / "pkg", closed / "missing", source / "missing")
    }
    assert len(answers) == 1
    assert str(ALICE) not in answers.pop()
    assert "outside the roots" in answer(top / "elsewhere", store), "what is written so can be told so"


class Asked:
    """A person who does something when he is asked for: the moment between opening a directory and using it."""

    groups = frozenset()

    def __init__(self, uid, act):
        self._uid, self._act = uid, act

    @property
    def uid(self):
        self._act()
        return self._uid


@pytest.mark.parametrize("race", [True, False])
def test_a_path_that_is_swapped_after_it_was_opened_leads_to_nothing_else(source, store, top, race):
    """His own directory is opened and asked about; a moment later its path leads to a copy that is not for him."""
    frozen = freeze(source, store, ALICE).path
    for each in (frozen, *frozen.rglob("*")):
        each.chmod(0o500 if each.is_dir() else 0o400)
    mine, link = top / "in/mine", top / "in/link"
    mine.mkdir()
    (mine / "code.py").write_text("x = 'of bob'\n")
    link.symlink_to(frozen)

    def swap():
        if race and not mine.is_symlink():
            mine.rename(top / "in/away")
            link.rename(mine)

    got = snapshot(mine, roots=[top / "in", store], store=store, reader=Asked(BOB, swap))
    assert mine.is_symlink() is race
    assert got.path != frozen
    assert (got.path / "code.py").read_text() == "x = 'of bob'\n"
    with pytest.raises(BadInput):  # the control: the link alone is refused
        freeze(mine if race else link, store, BOB)


def test_a_chain_of_links_without_end_is_refused(source, store, top):
    for number in range(1500):
        (top / f"in/{number}").symlink_to(f"{number + 1}")
    with pytest.raises(BadInput, match="too many links"):
        freeze(top / "in/0", store, BOB)
