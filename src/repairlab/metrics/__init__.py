"""metrics: the log of evaluations, one durable line each, and what can be asked of a million of them within a second.

    <root>/metrics/metrics.jsonl            the live segment; ends in a newline, whatever died while it was written
    <root>/metrics/metrics-NNNNNN.jsonl     a full segment, which never changes again
    <root>/metrics/metrics-NNNNNN.sums      its sums, so that nobody need read it again; anybody can make it anew

`MetricsLog` appends under a lock and reads; `Sums` adds rows up by lineage, strategy, pattern, spec and hour. Readers
take no lock: a line without its end is not there yet, a damaged one is skipped and counted.
"""

from repairlab.metrics.log import MetricsLog, Position, Uses
from repairlab.metrics.sums import BY, Stats, Sums

__all__ = ["BY", "MetricsLog", "Position", "Stats", "Sums", "Uses"]
