"""Which file systems are believed to keep the order of changes, and what an order costs where they do and do not."""

import os
from pathlib import Path

import pytest

from repairlab.spool import ordering
from repairlab.spool.disk import Disk
from repairlab.spool.ordering import keeps_order

EXT4 = "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard"


@pytest.mark.parametrize(
    ("mount", "kind"),
    [
        (EXT4, "ext4"),
        (EXT4 + ",journal_async_commit", ""),
        (EXT4 + ",nobarrier", ""),
        (EXT4.replace("ext4", "xfs") + ",rtdev=/dev/sdb", ""),
        (EXT4.replace("ext4", "xfs") + ",logdev=/dev/sdb", ""),
        (EXT4.replace("ext4", "ext3"), "ext3"),
        (EXT4.replace("ext4", "xfs"), "xfs"),
        ("40 1 0:44 / /mnt rw - overlay overlay rw,lowerdir=/a,upperdir=/b", "overlay"),
    ],
)
def test_a_mount_has_a_kind_where_its_barriers_are_the_ordinary_ones(mount: str, kind: str) -> None:
    assert ordering._kind(mount) == kind


def test_what_cannot_be_asked_keeps_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "_MOUNTS", str(tmp_path / "none"))
    assert not keeps_order(str(tmp_path))
    (tmp_path / "mounts").write_text(EXT4.replace("254:0", "4095:1048575") + "\n")
    monkeypatch.setattr(ordering, "_MOUNTS", str(tmp_path / "mounts"))
    assert not keeps_order(str(tmp_path / "not" / "yet")), "another device's journal says nothing"


@pytest.mark.parametrize(("kind", "ordered"), [("xfs", True), ("btrfs", False), ("overlay", False), ("ext3", False)])
def test_beside_ext4_only_xfs_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, ordered: bool
) -> None:
    device = tmp_path.stat().st_dev
    mount = EXT4.replace("254:0", f"{os.major(device)}:{os.minor(device)}").replace("ext4", kind)
    (tmp_path / "mounts").write_text(mount + "\n")
    monkeypatch.setattr(ordering, "_MOUNTS", str(tmp_path / "mounts"))
    assert keeps_order(str(tmp_path / "not" / "yet")) is ordered
    monkeypatch.setattr("repairlab.spool.ordering.platform.release", lambda: "5.1.0-old")
    assert not keeps_order(str(tmp_path))


@pytest.mark.parametrize("ordered", [True, False])
def test_an_order_is_a_flush_only_where_the_file_system_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ordered: bool
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    disk = Disk(ordered=ordered)
    disk.replace("x", str(tmp_path / "name"), b"bytes", sync=True)
    disk.order_path("x", str(tmp_path))
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
