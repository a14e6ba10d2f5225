"""sandbox: a fresh confined process with a duplex byte stream, an empty work directory and nothing else.

`open_sandbox(settings)` returns the tier that the configuration asks for, or raises `Unavailable` with the exact fix:
without a working sandbox nothing untrusted runs, unless the operator wrote `tier = "none"`. `probe` starts every tier
and says what came of it. See `api` for what a tier promises, `bundle` for freezing what goes in.

The names are loaded when they are asked for: `shim`, of which each sandbox starts one, needs none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repairlab.sandbox.api import (
        Confined,
        Ended,
        FrameTooLarge,
        Sandbox,
        SandboxLimits,
        SandboxSettings,
        Stream,
        StreamClosed,
        StreamError,
        StreamTimeout,
        Why,
    )
    from repairlab.sandbox.tiers import TierReport, open_sandbox, probe

__all__ = [
    "Confined",
    "Ended",
    "FrameTooLarge",
    "Sandbox",
    "SandboxLimits",
    "SandboxSettings",
    "Stream",
    "StreamClosed",
    "StreamError",
    "StreamTimeout",
    "TierReport",
    "Why",
    "open_sandbox",
    "probe",
]
OF_TIERS = ("TierReport", "open_sandbox", "probe")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'tiers' if name in OF_TIERS else 'api'}"), name)
