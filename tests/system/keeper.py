"""keeper: own one container for the tests: its disk, its root file system, its control groups, its processes.

    unshare --mount --propagation=private --pid --fork --kill-child --mount-proc python keeper.py NAME HIDDEN…

NAME is the container's, HIDDEN are directories of this machine that it must not see (it gets empty ones instead).
Commands come on stdin, one JSON object a line, and each is answered by one on stdout:

    {"do": "boot"}                    → {"leader": PID}        its PID 1, here
    {"do": "cut"}                     → {"status": -9}         no signal that anything could act on, and the disk is as
                                                               after a power cut: what was not synced is gone
    {"do": "wait", "timeout_s": N}    → {"status": 133|0|null} the exit status of nspawn (133: rebooted, 0: powered off)

The end of stdin is the end of everything, so that a test run which is killed leaves nothing behind. It is PID 1 of a
namespace of its own: killed itself, it takes every process with it.

Files: all mounts are in this process's own mount namespace and go with it. /run is a file system of its own there, and
in it /run/lab/disk.img (ext4; the file system "/" of this machine is the lower, it the upper layer of /run/lab/root).
Where there is no loop device the upper layer is a plain tmpfs; then a power cut loses nothing, and says so (`disk`).
The one thing outside is a control group a hierarchy, named NAME; `sweep` removes those whose keeper is dead.

What was learnt the hard way, and stands in `nspawn` and INIT:
- `--keep-unit` puts the payload below the group that nspawn runs in, so each container needs a group of its own.
- With cgroup v1 nspawn mounts every controller but name=systemd read-only: limits of units are then ignored without a
  word. INIT makes them writable before systemd looks, so that no daemon-reexec is needed.
- nspawn covers parts of /proc. The kernel refuses a new /proc, which bubblewrap asks for, to a user namespace whose own
  view of it is covered; a real machine covers nothing. INIT uncovers them, and what writes to /proc/sys is masked. The
  price: the machine's own boot id is seen, so that a reboot does not change it.
- nspawn's seccomp filter hides landlock and makes units look safer than they are: SYSTEMD_SECCOMP=0.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LAB = Path("/run/lab")
ROOT = LAB / "root"
DISK = LAB / "disk"
PREFIX = "repairlab-lab-"
EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32), ext4(5): what xfstests calls `godown`
NO_LOG_FLUSH = struct.pack("I", 2)

# Of this machine's /etc and /usr/local nothing may leak in: neither units nor an installed RepairLab.
EMPTY = ["etc/systemd/system", "etc/systemd/user", "usr/local", "root", "home", "srv", "mnt", "media", "var/log"]
EMPTY += ["etc/repairlab", "var/lib/repairlab", "var/lib/systemd/timers", "var/lib/systemd/linger", "var/tmp"]
# They write to what a container shares with the machine.
MASKED = ["systemd-sysctl.service", "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount"]
MASKED += [
    "systemd-modules-load.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "console-getty.service",
]

INIT = """#!/bin/sh
for at in $(awk '$5 ~ "^/proc/" { print $5 }' /proc/self/mountinfo | sort -ur); do
    while umount "$at" 2>/dev/null; do :; done
done
for at in $(awk '$5 ~ "^/sys/fs/cgroup/" { print $5 }' /proc/self/mountinfo); do
    mount -o remount,bind,rw "$at"
done
exec /lib/systemd/systemd "$@"
"""
# Join every group named before "--", then become what stands after it.
JOIN = 'while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@"'


# --- control groups ---------------------------------------------------------------------------------------------------


def hierarchies() -> Iterator[tuple[Path, str]]:
    """Each mounted control group hierarchy: where a group for a container can be made, and the file system type."""
    ours = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        ours[frozenset(controllers.split(",")) - {""}] = path
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        at, (kind, _, options) = Path(left.split()[4]), right.split()
        if kind == "cgroup2":
            # With v2 a group that has processes cannot hand controllers down: ours would be a dead end.
            yield at, kind
        elif kind == "cgroup":
            names = next((key for key in ours if key and key <= set(options.split(","))), frozenset())
            below = at / ours.get(names, "/").lstrip("/")
            yield (below if below.is_dir() else at), kind


def make_groups(name: str) -> list[Path]:
    """One group a hierarchy, able to hold processes and to limit them."""
    made = []
    for parent, kind in hierarchies():
        group = parent / name
        if kind == "cgroup2":
            for controller in (parent / "cgroup.controllers").read_text().split():
                with contextlib.suppress(OSError):  # a controller that is not ours to hand down is not limited
                    (parent / "cgroup.subtree_control").write_text(f"+{controller}")
        group.mkdir()
        for inherited in ("cpuset.cpus", "cpuset.mems"):  # v1: a fresh group has none, and takes no process
            if kind == "cgroup" and (group / inherited).exists():
                (group / inherited).write_text((parent / inherited).read_text())
        made.append(group)
    return made


def remove_group(group: Path) -> None:
    """Remove a group and those below; the kernel may need a moment after the last process is reaped."""
    for directory, _, _ in os.walk(group, topdown=False):
        for _ in range(200):
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.01)
            else:
                break


def alive(name: str) -> bool:
    """Whether the keeper of this container still runs."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended between the two calls
            words = (process / "cmdline").read_bytes().split(b"\0")
            if name.encode() in words and any(word.endswith(b"keeper.py") for word in words):
                return True
    return False


def leftovers() -> list[Path]:
    """Groups whose keeper is dead."""
    return [at for parent, _ in hierarchies() for at in parent.glob(f"{PREFIX}*") if not alive(at.name)]


def sweep() -> None:
    """Remove what keepers that were killed left; to be called where all processes are seen."""
    for group in leftovers():
        remove_group(group)


# --- the root file system ---------------------------------------------------------------------------------------------


def call(*argv: str) -> bool:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False).returncode == 0


def need(*argv: str) -> None:
    if not call(*argv):
        raise SystemExit(f"keeper: failed: {' '.join(argv)}")


def mount_disk() -> bool:
    """Mount the container's disk, or a directory in its place; True if it is a disk."""
    return call("mount", "-o", "loop,errors=remount-ro", str(LAB / "disk.img"), str(DISK))


def make_disk() -> bool:
    """Make the upper layer's file system; True if it can lose its power."""
    need("mount", "-t", "tmpfs", "-o", "mode=755,size=4g", "tmpfs", "/run")
    for at in (ROOT, DISK):
        at.mkdir(parents=True)
    with (LAB / "disk.img").open("wb") as image:
        image.truncate(4 << 30)
    made = call(
        "mkfs.ext4", "-q", "-F", "-m0", "-E", "lazy_itable_init=1", "-O", "^resize_inode", str(LAB / "disk.img")
    )
    return made and mount_disk()


def cover(relative: str) -> None:
    """Put an empty directory over one of this machine, and what leads there with the same owner and mode."""
    at = DISK / "upper"
    for part in Path(relative).parts:
        at /= part
        if not at.exists():
            at.mkdir()
            original = Path("/", at.relative_to(DISK / "upper"))
            if original.exists():
                shutil.copystat(original, at)
                os.chown(at, original.stat().st_uid, original.stat().st_gid)
    os.setxattr(at, "trusted.overlay.opaque", b"y")


def make_tree(hidden: list[str]) -> None:
    """Lay out the upper layer before it is mounted over this machine's root."""
    upper = DISK / "upper"
    for at in (upper, DISK / "work"):
        at.mkdir()
    for relative in [*EMPTY, *(at.lstrip("/") for at in hidden)]:
        cover(relative)
    for unit in MASKED:
        (upper / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (upper / "etc/machine-id").write_text(os.urandom(16).hex() + "\n")
    (upper / "etc/hostname").write_text("lab\n")
    (upper / "etc/fstab").write_text("")  # this machine's file systems are not the container's
    (upper / "var/log/journal").mkdir()  # without it journals do not outlive a boot
    for directory in ("usr/local/bin", "usr/local/lib", "usr/local/share"):
        (upper / directory).mkdir(parents=True)
    (upper / "lab-init").write_text(INIT)
    (upper / "lab-init").chmod(0o755)
    (upper / "var/tmp").chmod(0o1777)
    os.sync()  # the machine has been there for years: no power cut takes away its start


def mount_tree() -> None:
    layers = f"lowerdir=/,upperdir={DISK}/upper,workdir={DISK}/work"
    need("mount", "-t", "overlay", "overlay", "-o", layers, str(ROOT))


# --- the container ----------------------------------------------------------------------------------------------------


def name_of(pid: int) -> str:
    """What a process calls itself, and nothing if it has ended since it was seen: nspawn starts some that are brief."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


class Container:
    """One machine that boots, loses its power, and boots again."""

    def __init__(self, name: str, hidden: list[str]) -> None:
        self.name = name
        self.nspawn: subprocess.Popen | None = None
        self.disk = make_disk()
        make_tree(hidden)
        mount_tree()
        self.groups = make_groups(name)

    def boot(self) -> dict:
        """Start nspawn; its child is PID 1 of the container as soon as that is systemd."""
        nspawn = ["setpriv", "--pdeathsig", "KILL", "env", "SYSTEMD_SECCOMP=0", "systemd-nspawn", "--quiet"]
        nspawn += ["-D", str(ROOT), "--register=no", "--keep-unit", "--private-network", "--link-journal=no"]
        nspawn += [f"--machine={self.name}", "--console=pipe", "--kill-signal=SIGRTMIN+3", "--", "/lab-init"]
        groups = map(str, self.groups)
        with (LAB / "console").open("ab") as console:
            self.nspawn = subprocess.Popen(
                ["sh", "-c", JOIN, "sh", *groups, "--", *nspawn],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
            )
        while self.nspawn.poll() is None:
            for pid in self.children():
                if name_of(pid) == "systemd":
                    return {"leader": pid}
            time.sleep(0.005)
        return {"leader": None, "console": (LAB / "console").read_text(errors="replace")}

    def children(self) -> list[int]:
        """The processes that nspawn has started."""
        try:
            return [
                int(pid) for pid in Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
            ]
        except (OSError, AttributeError):
            return []

    def cut(self) -> dict:
        """Stop every process at once, and the disk with them."""
        leader = self.children()
        self.nspawn.kill()
        for pid in leader:  # the namespace's init takes all others with it
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.disk:
            with contextlib.closing(Handle(DISK)) as disk:
                fcntl.ioctl(disk.fileno(), EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH)
        status = self.ended(None)
        self.remount()
        return {"status": status, "disk": self.disk}

    def ended(self, timeout_s: float | None) -> int | None:
        """Wait for nspawn and then for what it leaves to us, which holds the mounts until it is gone."""
        try:
            status = self.nspawn.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
        return status

    def remount(self) -> None:
        """Come back from what is on the disk: ext4 replays its journal."""
        need("umount", str(ROOT))
        if self.disk:
            need("umount", str(DISK))
            if not mount_disk():
                raise SystemExit("keeper: the disk could not be mounted again")
        mount_tree()

    def close(self) -> None:
        if self.nspawn is not None and self.nspawn.poll() is None:
            for pid in [*self.children(), self.nspawn.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.ended(None)
        for group in self.groups:
            remove_group(group)


class Handle:
    """A directory opened for an ioctl."""

    def __init__(self, at: Path) -> None:
        self.number = os.open(at, os.O_RDONLY | os.O_DIRECTORY)

    def fileno(self) -> int:
        return self.number

    def close(self) -> None:
        os.close(self.number)


def serve(container: Container) -> None:
    for line in sys.stdin:
        order = json.loads(line)
        match order["do"]:
            case "boot":
                answer = container.boot()
            case "cut":
                answer = container.cut()
            case "wait":
                answer = {"status": container.ended(order["timeout_s"])}
            case unknown:
                answer = {"error": f"unknown command {unknown}"}
        print(json.dumps(answer), flush=True)


def main(name: str, hidden: list[str]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the end of stdin ends it, in order
    container = Container(name, hidden)
    try:
        print(json.dumps({"disk": container.disk}), flush=True)
        serve(container)
    finally:
        container.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
