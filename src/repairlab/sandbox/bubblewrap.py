"""bubblewrap: the tier that needs nothing but unprivileged user namespaces.

Each sandbox has its own user, mount, PID, network, IPC, UTS and cgroup namespaces, no capability, no way to make a
further user namespace, an environment that we wrote, a read-only system, interpreter and /proc, and three size-capped
file systems: /work (empty, the current directory), /tmp and /dev/shm. What the host's side passes in is the stream, one
pipe for stdout and stderr, and /dev/null.

Facts that shape it:

- bwrap's own environment and command line can be read inside (/proc/1): it is started with an empty environment, and
  takes its arguments from a descriptor. Its descriptors 0, 1 and 2 can be opened through /proc/1/fd, the others it
  closes: so the stream is never one of the three, and the three are nothing to take. PID 1 is bwrap, of the same user:
  its memory could be written through /proc/1/mem, and executable memory of one's own through /proc/self/mem. So /proc
  is read-only, and the place in the queue of the OOM killer is taken before.
- A sandbox of root's is root to the host: without any capability it can still write /proc/sys/kernel/core_pattern,
  because sysctl asks for the uid alone, and RLIMIT_NPROC does not bind it. So when we are root bwrap runs as nobody.
  What nobody cannot reach (an interpreter below /root) is first bound to a place that it can, in a mount namespace.
- RLIMIT_NPROC is counted per user namespace (Linux 5.14), but what is set before the namespace is made binds the sum
  of the user's processes everywhere. So `inside` sets it, not we.
- --die-with-parent follows the thread that started bwrap, not the process: start sandboxes from threads that stay.
  It binds the outer bwrap before the inner one, which until then waits for the outer one's word, were it for ever. In
  between stands what --info-fd writes: to a file in memory, for a pipe would end the outer one by SIGPIPE when its
  reader has gone, and wake the reader when it has not. A dozen system calls remain in which our death leaves the inner
  one behind, blocked and idle.
"""

import contextlib
import errno
import functools
import json
import os
import re
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from repairlab.errors import RepairLabError, TemporaryFailure, Unavailable
from repairlab.process import run
from repairlab.sandbox import interpreter, seccomp
from repairlab.sandbox.api import (
    FIXED_ENV,
    Confined,
    Ended,
    SandboxLimits,
    SandboxSettings,
    Stream,
    StreamError,
    boot,
    boot_argv,
    rlimits,
    send_program,
    socket_pair,
)
from repairlab.sandbox.keeper import SandboxKeeper, ended
from repairlab.sandbox.processes import Member, pids

NOBODY = 65534
START_S = 20.0
_PASSING = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)
FIRST_TO_GO = ("/usr/bin/choom", "-n", "1000", "--")
WORKS = ("/work", "/sandbox-work", "/run/work")
STAGES = ("/mnt", "/media", "/srv")
ETC = {
    "/etc/passwd": b"sandbox:x:1000:1000::/work:/bin/sh\n",
    "/etc/group": b"sandbox:x:1000:\n",
    "/etc/hosts": b"127.0.0.1 localhost\n::1 localhost\n",
}
# Runs as root in a mount namespace of its own: $1 the stage, then source paths up to "--", then bwrap's command line.
# Each program that it starts costs every sandbox a millisecond. The shell exports PWD; bwrap's environment is empty.
STAGE_SCRIPT = """set -eu
stage=$1; shift
mount -t tmpfs -o mode=0755,size=64k,nr_inodes=1k tmpfs "$stage"
n=0
while [ "$1" != -- ]; do
    [ -d "$1" ] || : > "$stage/$n"
    mount -o bind,X-mount.mkdir "$1" "$stage/$n"
    n=$((n + 1)); shift
done
shift
unset PWD OLDPWD
exec setpriv --reuid 65534 --regid 65534 --clear-groups -- "$@"
"""


class Bubblewrap:
    """The tier, on a machine where it works; `open_sandbox` proves that."""

    tier = "bubblewrap"

    def __init__(self, settings: SandboxSettings, bwrap: str) -> None:
        self._settings = settings
        self._bwrap = bwrap
        self._allowed: Sequence[str] = tuple(getattr(settings, "interpreters", ()))

    def start(
        self,
        program: bytes | str,
        *,
        python: str | None = None,
        limits: SandboxLimits | None = None,
        env: Mapping[str, str] | None = None,
        name: str = "<program>",
    ) -> Confined:
        """Start a fresh sandbox; see `api.Sandbox`."""
        import sys

        limits = limits or SandboxLimits.from_settings(self._settings, wall_s=60.0)
        python = os.path.normpath(python or sys.executable)
        shown = [*interpreter.system(), *interpreter.mounts(python, allowed=self._allowed)]
        order = {"parent": 0, "limits": {**rlimits(limits), "NPROC": limits.processes}, "env": dict(env or {})}
        order["landlock"] = [["/"], [_work(shown), "/tmp", "/dev"]]  # noqa: S108  the same once more, by another guard
        with contextlib.ExitStack() as undo:
            try:
                stream, theirs = socket_pair()
                undo.callback(stream.close)
                with theirs:
                    started = _Started(self._bwrap, shown, boot_argv(python, theirs.fileno()), limits, theirs.fileno())
                confined = started.handed_over(stream, {**order, "name": name}, program, limits)
            except OSError as error:
                raise _refused(error) from error
            undo.pop_all()
        return confined


class _Started:
    """A bwrap that was started and is not yet in the hands of a keeper."""

    def __init__(
        self, bwrap: str, shown: Sequence[interpreter.Mount], argv: Sequence[str], limits: SandboxLimits, stream: int
    ) -> None:
        self._work = _work(shown)
        with contextlib.ExitStack() as kept, contextlib.ExitStack() as opened:
            self.output, output = os.pipe2(os.O_CLOEXEC)
            kept.callback(os.close, self.output)
            opened.callback(os.close, output)
            os.set_blocking(self.output, False)
            self._info = os.memfd_create("info", os.MFD_CLOEXEC)
            kept.callback(os.close, self._info)
            passed = {path: _memory(content, opened) for path, content in ETC.items()}
            prefix, sources = _as_nobody(shown)
            options = [*_options(limits, shown, sources, passed), "--info-fd", str(self._info)]
            if version(bwrap) >= (0, 8):  # before, the filter of system calls alone keeps new namespaces away
                options += ["--disable-userns", "--assert-userns-disabled"]
            passing = [stream, self._info, *passed.values()]
            if rules := seccomp.program():
                passing.append(_memory(rules, opened))
                options += ["--seccomp", str(passing[-1])]
            args = _memory("\0".join(options).encode() + b"\0", opened)
            self.process = subprocess.Popen(
                [*FIRST_TO_GO, *prefix, bwrap, "--args", str(args), "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[*passing, args],
                env={},
                cwd="/",
                start_new_session=True,
            )
            self._kept = kept.pop_all()

    def handed_over(
        self, stream: Stream, order: Mapping[str, object], program: bytes | str, limits: SandboxLimits
    ) -> Confined:
        """Boot the inside and return it kept; on any error nothing is left of it."""
        members: _PidNamespace | None = None
        try:
            told = boot(stream, order, START_S)
            members = _PidNamespace(self._first_pid(), self.process)
            members.look(self._work)
            send_program(stream, told, program, order["name"])
            keeper = SandboxKeeper(self.output, members, limits)
            keeper.watch()
        except BaseException as error:
            self._abandon(members)
            with self._kept:
                if isinstance(error, StreamError):
                    raise self._failure() from None
                raise
        os.close(self._info)  # the output is the keeper's from now on
        return Confined(stream, keeper)

    def _first_pid(self) -> int:
        """Return the host's pid of the sandbox's PID 1; bwrap has told it before anything runs inside."""
        return int(json.loads(os.pread(self._info, 4096, 0))["child-pid"])

    def _abandon(self, members: "_PidNamespace | None") -> None:
        if members:
            members.end()
            members.close()
            return
        os.killpg(self.process.pid, signal.SIGKILL)  # the inner bwrap too, until it has a session of its own
        self.process.wait()

    def _failure(self) -> RepairLabError:
        """Say why it did not start, in bwrap's own words."""
        try:
            said = os.read(self.output, 1 << 16).decode(errors="replace").strip()
        except BlockingIOError:
            said = ""
        said = said.splitlines()[-1] if said else f"it ended with status {self.process.returncode} without a word"
        if re.search(r"temporarily unavailable|No space left|Cannot allocate|Too many open", said):
            return TemporaryFailure(f"the sandbox did not start: {said}", fix="trying again later may help")
        return Unavailable(f"bubblewrap cannot start a sandbox here: {said}", field="sandbox.tier", fix=fix_for(said))


def _refused(error: OSError) -> RepairLabError:
    """Return what to raise where the kernel refuses us a descriptor, a process, memory, or the programs to start."""
    said = f"{error.strerror or error}"
    if error.errno in _PASSING:
        return TemporaryFailure(f"the sandbox did not start: {said}", fix="trying again later may help")
    said = f"{error.filename}: {said}" if error.filename else said
    return Unavailable(f"bubblewrap cannot start a sandbox here: {said}", field="sandbox.tier", fix=fix_for(said))


class _PidNamespace:
    """The processes of one sandbox: exactly those that its own /proc shows, and the bwrap that waits for them."""

    def __init__(self, first: int, outermost: "subprocess.Popen[bytes]") -> None:
        self._first = first
        self._outermost = outermost
        self._ended = os.pidfd_open(outermost.pid)
        try:  # bwrap cannot have reaped it: its parent is the bwrap that waits for it
            self._handle = os.pidfd_open(first)
        except OSError:
            os.close(self._ended)
            raise
        self._proc = -1
        self._mounted: list[int] = []

    def look(self, work: str) -> None:
        """Open the sandbox's own views; once it has booted, its root is in place."""
        root = os.open(f"/proc/{self._first}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            self._proc = os.open("proc", flags, dir_fd=root)
            for name in (work.lstrip("/"), "tmp", "dev/shm"):
                self._mounted.append(os.open(name, flags, dir_fd=root))
        finally:
            os.close(root)

    def fileno(self) -> int:
        return self._ended

    def statuses(self) -> list[Member]:
        return pids(self._proc)

    def inodes(self) -> int:
        used = 0
        for fd in self._mounted:
            space = os.fstatvfs(fd)
            used += space.f_files - space.f_ffree
        return used

    def end(self) -> Ended:
        """Kill PID 1: the kernel kills the rest of the namespace before it lets PID 1 go."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        select.select([self._handle], [], [])
        return ended(self._outermost.wait())

    def close(self) -> None:
        for fd in (self._handle, self._ended, self._proc, *self._mounted):
            if fd >= 0:
                os.close(fd)


def _memory(content: bytes, opened: contextlib.ExitStack) -> int:
    """Return a descriptor, none of 0, 1, 2, from which `content` can be read."""
    fd = os.memfd_create("sandbox", os.MFD_CLOEXEC)
    opened.callback(os.close, fd)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _options(
    limits: SandboxLimits, shown: Sequence[interpreter.Mount], sources: Mapping[str, str], passed: Mapping[str, int]
) -> Iterator[str]:
    yield from ("--unshare-all", "--unshare-user")
    yield from ("--uid", "1000", "--gid", "1000", "--hostname", "sandbox")
    yield from ("--new-session", "--die-with-parent", "--cap-drop", "ALL", "--clearenv")
    work = _work(shown)
    for variable, value in {**FIXED_ENV, "HOME": work}.items():
        yield from ("--setenv", variable, value)
    yield from ("--proc", "/proc", "--dev", "/dev")
    for path, size in {"/dev/shm": 16, "/tmp": max(1, limits.tmpfs_mb // 4), work: limits.tmpfs_mb}.items():  # noqa: S108
        yield from ("--perms", "0700", "--size", str(size << 20), "--tmpfs", path)
    for mount in shown:  # after /tmp, where a virtual environment may lie
        if mount.target is None:
            yield from ("--ro-bind", sources.get(mount.path, mount.path), mount.path)
        else:
            yield from ("--symlink", mount.target, mount.path)
    for path, fd in passed.items():
        yield from ("--perms", "0444", "--ro-bind-data", str(fd), path)
    yield from ("--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", work)


def _work(shown: Sequence[interpreter.Mount]) -> str:
    """Return where the empty work directory goes: not over or around an interpreter."""
    return next(at for at in WORKS if not any(mount.path.startswith(f"{at}/") for mount in shown))


def _as_nobody(shown: Sequence[interpreter.Mount]) -> tuple[list[str], dict[str, str]]:
    """Return what to put before bwrap's command line when we are root, and where it finds what is out of its reach."""
    if os.geteuid() != 0:
        return [], {}
    hidden = [mount.path for mount in shown if mount.target is None and not _reachable(mount.path)]
    if not hidden:
        return ["/usr/bin/setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--"], {}
    stage = next(at for at in STAGES if os.path.isdir(at) and not any(path.startswith(f"{at}/") for path in hidden))
    unshare = ["/usr/bin/unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", STAGE_SCRIPT, "stage"]
    return [*unshare, stage, *hidden, "--"], {path: f"{stage}/{number}" for number, path in enumerate(hidden)}


def _reachable(path: str) -> bool:
    """Whether a stranger may walk down to `path`."""
    at = path
    while (at := os.path.dirname(at)) != "/":
        if not os.stat(at).st_mode & 0o001:
            return False
    return True


def find() -> str:
    """Return bwrap's path, or raise `Unavailable` with the way to get it."""
    if found := shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin"):
        return found
    raise Unavailable(
        "bubblewrap is not installed", field="sandbox.tier", fix="apt-get install --no-install-recommends bubblewrap"
    )


def version(bwrap: str) -> tuple[int, int]:
    """Return the version that bwrap says it has, (0, 0) when it says nothing of the kind."""
    try:
        file = os.stat(bwrap)
    except OSError:  # what starts it says so
        return 0, 0
    return _version(bwrap, file.st_ino, file.st_ctime_ns)


@functools.cache
def _version(bwrap: str, _inode: int, _changed_ns: int) -> tuple[int, int]:
    """Ask the program that stands there now: the parent of many agents does so once, until another is installed."""
    said = run([bwrap, "--version"], timeout=10, env={}).out.decode(errors="replace")
    found = re.search(r"(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def forbidden() -> str:
    """Return what root does about a kernel that forbids unprivileged user namespaces; empty where it does not."""
    for path, bad, fix in _SYSCTLS:
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            if file.read().strip() == bad:
                return f"as root: {fix}"
    return ""


def fix_for(said: str) -> str:
    """Return what a person does about bwrap's last words."""
    if re.search(r"new namespace|user namespace|uid map|Operation not permitted|No permissions", said):
        return forbidden() or (
            "allow unprivileged user namespaces; in a container, run it with --security-opt seccomp=unconfined"
        )
    if "/proc/sys/kernel/overflowuid" in said:  # ProcSubset=pid: a unit that has a sandbox elsewhere
        return "systemctl enable --now repairlab-sandbox.socket: nothing untrusted can be started in this unit itself"
    if "Unknown option" in said:
        return "install bubblewrap 0.7 or later"
    return "see the message; `repairlab doctor` tries again"


_SYSCTLS = (
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give bwrap an AppArmor profile with userns",
    ),
)
