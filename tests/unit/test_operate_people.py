"""The doctor finds whatever keeps submitters from being kept apart: a lost list, an entry that is wider open."""

import os

import pytest

from repairlab import access
from repairlab.access import GROUP_OBJ, MASK, OTHER, USER, USER_OBJ, Entry
from repairlab.operate.app import App
from repairlab.operate.checks import Status
from repairlab.operate.checks.people import sharing
from repairlab.spool import Spool

SERVICE = 54399
QUEUES = ("spool/repair", "spool/specs")
PLACES = [*(f"{queue}{below}" for queue in QUEUES for below in ("", "/tmp", "/active")), "bundles"]
ENTRIES = ["spool/repair/handoff-1.json", "spool/specs/spec-1.json", "spool/repair/tmp/staged", "bundles/one"]


@pytest.fixture
def root(tmp_path):
    """A state directory that several people share, with a waiting file, a staged one and a bundle."""
    for queue in QUEUES:
        Spool(tmp_path / queue).create()
    (tmp_path / "bundles").mkdir()
    if not access.supported(tmp_path):
        pytest.skip("no ACLs on the file system of the tests")
    listed = [Entry(USER_OBJ, 7), Entry(USER, 7, SERVICE), Entry(GROUP_OBJ, 0), Entry(MASK, 7), Entry(OTHER, 0)]
    for place in PLACES:
        os.setxattr(tmp_path / place, access.DEFAULT, access.pack(listed))
    for queue in QUEUES:
        (tmp_path / queue).chmod(0o3770)
    for path in ENTRIES:
        (tmp_path / path).touch(mode=0o644)
    (tmp_path / "bundles/link").symlink_to("/etc/passwd")
    return tmp_path


def amiss(root) -> list[str]:
    return [check.why for check in sharing(App(root)) if check.name == "people" and check.status is not Status.OK]


def test_a_tree_in_order_is_ok(root):
    assert [check.status for check in sharing(App(root))][:1] == [Status.OK]
    assert amiss(root) == []


@pytest.mark.parametrize("place", PLACES)
def test_each_directory_that_has_lost_its_list_is_named(root, place):
    os.removexattr(root / place, access.DEFAULT)
    [why] = amiss(root)
    assert f"{root / place} is shared without ACLs" in why


@pytest.mark.parametrize("path", ENTRIES)
@pytest.mark.parametrize("how", ["others may read", "its list is lost"])
def test_an_entry_that_is_wider_open_than_its_directory_says_is_named(root, path, how):
    if how == "its list is lost":
        os.removexattr(root / path, access.ACCESS)
    else:
        (root / path).chmod(0o644)
    [why] = amiss(root)
    assert "others may read 1 of" in why
    assert path.rpartition("/")[2] in why


def test_a_tree_of_one_person_is_not_asked_for_lists(root):
    for queue in QUEUES:
        (root / queue).chmod(0o700)
    assert list(sharing(App(root))) == []
