"""bench/disk.py is a disk that forgets: what was flushed outlives a power cut, and nothing else has to.

Each test is a program of its own, since a disk takes its process to another mount namespace.
"""

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import disk
import pytest

BENCH = Path(disk.__file__).parent
BLOCK = 4096
BEGIN = """
    import json, mmap, os, sys, time
    sys.path.insert(0, sys.argv[1])
    from disk import Disk
    def told(**words): print(json.dumps(words), flush=True)
    def raw(path, byte, blocks):
        "Write each block past the page cache: it is in the cache of the disk then."
        block = mmap.mmap(-1, 4096)
        block.write(byte * 4096)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
        for number in range(blocks): os.pwrite(fd, block, number * 4096)
        return fd
"""


@pytest.fixture(autouse=True)
def _possible() -> None:
    if reason := disk.impossible():
        pytest.skip(reason)


def program(body: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(BEGIN) + textwrap.dedent(body), str(BENCH)]


def ran(body: str) -> dict:
    ended = subprocess.run(program(body), capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def generation(device: int) -> str:
    """A number that a loop device changes when it is attached, and when it is detached."""
    return Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/diskseq").read_text()


def test_what_was_flushed_outlives_the_power_and_what_only_reached_the_disk_does_not():
    seen = ran("""
        with Disk(size_mb=64) as disk:
            file = disk.path / "file"
            os.fsync(raw(file, b"a", 8))
            os.sync()
            raw(file, b"b", 8)
            before = file.read_bytes()[0]
            waiting = disk.cut()
            disk.boot()
            first = file.read_bytes()
            os.fsync(raw(file, b"c", 8))
            disk.cut()
            disk.boot()
            told(before=before, waiting=waiting, first=sorted(set(first)), second=sorted(set(file.read_bytes())))
    """)
    assert seen["waiting"] >= 8
    assert seen["before"] == ord("b"), "whoever reads sees it before it is safe"
    assert seen["first"] == [ord("a")]
    assert seen["second"] == [ord("c")]


def test_a_random_part_of_what_was_not_flushed_survives_and_some_of_it_torn():
    seen = ran("""
        with Disk(size_mb=64, seed=1) as disk:
            file = disk.path / "file"
            os.fsync(raw(file, b"a", 256))
            raw(file, b"b", 256)
            disk.cut(share=0.4)
            disk.boot()
            data = file.read_bytes()
            told(kinds=sorted("".join(sorted({chr(byte) for byte in data[at : at + 4096]}))
                              for at in range(0, len(data), 4096)))
    """)
    counts = [seen["kinds"].count(kind) for kind in ("a", "b", "ab")]
    assert sum(counts) == 256
    assert all(count > 20 for count in counts), counts


def test_a_name_that_nobody_synced_is_gone_after_a_cut():
    seen = ran("""
        with Disk(size_mb=64) as disk:
            (disk.path / "kept").touch()
            os.sync()
            (disk.path / "gone").touch()
            disk.cut()
            disk.boot()
            told(names=sorted(os.listdir(disk.path)))
    """)
    assert seen["names"] == ["kept", "lost+found"]


def test_nothing_is_acknowledged_after_the_power_was_cut():
    seen = ran("""
        with Disk(size_mb=64) as disk:
            fd = raw(disk.path / "file", b"a", 1)
            disk.cut()
            try:
                os.fsync(fd)
            except OSError as error:
                first = error.errno
            disk.boot()
            try:  # whoever is left over from before the cut cannot write to the disk of after it
                os.fsync(raw(f"/proc/self/fd/{fd}", b"b", 1))
            except OSError as error:
                told(first=first, second=error.errno, names=sorted(os.listdir(disk.path)))
    """)
    assert seen["first"] == 5, "EIO"
    assert seen["second"] in (5, 30), "EIO or EROFS"
    assert seen["names"] == ["lost+found"]


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize(("sync", "size"), [(True, 300), (False, 0)])
def test_bytes_that_were_ordered_before_their_name_are_whole_wherever_the_name_is(sync: bool, size: int, kind: str):
    """Somebody else's fsync commits the name; without the order, which is the control, it has no bytes."""
    seen = ran(f"""
        from repairlab.spool.disk import Disk as Files
        from repairlab.spool.ordering import keeps_order
        with Disk(size_mb=512, kind="{kind}") as disk:
            before = disk.told()["flushes"]
            Files(ordered=keeps_order(str(disk.path))).replace("x", str(disk.path / "name"), b"x" * 300, sync={sync})
            flushes = disk.told()["flushes"] - before
            other = os.open(disk.path / "other", os.O_WRONLY | os.O_CREAT)
            os.fsync(other)
            disk.cut()
            disk.boot()
            told(flushes=flushes, size=len((disk.path / "name").read_bytes()))
    """)
    assert seen == {"flushes": 0, "size": size}


def test_a_file_system_without_a_journal_keeps_no_order():
    seen = ran("""
        import subprocess
        from repairlab.spool.ordering import keeps_order
        with Disk(size_mb=128) as disk:
            image, at = disk.path / "image", disk.path / "at"
            at.mkdir()
            with image.open("wb") as file: file.truncate(32 << 20)
            subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", image], check=True)
            subprocess.run(["mount", "-o", "loop", image, at], check=True)
            with_one, without = keeps_order(str(disk.path / "not/yet")), keeps_order(str(at))
            subprocess.run(["umount", at], check=True)
            told(with_one=with_one, without=without)
    """)
    assert seen == {"with_one": True, "without": False}


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_document_is_put_and_a_job_ended_by_one_commit_each(kind: str):
    seen = ran(f"""
        from repairlab.spool import Spool
        with Disk(size_mb=512, kind="{kind}") as disk:
            spool = Spool(disk.path / "queue")
            spool.create()
            def flushes(): return disk.told()["flushes"]
            spool.publish(b'{{"n": 0}}')
            before = flushes()
            spool.publish(b'{{"n": 1}}')
            put = flushes()
            (claim,) = spool.claims(limit=1)
            claim.put("result.json", b"{{}}")
            taken = flushes()
            job = claim.finish()
            ended = flushes()
            os.fsync(os.open(disk.path / "other", os.O_WRONLY | os.O_CREAT))
            one = flushes() - ended
            disk.cut()
            disk.boot()
            told(commits=[(put - before) / one, (taken - put) / one, (ended - taken) / one],
                 states=sorted(str(job.state) for job in spool.jobs()),
                 result=open(os.path.join(job.path, "result.json")).read())
    """)
    assert seen == {"commits": [1, 0, 1], "states": ["ok", "waiting"], "result": "{}"}


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_document_that_the_disk_has_not_kept_is_not_believed_however_often_it_is_published(kind: str):
    """The kernel tells of a failed write once. The last publication is the control: the disk has kept that one."""
    seen = ran(f"""
        from repairlab.errors import RepairLabError
        from repairlab.spool import Spool
        document = b'{{"bundle_dir": "/b", "marked": "not to be written"}}'
        def published(name, durable=True):
            try: return spool.publish(document, name, durable=durable) and "believed"
            except RepairLabError as error: return type(error).__name__
        with Disk(size_mb=512, kind="{kind}") as disk:
            spool = Spool(disk.path / "queue")
            spool.create()
            os.sync()
            relaxed = published("handoff-1.json", durable=False)
            disk.refuse("not to be written")
            os.sync()
            disk.refuse()
            durable = [published("handoff-1.json") for _ in range(3)]
            published("handoff-2.json", durable=False)
            kept = published("handoff-2.json")
            disk.cut()
            disk.boot()
            told(relaxed=relaxed, durable=durable, kept=kept,
                 there=[(disk.path / "queue" / f"handoff-{{n}}.json").read_bytes() == document for n in (1, 2)])
    """)
    assert (seen["relaxed"], seen["kept"]) == ("believed", "believed")
    assert seen["there"] == [False, True]
    assert seen["durable"] == ["TemporaryFailure", "TemporaryFailure", "BadInput"], "by now its contents are others"


def test_a_flush_takes_its_time():
    seen = ran("""
        with Disk(size_mb=64, flush_ms=5) as disk:
            fd = raw(disk.path / "file", b"a", 1)
            before, began = disk.told()["flushes"], time.monotonic()
            for _ in range(20):
                os.pwrite(fd, mmap.mmap(-1, 4096), 0)
                os.fsync(fd)
            told(took_s=time.monotonic() - began, flushes=disk.told()["flushes"] - before)
    """)
    assert seen["flushes"] >= 20
    assert seen["took_s"] >= 20 * 0.005


def test_it_is_mounted_for_its_own_process_alone_and_leaves_nothing_behind_when_killed():
    body = """
        disk = Disk(size_mb=64).__enter__()
        raw(disk.path / "file", b"a", 64)
        told(path=str(disk.path), server=disk._server.pid, device=disk.path.stat().st_dev)
        time.sleep(600)
    """
    running = subprocess.Popen(program(body), stdout=subprocess.PIPE, text=True)
    try:
        seen = json.loads(running.stdout.readline())
        assert seen["path"] not in Path("/proc/self/mounts").read_text()
        server, attached = os.pidfd_open(seen["server"]), generation(seen["device"])
    finally:
        running.send_signal(signal.SIGKILL)
        running.communicate()
    assert select.select([server], [], [], 20)[0], "its server ends with it"
    os.close(server)
    assert not Path(seen["path"]).parent.exists()
    end = time.monotonic() + 20
    while generation(seen["device"]) == attached:  # nobody is told when a device is detached
        assert time.monotonic() < end, "its loop device is detached"
        time.sleep(0.02)
