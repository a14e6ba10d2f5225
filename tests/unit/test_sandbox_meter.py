"""Which control group a shim reads, and which of its lines, in both versions of control groups."""

import os

import pytest

from repairlab.sandbox import meter

VERSION_1 = ("5:memory:/unit\n4:pids:/unit\n1:name=systemd:/unit\n0::/\n", "memory/unit", "memory.oom_control")
VERSION_2 = ("0::/unit\n", "unit", "memory.events")
# A group that was just made has nothing yet; version 1 tells of itself and, with what is below it, of the whole.
STAT_1 = "cache 9\nrss {0}\nshmem {0}\ntotal_rss {0}\ntotal_shmem {0}\n"
STAT_2 = "anon {0}\nfile 9\nshmem {0}\n"


@pytest.fixture
def group(tmp_path):
    def made(version, members):
        lines, at, events = version
        (tmp_path / at).mkdir(parents=True)
        (tmp_path / at / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in members))
        (tmp_path / at / "memory.stat").write_text("")
        (tmp_path / "membership").write_text(lines)
        return tmp_path / at, events, meter._group(str(tmp_path), str(tmp_path / "membership"))

    return made


@pytest.mark.parametrize(("version", "stat"), [(VERSION_1, STAT_1), (VERSION_2, STAT_2)], ids=["1", "2"])
def test_a_group_of_ones_own_is_read_the_way_of_its_version_from_its_first_byte(group, version, stat):
    at, events, (found, held, counted) = group(version, [os.getpid()])
    assert (found, counted) == (str(at), events)
    for size in (0, 7):
        (at / "memory.stat").write_text(stat.format(size))
        with (at / "memory.stat").open("rb") as file:
            assert meter._number(file.fileno(), held) == 2 * size


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2], ids=["1", "2"])
def test_a_group_that_is_shared_says_nothing_of_one(group, version):
    assert group(version, [1, os.getpid()])[-1] is None
