"""watch.pressure: when not to claim, because something of our own is short.

Two sources. What is measured: free space and inodes of the state directory, below `min_free_mb` (and a thousand
inodes) nothing is claimed. What is suffered: three jobs in a row, not one job three times, that had to be put off or
could not be claimed for trouble of ours open a breaker; claiming stops for a pause that doubles from 1 s to 60 s, and
after each pause a single job probes whether the trouble is over.

A job of which only its own bundle makes trouble never stops the others: any other job's success closes the breaker.
"""

import os
from pathlib import Path

PATIENCE = 3
LONGEST_S = 60.0
MIN_INODES = 1000
FULL = 1 << 16  # bytes; below it a disk is full whatever the settings say
MEASURE_S = 1.0


class Pressure:
    """Whether to claim, and if not, why; times are those of the caller's monotonic clock."""

    def __init__(self, root: Path, min_free_mb: int) -> None:
        self._root = root
        self._min_free = min_free_mb << 20
        self._measured_at = float("-inf")
        self._short = ""
        self._suffering: list[str] = []
        self._until = float("-inf")
        self._why = ""

    def suffer(self, job_id: str, why: str, now: float) -> None:
        """Note trouble of ours that hit a job ("" for one that could not even be claimed)."""
        if job_id and self._suffering and self._suffering[-1] == job_id:
            return
        self._suffering.append(job_id)
        self._why = why
        over = len(self._suffering) - PATIENCE
        if over >= 0:
            self._until = now + min(LONGEST_S, 2.0 ** min(over, 10))

    def relieve(self) -> None:
        """Note that a job got its answer: whatever it was is over."""
        self._suffering.clear()
        self._until = float("-inf")

    @property
    def probing(self) -> bool:
        """Whether only a single job may find out if the trouble is over."""
        return len(self._suffering) >= PATIENCE

    def why_not(self, now: float) -> str:
        """Return why nothing may be claimed now, "" when it may."""
        if now >= self._measured_at + MEASURE_S:
            self._measured_at = now
            self._short = self._shortage()
        if self._short:
            return self._short
        return self._why if now < self._until else ""

    def shortage(self) -> str:
        """Return what is short at this moment, measured anew, "" for nothing."""
        self._measured_at = float("-inf")
        return self._shortage()

    def next_change(self, now: float) -> float:
        """Return when to ask again, given that something is short now."""
        return self._measured_at + MEASURE_S if self._short else max(self._until, now)

    def _shortage(self) -> str:
        try:
            free = os.statvfs(self._root)
        except OSError as error:
            return f"{self._root}: {error.strerror}"
        # A file system that counts nothing (ramfs) says 0 of 0.
        if free.f_blocks and free.f_bavail * free.f_frsize < max(self._min_free, FULL):
            return f"less than {self._min_free >> 20} MiB are free on the disk of {self._root}"
        # So does one that makes inodes as it goes (btrfs) of those.
        if self._min_free and free.f_files and free.f_favail < MIN_INODES:
            return f"less than {MIN_INODES} inodes are free on the disk of {self._root}"
        return ""
