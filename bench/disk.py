"""bench/disk: a real file system on a disk whose cache forgets at a power cut, for benches and tests.

    with Disk(size_mb=512, flush_ms=1.0) as disk:
        …                       # ext4 at disk.path
        disk.cut(share=0.5)     # the power is gone: every write and flush of before fails from now on
        …                       # end your processes: they would not have outlived it either
        disk.boot()             # what was safe, and a random half of what was not, is mounted: the journal is replayed

The disk is the one file of a FUSE file system (bench/volatile.py), a loop device is attached to that file, ext4 (or,
with `kind`, xfs or btrfs) is on the loop device. A flush takes `flush_ms` and makes safe what was written before it;
nothing else does. An fsync is two flushes, as on every disk without FUA: one before the journal's commit block, one
after it. A small disk gets a small journal; once that is full each change waits until room is made in it, two flushes
more, and a rename between directories keeps all others waiting meanwhile: `journal_mb` gives a bench the journal of a
large one. See docs/decisions/0821.

Mounts are made in a mount namespace of this process, which the first Disk makes: call it before there are threads, and
know that only this process and what it starts afterwards sees the disk. When all of them are gone, by SIGKILL too, the
kernel takes the mounts and the loop device away, and the server ends with its stdin. Needs root, /dev/fuse and a loop
device (`impossible` says what is missing).
"""

import argparse
import ctypes
import errno
import fcntl
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

TOOLS = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS = 0x20000
MS_NOSUID, MS_NODEV, MS_NOATIME, MS_REC, MS_SLAVE = 2, 4, 1024, 16384, 1 << 19
MNT_DETACH = 2
LOOP_CTL_GET_FREE, LOOP_CONFIGURE = 0x4C82, 0x4C0A
AUTOCLEAR, DIRECT_IO = 4, 16
CAP_SYS_ADMIN = 21


@dataclass(frozen=True)
class Kind:
    """A file system: how it is made, mounted and checked, all on an image that is zero as it is.

    `sector`: so many bytes a cut tears no write into. btrfs takes for granted that its superblock is not torn.
    """

    make: Sequence[str]
    options: str
    check: Sequence[str]
    package: str
    sector: int = 4096


KINDS = {
    "ext4": Kind(
        ("mkfs.ext4", "-q", "-F", "-i", "4096", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"),
        "noinit_itable",
        ("fsck.ext4", "-f", "-n"),
        "e2fsprogs",
        512,
    ),
    # nouuid: what was not yet let go of before a cut has the same one
    "xfs": Kind(("mkfs.xfs", "-q", "-f", "-K"), "nouuid", ("xfs_repair", "-n"), "xfsprogs"),
    "btrfs": Kind(("mkfs.btrfs", "-q", "-f", "-K"), "", ("btrfs", "check"), "btrfs-progs"),
}


def impossible(kind: str = "ext4") -> str | None:
    """Return why there can be no disk here."""
    if os.geteuid() != 0:
        return "a disk needs root, to mount it"
    bounding = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    if not int(bounding.split()[1], 16) >> CAP_SYS_ADMIN & 1:
        return "a disk needs CAP_SYS_ADMIN, to mount it"
    if missing := [device for device in ("/dev/fuse", "/dev/loop-control") if not os.path.exists(device)]:
        return f"a disk needs {' and '.join(missing)}"
    wanted = KINDS[kind]
    if missing := [tool for tool in (wanted.make[0], wanted.check[0]) if not shutil.which(tool, path=TOOLS)]:
        return f"a disk needs {' and '.join(missing)} (Debian: {wanted.package})"
    if f"\t{kind}\n" not in Path("/proc/filesystems").read_text():
        return f"this kernel has no {kind}"
    return None


class Disk:
    """A disk, from its making to the end of the block; `path` is where it is mounted."""

    def __init__(
        self, *, size_mb: int = 512, flush_ms: float = 1.0, seed: int = 0, kind: str = "ext4", journal_mb: int = 0
    ) -> None:
        if reason := impossible(kind):
            raise RuntimeError(reason)
        self.kind = kind
        outside = _own_mounts()
        self.image = os.memfd_create("disk")
        os.ftruncate(self.image, size_mb << 20)
        journal = ("-J", f"size={journal_mb}") if journal_mb and kind == "ext4" else ()
        _run(*KINDS[kind].make, *journal, self._image_path)
        scratch = tempfile.mkdtemp(prefix="repairlab-disk-")
        self.path = Path(scratch, "mnt")
        self.path.mkdir()
        self._file = Path(scratch, "disk")
        self._file.touch()
        fuse = os.open("/dev/fuse", os.O_RDWR)
        _mount(
            "repairlab-disk",
            self._file,
            "fuse",
            MS_NOSUID | MS_NODEV,
            f"fd={fuse},rootmode=100600,user_id=0,group_id=0",
        )
        server = [sys.executable, "-IS", str(Path(__file__).with_name("volatile.py"))]
        self._server = subprocess.Popen(
            [
                *server,
                str(fuse),
                str(self.image),
                str(outside),
                scratch,
                str(flush_ms),
                str(seed),
                str(KINDS[kind].sector),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[fuse, self.image, outside],
            start_new_session=True,  # an operator's ^C ends us, and us alone
        )
        os.close(fuse)

    @property
    def _image_path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.image}"

    def told(self, do: str = "tell", **words: Any) -> dict[str, int]:
        """Return how many writes are not safe, and how many writes and flushes there were."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps({"do": do, **words}).encode() + b"\n")
        self._server.stdin.flush()
        if not (line := self._server.stdout.readline()):
            raise RuntimeError("the disk's server has died")
        told: dict[str, int] = json.loads(line)
        return told

    def cut(self, share: float = 0.0) -> int:
        """Cut the power; return how many writes were not safe. Of these about `share` survive, others in parts."""
        return self.told("cut", share=share)["waiting"]

    def refuse(self, what: str = "") -> None:
        """Let every write fail that has these bytes in it, "" lets all succeed again."""
        self.told("refuse", what=what)

    def boot(self, *, check: bool = True) -> None:
        """Mount what is left, once fsck finds nothing in it. Whoever still is on the old file system has lost it."""
        self._unmount()
        if check:
            self._attach_and_mount()  # replays the journal
            self._unmount()
            _run(*KINDS[self.kind].check, self._image_path)
        self._attach_and_mount()

    def _attach_and_mount(self) -> None:
        loop, device = _attached(self._file)
        try:
            _mount(device, self.path, self.kind, MS_NOSUID | MS_NODEV | MS_NOATIME, KINDS[self.kind].options)
        finally:
            os.close(loop)  # from now on the mount keeps it

    def _unmount(self) -> None:
        if os.path.ismount(self.path):
            _umount(self.path)

    def __enter__(self) -> Self:
        try:
            self._attach_and_mount()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._unmount()
        _umount(self._file)
        self._server.communicate()  # its stdin ends, and with that the server
        os.close(self.image)


@cache
def _own_mounts() -> int:
    """Leave the mount namespace of our parent; return a descriptor of that one."""
    outside = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    _checked(LIBC.unshare(CLONE_NEWNS), "unshare(CLONE_NEWNS)")
    # What is unmounted outside must not be kept busy by us; what we mount must not be seen there.
    _mount("none", Path("/"), "none", MS_REC | MS_SLAVE, "")
    return outside


def _attached(file: Path) -> tuple[int, str]:
    """Attach a free loop device to the file until its last user is gone; return a descriptor and its name."""
    control = os.open("/dev/loop-control", os.O_RDWR)
    backing = os.open(file, os.O_RDWR)
    try:
        while True:
            number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
            device = f"/dev/loop{number}"
            if not os.path.exists(device):  # in a container without devtmpfs
                os.mknod(device, stat.S_IFBLK | 0o600, os.makedev(7, number))
            loop = os.open(device, os.O_RDWR)
            config = struct.pack("<II5Q4I176x64x", backing, 0, 0, 0, 0, 0, 0, 0, 0, 0, AUTOCLEAR | DIRECT_IO)
            try:
                fcntl.ioctl(loop, LOOP_CONFIGURE, config)
            except OSError as error:
                os.close(loop)
                if error.errno != errno.EBUSY:  # somebody else was quicker
                    raise
            else:
                return loop, device
    finally:
        os.close(backing)
        os.close(control)


def _mount(source: str, target: Path, kind: str, flags: int, options: str) -> None:
    words = [word.encode() for word in (source, str(target), kind)]
    _checked(LIBC.mount(*words, ctypes.c_ulong(flags), options.encode()), f"mount {source} on {target}")


def _umount(target: Path) -> None:
    _checked(LIBC.umount2(str(target).encode(), MNT_DETACH), f"umount {target}")


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _run(tool: str, *arguments: str) -> None:
    found = shutil.which(tool, path=TOOLS)
    assert found is not None
    ended = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"{tool} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a command in a directory of such a disk.")
    parser.add_argument("--flush-ms", type=float, default=1.0)
    parser.add_argument("--size-mb", type=int, default=512)
    parser.add_argument("--journal-mb", type=int, default=0, help="of ext4 (default: as mkfs makes it for that size)")
    parser.add_argument("--kind", choices=KINDS, default="ext4")
    parser.add_argument("command", nargs="+", help="a {} in it becomes the directory")
    options = parser.parse_args()
    journal_mb = options.journal_mb
    with Disk(size_mb=options.size_mb, flush_ms=options.flush_ms, kind=options.kind, journal_mb=journal_mb) as disk:
        command = [word.replace("{}", str(disk.path)) for word in options.command]
        return subprocess.run(command, cwd=disk.path, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
