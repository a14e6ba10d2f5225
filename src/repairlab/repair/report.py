"""report: what an attempt says of itself: telemetry, the patch, the N best candidates."""

import sys
import time
from functools import cache
from importlib import metadata

from repairlab.documents import Candidate, Suspect, Telemetry, Timings
from repairlab.repair.attempt import Attempt
from repairlab.repair.clusters import Cluster, question
from repairlab.repair.diff import unified
from repairlab.repair.ground import suspects
from repairlab.repair.ranking import SHOWN, Plausible

LINES_SHOWN = 20
TESTS_SHOWN = 100
NAME_SHOWN = 500


@cache
def version() -> str:
    """Return our version, '' where we run from a tree that was never installed."""
    try:
        return metadata.version("repairlab")
    except metadata.PackageNotFoundError:
        return ""


class Report:
    """The report on one attempt, taken once it is over."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.clusters = [cluster for cluster in attempt.clusters if cluster.patches]
        self.patches = [cluster.patches[0] for cluster in self.clusters[:SHOWN]]

    def diffs(self) -> dict[str, bytes]:
        """Return file name → patch; patch.diff is there only when it is verified, and empty for noop."""
        found = {f"candidates/{number:02}.diff": self._diff(patch) for number, patch in enumerate(self.patches, 1)}
        if self.attempt.ok:
            found["patch.diff"] = self._diff(self.attempt.chosen) if self.attempt.chosen else b""
        return found

    def _diff(self, patch: Plausible) -> bytes:
        bundle = self.attempt.bundle
        return unified({path: (bundle.as_it_came(path), new) for path, new in bundle.patched(patch.edits).items()})

    def telemetry(self) -> Telemetry:
        """Return the document."""
        attempt, search = self.attempt, self.attempt.search
        parent = attempt.bundle.sha256()
        changed = attempt.bundle.patched(attempt.chosen.edits) if attempt.chosen else {}
        found = search or attempt.loading
        tried = (search.tried if search else 0) + (attempt.loading.tried if attempt.loading else 0)
        return Telemetry(
            ok=attempt.ok,
            attempts=tried,
            strategy=attempt.strategy,
            pattern_id=attempt.chosen.pattern_id if attempt.chosen else None,
            details=attempt.details[:8000],
            bundle_sha256=attempt.bundle.sha256(changed),
            parent_sha256=parent,
            version=version(),
            effort=attempt.effort,
            reason=attempt.reason,
            candidates_per_s=round(search.tried / search.seconds, 1) if search and search.seconds else 0.0,
            first_tried=min((patch.tried for patch in found.plausible), default=0) if found else 0,
            tests=len(attempt.tests),
            failed=None if attempt.loading else sum(test.failing for test in attempt.tests),
            failing=[test.id[:NAME_SHOWN] for test in attempt.tests if test.failing][:TESTS_SHOWN],
            localization=self._localization(),
            timings=self._timings(),
            strategies=attempt.ledger.told(),
            candidates=[self._candidate(number, cluster) for number, cluster in enumerate(self.clusters[:SHOWN], 1)],
            correct=attempt.correct,
            confidence=self.clusters[0].confidence if self.clusters else None,
            clusters=len(self.clusters),
            question=question(self.clusters, attempt.seen),
            sandbox=attempt.setup.sandbox.tier,
            python=attempt.setup.python or sys.executable,
        )

    def _localization(self) -> list[Suspect]:
        return [
            Suspect(file=path, line=line, suspiciousness=round(share, 4))
            for (path, line), share in suspects(self.attempt.suspicion, LINES_SHOWN)
        ]

    def _timings(self) -> Timings:
        self.attempt.timings["sandbox_s"] = sum(self.attempt.setup.started_s)
        known = {name: round(seconds, 4) for name, seconds in self.attempt.timings.items()}
        return Timings(**known, total_s=round(time.monotonic() - self.attempt.began, 4))

    def _candidate(self, number: int, cluster: Cluster) -> Candidate:
        patch = cluster.patches[0]
        first = patch.changes[0]
        return Candidate(
            diff=f"candidates/{number:02}.diff",
            strategy=patch.strategy,
            pattern_id=patch.pattern_id,
            transformation=patch.note,
            file=first.line[0],
            line=first.line[1],
            score=round(patch.score, 6),
            passed=len(self.attempt.tests),
            tests=len(self.attempt.tests),
            cluster=number,
            cluster_size=cluster.size,
            correct=cluster.correct,
            confidence=cluster.confidence,
        )
