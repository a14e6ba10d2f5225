"""watch.upkeep: the worker that removes a queue's litter: stale staging files, interrupted removals, old fingerprints.

    --queue DIR

What it removes belongs to nobody; it may run beside any number of watchers, and die at any moment.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from repairlab.spool import Spool


def main(argv: Sequence[str]) -> int:
    """Sweep one queue."""
    parser = argparse.ArgumentParser(prog="repairlab-upkeep", description=__doc__)
    parser.add_argument("--queue", type=Path, required=True)
    Spool(parser.parse_args(argv).queue).sweep()
    return os.EX_OK
