"""spool: the queue protocol; a directory is the state of a job.

A producer publishes a document, or copies a file into the queue directory. A consumer claims it, works in its
directory, and leaves it as done, failed, deferred, held or rejected; the rename that leaves is the change of state.
Whatever dies in between is carried on by the reaper. docs/internals.md tabulates states, transitions and crash points.

Simple consumers iterate over `Spool.claims()`. A watcher keeps a `Backlog`: `hint` from file events, `scan` in slices,
`take` when a worker is free, `next_wakeup` for its poll. `trouble`, `read_file` and `usage` are the ground of others.
"""

from repairlab.spool.backlog import Backlog, Incident
from repairlab.spool.claim import Claim
from repairlab.spool.disk import read_file, trouble
from repairlab.spool.fingerprints import Fingerprint
from repairlab.spool.fsck import Finding, Stray
from repairlab.spool.history import Clock, Event
from repairlab.spool.job import Job
from repairlab.spool.measure import usage
from repairlab.spool.order import Entry
from repairlab.spool.policy import Policy, State
from repairlab.spool.reaper import Reaped
from repairlab.spool.spool import Spool
from repairlab.spool.upkeep import Expired

__all__ = [
    "Backlog",
    "Claim",
    "Clock",
    "Entry",
    "Event",
    "Expired",
    "Finding",
    "Fingerprint",
    "Incident",
    "Job",
    "Policy",
    "Reaped",
    "Spool",
    "State",
    "Stray",
    "read_file",
    "trouble",
    "usage",
]
