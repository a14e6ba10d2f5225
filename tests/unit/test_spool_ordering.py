"""Which file systems are believed to keep the order of changes, and what an order costs where they do and do not."""

import os
from pathlib import Path

import pytest

from repairlab.spool import ordering
from repairlab.spool.disk import Disk
from repairlab.spool.ordering import keeps_order

EXT4 = "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard"


@pytest.mark.parametrize(
    ("mount", "ordered"),
    [
        (EXT4, True),
        (EXT4 + ",journal_async_commit", False),
        (EXT4 + ",nobarrier", False),
        (EXT4.replace("ext4", "ext3"), False),
        (EXT4.replace("ext4", "btrfs"), False),
        ("40 1 0:44 / /mnt rw - overlay overlay rw,lowerdir=/a,upperdir=/b", False),
    ],
)
def test_only_ext4_with_its_ordinary_barriers_is_believed(mount: str, ordered: bool) -> None:
    assert ordering._ordered(mount) is ordered


def test_what_cannot_be_asked_keeps_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "_MOUNTS", str(tmp_path / "none"))
    assert not keeps_order(str(tmp_path))
    (tmp_path / "mounts").write_text(EXT4.replace("254:0", "4095:1048575") + "\n")
    monkeypatch.setattr(ordering, "_MOUNTS", str(tmp_path / "mounts"))
    assert not keeps_order(str(tmp_path / "not" / "yet")), "another device's journal says nothing"


def test_memory_keeps_nothing() -> None:
    assert not keeps_order("/dev/shm")


@pytest.mark.parametrize("ordered", [True, False])
def test_an_order_is_a_flush_only_where_the_file_system_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ordered: bool
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    disk = Disk(ordered=ordered)
    disk.replace("x", str(tmp_path / "name"), b"bytes", sync=True)
    disk.order_directory("x", str(tmp_path))
    assert (tmp_path / "name").read_bytes() == b"bytes"
    assert len(flushed) == (0 if ordered else 2)
    disk.sync_directory("x", str(tmp_path))
    assert len(flushed) == (1 if ordered else 3)


def test_an_order_that_fails_says_why() -> None:
    read, write = os.pipe()
    try:
        with pytest.raises(OSError, match="Illegal seek"):
            Disk(ordered=True).order("x", write)
    finally:
        os.close(read)
        os.close(write)
