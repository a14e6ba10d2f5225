"""process: start processes, know how each ended, and leave none behind.

`Zygote` starts workers out of a pre-loaded parent, in about a millisecond; `run` runs one command to its end with
bounds on time and output; `boot_id` and `die_with_parent` are what the kernel says and does about lifetimes. Nothing
but this package and the sandbox starts processes.
"""

from repairlab.process.client import Event, Exited, Lost, NotStarted, Started, Zygote
from repairlab.process.helpers import Completed, boot_id, die_with_parent, run

__all__ = [
    "Completed",
    "Event",
    "Exited",
    "Lost",
    "NotStarted",
    "Started",
    "Zygote",
    "boot_id",
    "die_with_parent",
    "run",
]
