"""tiers: which sandbox this machine has, found out by starting it."""

from dataclasses import dataclass

from repairlab.errors import RepairLabError, Unavailable
from repairlab.sandbox import bubblewrap
from repairlab.sandbox.api import Sandbox, SandboxLimits, SandboxSettings
from repairlab.sandbox.unconfined import Unconfined

# What the probe runs: it answers only if it is confined, so that a tier that starts but does not hold is no tier.
PROBE = b"""
import os, socket
if os.path.exists("/etc/shadow"):
    raise SystemExit("the host's files can be seen")
if [name for _, name in socket.if_nameindex()] != ["lo"]:
    raise SystemExit("the host's network can be seen")
stream.send(b"confined")
"""
PROBE_LIMITS = SandboxLimits(wall_s=20, cpu_s=10, memory_mb=256, processes=8, tmpfs_mb=1)


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
    return bubblewrap.Bubblewrap(settings, bubblewrap.find())


def probe(settings: SandboxSettings) -> list[TierReport]:
    """Start every tier and report on it."""
    return [_probe_bubblewrap(settings), _report_none(settings)]


def _probe_bubblewrap(settings: SandboxSettings) -> TierReport:
    try:
        sandbox = bubblewrap.Bubblewrap(settings, bubblewrap.find())
        with sandbox.start(PROBE, limits=PROBE_LIMITS) as confined:
            try:
                confined.stream.recv(timeout=PROBE_LIMITS.wall_s, max_bytes=64)
            except RepairLabError as error:
                said = confined.stderr_tail().decode(errors="replace").strip()
                raise Unavailable(said[-300:] or error.message, fix="report this with the kernel's version") from None
    except RepairLabError as error:
        return TierReport("bubblewrap", False, error.message, error.fix)
    return TierReport("bubblewrap", True, "started: no view of the host, no network", "")


def _report_none(settings: SandboxSettings) -> TierReport:
    chosen = settings.tier == "none"
    why = "untrusted code runs UNCONFINED, with our rights" if chosen else "only if the operator writes it"
    return TierReport("none", chosen, why, 'set sandbox.tier = "auto"' if chosen else "")
