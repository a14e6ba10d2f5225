"""tiers: which sandbox this machine has; a tier counts once it has been started and has held.

`auto` is the first of systemd, bubblewrap, landlock that can be had here: for programs that are installed where a unit
sees them, the service manager's socket, if it is there; bubblewrap, where the kernel gives namespaces to users; the
kernel's filters alone. One that is there and fails is reported, never replaced by a weaker one.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import repairlab
from repairlab.errors import RepairLabError, Unavailable
from repairlab.sandbox import bubblewrap
from repairlab.sandbox.api import Sandbox, SandboxLimits, SandboxSettings
from repairlab.sandbox.shimmed import SYSTEM_SOCKET, Landlocked, Systemd
from repairlab.sandbox.unconfined import Unconfined

SHOWN_TO_UNITS = ("/usr/", "/opt/")
# What the probe runs: it answers only if it is confined, so that a tier that starts but does not hold is no tier.
PROBE = b"""
import os, socket
for path in ("/etc/shadow", "/var/lib/repairlab", "/run/systemd/private"):
    try:
        os.listdir(path) if os.path.isdir(path) else open(path).close()
    except OSError:
        continue
    raise SystemExit(path + " of the host can be seen")
try:
    names = [name for _, name in socket.if_nameindex()]
except OSError:
    names = ["lo"]
if names != ["lo"]:
    raise SystemExit("the host's network can be seen")
if os.getppid() > 1:
    try:
        os.kill(os.getppid(), 0)
        raise SystemExit("whoever started this can be signalled")
    except OSError:
        pass
stream.send(b"confined")
"""
PROBE_LIMITS = SandboxLimits(wall_s=20, cpu_s=10, memory_mb=256, processes=8, tmpfs_mb=1)
WORTH = {
    "systemd": "a unit, a user and a control group of its own for each",
    "systemd-user": "a unit of your own manager for each",
    "bubblewrap": "namespaces of its own for each: no view of the host, no network",
    "landlock": "the kernel's filters alone: no host files, no sockets, no signals; sums are looked at",
}


@dataclass(frozen=True, slots=True)
class TierReport:
    """What came of starting one tier: `why` it does not work and the `fix`, or what `ok` is worth."""

    tier: str
    ok: bool
    why: str
    fix: str


def open_sandbox(settings: SandboxSettings) -> Sandbox:
    """Return the configured tier; raise `Unavailable` rather than ever falling back to a weaker one."""
    if settings.tier == "none":
        return Unconfined(settings)
    if settings.tier != "auto":
        return MAKERS[settings.tier](settings)
    reasons = []
    for name, make in MAKERS.items():
        if name == "systemd" and not repairlab.__file__.startswith(SHOWN_TO_UNITS):
            continue
        try:
            return make(settings)
        except Unavailable as error:
            reasons.append(f"{name}: {error.message}; {error.fix}")
    raise Unavailable("no sandbox can be had here", field="sandbox.tier", fix=" · ".join(reasons))


def _systemd(settings: SandboxSettings) -> Sandbox:
    path = socket_path()
    if not os.path.exists(path):
        manager = "systemctl" if path == SYSTEM_SOCKET else "systemctl --user"
        raise Unavailable(f"there is no {path}", fix=f"{manager} enable --now repairlab-sandbox.socket")
    return Systemd(settings, path)


def _bubblewrap(settings: SandboxSettings) -> Sandbox:
    found = bubblewrap.find()
    if why := bubblewrap.forbidden():
        raise Unavailable("unprivileged user namespaces are forbidden here", field="sandbox.tier", fix=why)
    return bubblewrap.Bubblewrap(settings, found)


def _landlock(settings: SandboxSettings) -> Sandbox:
    if missing := Landlocked.missing():
        raise Unavailable(missing, field="sandbox.tier", fix="use another tier")
    return Landlocked(settings)


MAKERS: dict[str, Callable[[SandboxSettings], Sandbox]] = {
    "systemd": _systemd,
    "bubblewrap": _bubblewrap,
    "landlock": _landlock,
}


def socket_path() -> str:
    """Return where the service manager that serves us listens for sandboxes: the machine's, or the person's own."""
    from repairlab import config

    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return SYSTEM_SOCKET if config.system_mode() or not runtime else f"{runtime}/repairlab/sandbox.sock"


def probe(settings: SandboxSettings) -> list[TierReport]:
    """Start every tier and report on it."""
    return [*(_probe(name, make, settings) for name, make in MAKERS.items()), _report_none(settings)]


def _probe(name: str, make: Callable[[SandboxSettings], Sandbox], settings: SandboxSettings) -> TierReport:
    try:
        sandbox = make(settings)
        with sandbox.start(PROBE, limits=PROBE_LIMITS) as confined:
            try:
                confined.stream.recv(timeout=PROBE_LIMITS.wall_s, max_bytes=64)
            except RepairLabError as error:
                said = confined.stderr_tail().decode(errors="replace").strip()
                raise Unavailable(said[-300:] or error.message, fix="report this with the kernel's version") from None
    except RepairLabError as error:
        return TierReport(name, False, error.message, error.fix)
    return TierReport(name, True, f"started: {WORTH[sandbox.tier]}", "")


def _report_none(settings: SandboxSettings) -> TierReport:
    chosen = settings.tier == "none"
    why = "untrusted code runs UNCONFINED, with our rights" if chosen else "only if the operator writes it"
    return TierReport("none", chosen, why, 'set sandbox.tier = "auto"' if chosen else "")
