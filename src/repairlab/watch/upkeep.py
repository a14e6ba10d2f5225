"""watch.upkeep: the worker that removes a queue's litter: stale staging files, interrupted removals, old fingerprints.

    --queue DIR

What it removes belongs to nobody; it may run beside any number of watchers, and die at any moment.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from repairlab.commandline import Parser
from repairlab.spool import Spool


def main(argv: Sequence[str]) -> int:
    """Sweep one queue."""
    parser = Parser("repairlab-upkeep", "Remove a queue's litter.", root=False)
    parser.add_argument("--queue", type=Path, required=True)
    Spool(parser.read(argv).queue).sweep()
    return os.EX_OK
