"""spool: the queue protocol; a directory is the state of a job."""

from repairlab.spool.backlog import Backlog, Incident
from repairlab.spool.claim import Claim
from repairlab.spool.fingerprints import Fingerprint
from repairlab.spool.fsck import Finding, Stray
from repairlab.spool.history import Clock, Event
from repairlab.spool.job import Job
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
]
