"""shimmed: the tiers whose processes are kept by `shim`: in a unit of systemd's, or as a child of ours.

systemd, systemd-user   a connection to repairlab-sandbox.socket starts an instance of repairlab-sandbox@.service,
                        which confines: namespaces, a uid of its own, a control group
landlock                where there is neither that socket nor a user namespace: the shim as a child of ours, confined
                        by landlock, seccomp and resource limits alone; no socket can be made, and /proc is closed

Nothing that was started outlives its connection. A connection that is closed before the shim has spoken is
back-pressure (MaxConnections= of the socket): `TemporaryFailure`.
"""

import array
import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import repairlab
from repairlab.errors import BadInput, RepairLabError, TemporaryFailure, Unavailable
from repairlab.sandbox import inside, interpreter
from repairlab.sandbox.api import (
    FIXED_ENV,
    Confined,
    Ended,
    SandboxLimits,
    SandboxSettings,
    StreamError,
    Why,
    boot,
    boot_argv,
    rlimits,
    send_program,
    socket_pair,
)
from repairlab.sandbox.bundle import remove_tree
from repairlab.sandbox.keeper import SandboxKeeper
from repairlab.sandbox.processes import Member

SYSTEM_SOCKET = "/run/repairlab/sandbox.sock"
START_S, END_S = 20.0, 30.0
STREAM = 3  # the number of the stream in the confined process
WORK = "/work"
NPROC_ROOM = 32
WRITABLE = (WORK, "/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  the unit's own
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
TERMINALS = ("/dev/tty", "/dev/ptmx", "/dev/pts")
READABLE = (*interpreter.SYSTEM, "/opt", "/etc", *DEVICES)
# What the tier "landlock" shows of /etc: names and numbers that every program may know, and nothing else.
ETC = tuple(f"/etc/{name}" for name in ("passwd", "group", "hosts", "nsswitch.conf", "ld.so.cache", "localtime"))
Places = dict[str, Any]  # work, read, write, env of an order
SHIM = """import sys; sys.path.insert(0, {path!r})
from repairlab.errors import reported; from repairlab.sandbox.shim import main; sys.exit(reported(main, []))"""


class Shimmed:
    """What the tiers share: the order to the shim, the boot, the keeper."""

    tier = ""
    namespaces = True
    shown: tuple[str, ...] = ("/",)  # what interpreters may bring along, beside the system's directories

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
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
        limits = limits or SandboxLimits.from_settings(self._settings, wall_s=60.0)
        inside = {"parent": 0, "limits": self._rlimits(limits), "env": dict(env or {}), "name": name}
        chosen = os.path.normpath(python or sys.executable)
        shown = interpreter.mounts(chosen, allowed=self._allowed)
        if hidden := [mount.path for mount in shown if not mount.path.startswith(self.shown)]:
            raise _unseen(hidden[0], named=python is not None)
        order = {
            "argv": boot_argv(chosen, STREAM),
            "namespaces": self.namespaces,
            "processes": limits.processes,
            "memory_mb": limits.memory_mb,
            "tmpfs_mb": limits.tmpfs_mb,
            "inodes": limits.inodes,
        }
        try:
            service, places = self._begin(shown)
            return service.hand_over({**order, **places}, inside, program, limits)
        except OSError as error:  # of descriptors, memory, processes or the disk there are none left
            raise _busy(error.strerror or str(error)) from error

    def _rlimits(self, limits: SandboxLimits) -> dict[str, int]:
        return {**rlimits(limits), "NPROC": limits.processes + 1}  # the shim has the same user

    def _begin(self, shown: Sequence[interpreter.Mount]) -> "tuple[_Service, Places]":
        """Start a shim that sees an interpreter's directories; return it with the places of the order."""
        raise NotImplementedError


class Systemd(Shimmed):
    """A unit of the service manager for each sandbox."""

    shown = ("/opt/",)

    def __init__(self, settings: SandboxSettings, path: str) -> None:
        super().__init__(settings)
        self._path = path
        self.tier = "systemd" if path == SYSTEM_SOCKET else "systemd-user"

    def _begin(self, _shown: Sequence[interpreter.Mount]) -> "tuple[_Service, Places]":
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.settimeout(START_S)
        try:
            control.connect(self._path)
        except OSError as error:
            control.close()
            raise self._refused(error) from None
        # A user's manager cannot mount a /proc that hides other users' processes: there it stays closed.
        read = [*READABLE, "/proc"] if self.tier == "systemd" else READABLE
        places = {"work": WORK, "read": read, "write": [*WRITABLE, *DEVICES, *TERMINALS]}
        return _Service(self.tier, control), {"env": {**FIXED_ENV, "HOME": WORK}, "owned": False, **places}

    def _refused(self, error: OSError) -> RepairLabError:
        if error.errno in (errno.EAGAIN, errno.ENOBUFS, errno.EMFILE, errno.ENFILE, errno.EINTR):
            return TemporaryFailure(f"{self._path}: {error.strerror}", fix="trying again later may help")
        manager = "systemctl" if self.tier == "systemd" else "systemctl --user"
        return Unavailable(
            f"{self._path}: {error.strerror}",
            field="sandbox.tier",
            fix=f"{manager} enable --now repairlab-sandbox.socket",
        )


class Landlocked(Shimmed):
    """The kernel's filters and nothing else, for who has neither systemd's socket nor user namespaces."""

    tier = "landlock"
    namespaces = False

    @staticmethod
    def missing() -> str:
        """Return why this tier cannot be had here, or an empty text."""
        if os.geteuid() == 0:
            return "root cannot be confined by it; run as a user"
        if (abi := inside.landlock_abi()) < inside.SCOPE_ABI:
            return f"the kernel's landlock has ABI {abi}, needed is {inside.SCOPE_ABI} (Linux 6.12)"
        return ""

    def _rlimits(self, limits: SandboxLimits) -> dict[str, int]:
        # Counted over all that the user has, now and later: so it is wide, and the shim looks at the number.
        return {**rlimits(limits), "NPROC": _tasks(os.geteuid()) + NPROC_ROOM * limits.processes}

    def _begin(self, shown: Sequence[interpreter.Mount]) -> "tuple[_Service, Places]":
        work = tempfile.mkdtemp(prefix="repairlab-work-")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(START_S)
        source = str(Path(repairlab.__file__).resolve().parents[1])
        # The shell gives the connection the number that systemd would; dash knows no number above 9.
        exchange = ["/bin/sh", "-c", 'exec "$@" 3<&0 0</dev/null', "sh"]
        with theirs:
            process = subprocess.Popen(
                [*exchange, sys.executable, "-I", "-c", SHIM.format(path=source)],
                stdin=theirs.fileno(),
                env={},
                cwd="/",
                start_new_session=True,
            )
        read = [*interpreter.SYSTEM, *(mount.path for mount in shown), *ETC, *DEVICES]
        places = {"work": work, "read": read, "write": [work, *DEVICES]}
        env = {**FIXED_ENV, "HOME": work, "TMPDIR": work}
        return _Service(self.tier, ours, process, work), {"env": env, "owned": True, **places}


class _Service:
    """The connection to a shim, and what of it is ours to clear away; as a keeper's members."""

    def __init__(
        self,
        tier: str,
        control: socket.socket,
        process: "subprocess.Popen[bytes] | None" = None,
        work: str | None = None,
    ) -> None:
        self._tier = tier
        self._control = control
        self._process = process
        self._work = work

    def hand_over(
        self, order: Mapping[str, Any], inside: Mapping[str, object], program: bytes | str, limits: SandboxLimits
    ) -> Confined:
        """Give the order, boot the inside and return it kept; on any error nothing is left of it."""
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            undo.callback(self.end)
            stream, theirs = socket_pair()
            undo.callback(stream.close)
            output, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            undo.callback(os.close, output)
            os.set_blocking(writer, True)
            self._send(order, theirs, writer)
            try:
                self._started()
                told = boot(stream, inside, START_S)
                send_program(stream, told, program, inside["name"])
            except StreamError as error:
                self.end()
                raise _failure(self._tier, output, error) from None
            keeper = SandboxKeeper(output, self, limits)
            keeper.watch()
            undo.pop_all()
        return Confined(stream, keeper)

    def _send(self, order: Mapping[str, Any], theirs: socket.socket, writer: int) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno(), writer]))]
        try:
            self._control.sendmsg([json.dumps(order).encode()], rights, socket.MSG_NOSIGNAL)
        except OSError as error:
            raise _busy(error.strerror or "") from None
        finally:
            theirs.close()
            os.close(writer)

    def _started(self) -> None:
        """Return when the program's process exists."""
        try:
            told = self._told()
        except OSError as error:
            raise _busy(error.strerror or "no answer in time") from None
        if told is None:
            raise _busy("the connection was closed")
        if why := told.get("refused"):
            if told.get("passing"):
                raise _busy(str(why))
            raise Unavailable(str(why), field="sandbox.tier", fix="`repairlab doctor` tries every tier")

    def _told(self) -> dict[str, Any] | None:
        """Return what the shim says; None for its end, and for what it never says, after which nothing counts."""
        said = self._control.recv(1 << 16)
        try:
            return dict(json.loads(said)) if said else None
        except (ValueError, TypeError, RecursionError):
            return None

    def fileno(self) -> int:
        return self._control.fileno()

    def statuses(self) -> list[Member]:
        return []  # the shim looks at them

    def inodes(self) -> int:
        return 0  # likewise

    def end(self) -> Ended:
        """Have the shim end everything; its end of file without a word means that all was killed from outside."""
        told = None
        # Not a message: one that is never read would turn its last word into an ECONNRESET.
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        self._control.settimeout(END_S)
        with contextlib.suppress(OSError):
            while (said := self._told()) is not None:
                told = said if "why" in said else told
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        return _ended(told)

    def close(self) -> None:
        self._control.close()
        if self._work is not None:
            remove_tree(Path(self._work))


def _ended(told: Mapping[str, Any] | None) -> Ended:
    """Return the shim's last word as what it means; none, or another, is that of a shim that was killed."""
    try:
        ended = Ended(Why((told or {})["why"]), (told or {})["code"], (told or {})["signal"])
    except (KeyError, ValueError):
        return Ended(Why.LOST, None, signal.SIGKILL)
    sound = all(number is None or type(number) is int for number in (ended.code, ended.signal))
    return ended if sound else Ended(Why.LOST, None, signal.SIGKILL)


def _busy(why: str) -> TemporaryFailure:
    return TemporaryFailure(
        f"no sandbox could be started: {why}",
        fix="too many at a time, or see `journalctl -u 'repairlab-sandbox@*'`",
    )


def _unseen(path: str, *, named: bool) -> RepairLabError:
    """Return the error of an interpreter that a unit does not see; `named`: by the handoff, not by us."""
    message = f"{path} cannot be seen in repairlab-sandbox@.service, which shows /usr and /opt"
    if named:
        return BadInput(message, field="python", fix="name an interpreter below /usr or /opt")
    return Unavailable(message, field="sandbox.tier", fix='install below /usr or /opt, or set it to "bubblewrap"')


def _failure(tier: str, output: int, error: StreamError) -> TemporaryFailure:
    """Return what to raise for a program that does not boot, with the last words of what was started."""
    said = b""
    with contextlib.suppress(BlockingIOError):
        said = os.read(output, 1 << 16)
    words = said.decode(errors="replace").strip() or error.message
    return TemporaryFailure(f"the {tier} sandbox did not start: {words[-500:]}", fix="see the message")


def _tasks(uid: int) -> int:
    """Return how many processes and threads a user has: RLIMIT_NPROC counts them all."""
    count = 0
    for process in Path("/proc").glob("[0-9]*/task"):
        with contextlib.suppress(OSError):
            status = process.stat()
            count += status.st_nlink - 2 if status.st_uid == uid else 0
    return count
