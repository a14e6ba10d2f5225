"""sandbox: a fresh confined process with a duplex byte stream, an empty work directory and nothing else.

`open_sandbox(settings)` returns the tier that the configuration asks for, proved by starting it, or raises
`Unavailable` with the exact fix: without a working sandbox nothing untrusted runs, unless the operator wrote
`tier = "none"`. `probe` starts every tier and says what came of it. See `api` for what a tier promises, `bundle` for
freezing what goes in.
"""

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
