"""victims: what the attacks are after, set up for the time of a run: files, listeners, a sibling sandbox, ourselves.

    with Victims(tier, attacks, root) as victims:
        victims.parent["pid"]

The runner itself is the process that starts the sandboxes: its environment, memory, descriptors and files hold secrets.
As root it first moves into a network namespace of its own, in which the address of the cloud's metadata service exists.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import signal
import socket
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from repairlab import sandbox as box

HERE = Path(__file__).parent
SECRET_VARIABLE = "API_KEY"
METADATA = "169.254.169.254"
NEW_NET, SET_ADDRESS, GET_FLAGS, SET_FLAGS, UP = 0x40000000, 0x8916, 0x8913, 0x8914, 1
FILES = {
    "job": "spool/repair/active/1/job.json", "key": "home/.ssh/id_rsa", "secret": "credentials/api_key",
    "spec": "spool/specs/spec-1.json", "challenger": "spool/challengers/active/1/evaluation.json",
    "champion": "champions/web/1/champion.json", "letter": "patches/web/1.md", "metrics": "metrics/metrics.jsonl",
    "pattern": "patterns/1.json", "question": "llm/requests/request-1.json", "answer": "llm/responses/1.json",
    "bundle": "bundles/1/held_out/test_web.py",
}  # fmt: skip
DEVICES = ("kmsg", "fuse", "loop-control", "kvm", "net/tun", "vda", "sda", "rtc0")
SYSTEM_SOCKETS = {
    "D-Bus": {
        "system bus": ("SOCK_STREAM", "/run/dbus/system_bus_socket"),
        "user bus": ("SOCK_STREAM", "{runtime}/bus"),
        "manager": ("SOCK_STREAM", "/run/systemd/private"),
        "user manager": ("SOCK_STREAM", "{runtime}/systemd/private"),
    },
    "journal, notify": {
        "journal": ("SOCK_DGRAM", "/run/systemd/journal/socket"),
        "journal stream": ("SOCK_STREAM", "/run/systemd/journal/stdout"),
        "syslog": ("SOCK_DGRAM", "/run/systemd/journal/dev-log"),
        "notify": ("SOCK_DGRAM", "/run/systemd/notify"),
        "user notify": ("SOCK_DGRAM", "{runtime}/systemd/notify"),
    },
    "sandbox socket": {
        "system": ("SOCK_SEQPACKET", "/run/repairlab/sandbox.sock"),
        "user": ("SOCK_SEQPACKET", "{runtime}/repairlab/sandbox.sock"),
    },
}


@dataclass(frozen=True)
class Room:
    """What the writable directories hold in a tier: MiB, files, and how long a bound may take that is looked at."""

    disk_mb: int
    files: int
    look_s: float


UNIT = Room(256 + 16 + 2 * 64, 85536, 0)  # systemd/repairlab-sandbox@.service, whatever a job may have
ROOM = {
    "systemd": UNIT,
    "systemd-user": UNIT,
    "bubblewrap": Room(4 + 1 + 16, 20_256, 0.3),
    "landlock": Room(4, 20_256, 1.2),
    "none": Room(24, 20_256, 0),
}


class Victims:
    """All that a run of attacks may try to reach; `control` says that the attacks run unconfined."""

    def __init__(self, tier: box.Sandbox, limits: box.SandboxLimits, root: Path) -> None:
        self.tier = tier
        self.control = tier.tier == "none"
        self.room = ROOM[tier.tier]
        self.secret = os.environ[SECRET_VARIABLE]  # it stands in our environment, too
        self._limits = limits
        self._stack = contextlib.ExitStack()
        self._signalled = 0
        self.place = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="victim-", dir=root)))
        self.place.chmod(0o755)

    def __enter__(self) -> "Victims":
        with contextlib.suppress(PermissionError):
            _own_network()
        signal.signal(signal.SIGCONT, self._count)
        self.files = self._make_files()
        self.held = ctypes.create_string_buffer(self.secret.encode())
        opened = self._stack.enter_context(self.files["secret"].open("rb"))
        os.set_inheritable(opened.fileno(), True)
        self.parent = {
            "pid": os.getpid(),
            "address": ctypes.addressof(self.held),
            "fd": opened.fileno(),
            "file": str(self.files["secret"]),
        }
        os.chdir(self.place)
        self.name = f"sib-{secrets.token_hex(4)}"
        self.sibling = self._start_sibling()
        self.targets = self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        os.chdir("/")
        self._stack.close()
        signal.signal(signal.SIGCONT, signal.SIG_DFL)

    def _count(self, *_: object) -> None:
        self._signalled += 1

    def signals(self) -> int:
        """How many signals have come in, here and in the sibling."""
        self._sibling.stream.send(b"?")
        return self._signalled + int(self._sibling.stream.recv(10))

    def _make_files(self) -> dict[str, Path]:
        """What everybody on the machine may read: only the sandbox stands before it."""
        files = {name: self.place / path for name, path in FILES.items()}
        for path in files.values():
            path.parent.mkdir(parents=True)
            path.write_text(self.secret)
            path.chmod(0o644)
        for path in self.place.rglob("*/"):
            path.chmod(0o755)
        return files

    def _start_sibling(self) -> dict[str, object]:
        program = (HERE / "sibling.py").read_bytes()
        self._sibling = self._stack.enter_context(self.tier.start(program, limits=self._limits, name="sibling"))
        order = {"name": self.name, "secret": self.secret}
        self._sibling.stream.send(json.dumps(order).encode())
        about = json.loads(self._sibling.stream.recv(10))
        return {**about, "pid": _pid(self.name)}

    def _listen(self) -> dict[str, list[object]]:
        """Listeners of the starter's, by name: family, type, address."""
        targets: dict[str, list[object]] = {}
        for name, family, address in (
            ("inet", "AF_INET", ("127.0.0.1", 0)),
            ("inet6", "AF_INET6", ("::1", 0)),
            ("abstract", "AF_UNIX", f"\0{self.name}-starter"),
            ("path", "AF_UNIX", str(self.place / "socket")),
            ("metadata", "AF_INET", (METADATA, 0)),
        ):
            server = self._stack.enter_context(socket.socket(getattr(socket, family)))
            where: object = address
            with contextlib.suppress(OSError):  # no such address here; the control says so
                server.bind(address)
                server.listen()
                where = server.getsockname()
            targets[name] = [family, "SOCK_STREAM", where.decode() if isinstance(where, bytes) else where]
        (self.place / "socket").chmod(0o777)
        return targets

    @property
    def siblings_targets(self) -> dict[str, list[object]]:
        """Listeners of the sibling's, as far as its tier lets it listen."""
        return {
            "inet": ["AF_INET", "SOCK_STREAM", ["127.0.0.1", self.sibling["port"] or 9]],
            "abstract": ["AF_UNIX", "SOCK_STREAM", f"\0{self.name}"],
        }

    @staticmethod
    def system_sockets(kind: str) -> dict[str, list[object]]:
        """The machine's own sockets of this kind, there or not."""
        runtime = os.environ.get("XDG_RUNTIME_DIR", "/run/user/0")
        return {
            name: ["AF_UNIX", how, path.format(runtime=runtime)] for name, (how, path) in SYSTEM_SOCKETS[kind].items()
        }

    def devices(self) -> list[str]:
        """Devices that a machine may have; for the control those that this one has, for those who may."""
        return [f"/dev/{name}" for name in DEVICES if not self.control or _opens(f"/dev/{name}")]


def _opens(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def _pid(name: str) -> int:
    """The host's number of the process of that name."""
    for process in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if process.read_text().strip() == name:
                return int(process.parent.name)
    raise LookupError(f"no process is called {name}")


def _own_network() -> None:
    """Have the metadata address on a loopback of our own; takes root."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NET) != 0:
        raise PermissionError
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for name, address in ((b"lo", None), (b"lo:1", METADATA)):
            if address is not None:
                asked = struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(address))
                fcntl.ioctl(control, SET_ADDRESS, asked)
            fcntl.ioctl(control, SET_FLAGS, struct.pack("16sH14x", name, UP))
