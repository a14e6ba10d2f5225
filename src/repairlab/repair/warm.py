"""warm: what the parent of many agents does once for all of them.

It imports the agent, compiles what runs in its sandboxes, asks bubblewrap for its version, reads our own from the
metadata of the installation, and has msgspec look at the types of the documents that an agent reads and writes.
"""

from repairlab.documents import Handoff, Strategy, Telemetry, encode
from repairlab.errors import RepairLabError
from repairlab.repair import agent, attempt, report
from repairlab.sandbox import bubblewrap
from repairlab.sandbox.api import prepare
from repairlab.trial import server
from repairlab.trial.validation import PROGRAM

__all__ = ["agent", "attempt", "report"]

NOTHING = "0" * 64


def warm() -> None:
    """Do it; what cannot be had here is an agent's to tell of."""
    for program in (server.program(), server.program(plain=True), server.search()):
        prepare(program, PROGRAM)
    try:
        bubblewrap.version(bubblewrap.find())
    except (RepairLabError, OSError):
        pass  # another tier, or none
    encode(Handoff(bundle_dir="/"))
    telemetry = Telemetry(
        ok=False,
        attempts=0,
        strategy=Strategy.EXHAUSTED,
        pattern_id=None,
        details="",
        bundle_sha256=NOTHING,
        parent_sha256=NOTHING,
        version=report.version(),
    )
    encode(telemetry)


warm()
