"""confirmation: from what passed in the search to what is believed: plain pytest, then the held-out tests.

The best patch of a cluster is put into a fresh sandbox with the tests that the search saw; the first that passes is the
repair. Where there are held-out tests, another fresh sandbox holds them as well, and the first patches of the clusters
are judged by them in turn, until one passes: they decide `correct`, and which patch leads. Each gets a share of what
time is left; what uses all of its share is wrong, so that an endless patch takes nobody else's.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from repairlab.repair.clusters import Cluster
from repairlab.repair.ranking import SHOWN, Plausible
from repairlab.repair.verification import OTHER_TESTS, Verification, unsteady_between, verify
from repairlab.trial.ahead import Ahead
from repairlab.trial.testrun import TestRun
from repairlab.trial.validation import ARGUMENTS, GRACE_S, PlainRun, Server, ServerLost, Setup, ask

TRIES = 5  # patches that may fail the plain run before the search is called wrong
TRIES_WITHIN = 2  # of one cluster
LEAST_HELD_OUT_S = 2.0  # held-out tests that had less and did not end say nothing
RANKS = {False: 0, None: 1, True: 2}  # what held-out tests say, the best last


@dataclass
class Confirmation:
    """Verifies patches; `chosen` is the one to lead, `why` the last reason against one."""

    setup: Setup
    tests: Sequence[TestRun]
    left: Callable[[], float]
    ahead: Ahead | None = None  # the sandbox of the first run
    why: str = ""
    began: float = field(default_factory=time.monotonic)
    sandboxes: int = 0  # that the attempt had started before
    out_of_time: bool = False
    failed: list[Plausible] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sandboxes = len(self.setup.started_s)

    def plain(self, files: Mapping[str, bytes]) -> Verification:
        """Run the tests that the search saw, as a person would."""
        expected = {test.id: test.outcome for test in self.tests}
        verification = verify(self.setup, files, expected, max(1.0, self.left()), ahead=self.ahead)
        if verification.why == OTHER_TESTS and self.left() > 0 and self._unsteady:
            return verify(self.setup, files, expected, max(1.0, self.left()), self._unsteady)
        return verification

    @cached_property
    def _unsteady(self) -> frozenset[tuple[str, str]]:
        """The tests whose parameters are others each time that the unpatched bundle's tests are collected."""
        try:
            with Server(self.setup, self.left()) as server:
                found = server.collect(max(0.05, self.left() / 2))
        except ServerLost:
            return frozenset()
        return unsteady_between(found.ids, [test.id for test in self.tests]) if found.ids else frozenset()

    def first(self, clusters: list[Cluster]) -> Cluster | None:
        """Return the cluster that leads, and put it first; clusters without a verified patch among the tried go."""
        held = bool(self.setup.bundle.held_out)
        leader = None
        for number, cluster in enumerate(clusters[: SHOWN + TRIES]):
            if leader is not None and (not held or leader.correct):
                break
            if not self._verified(cluster):
                continue
            if held:
                waiting = min(SHOWN, len(clusters) - number)
                cluster.correct = self.held_out(self.setup.bundle.patched(cluster.patches[0].edits), waiting)
            if leader is None or RANKS[cluster.correct] > RANKS[leader.correct]:
                leader = cluster
        clusters[:] = [cluster for cluster in clusters if cluster.patches]
        clusters.sort(key=lambda cluster: (cluster is not leader, cluster.correct is False))
        return leader

    def _verified(self, cluster: Cluster) -> bool:
        """True once a patch of the cluster passes; it then is its first, and those that failed are gone."""
        for _ in range(TRIES_WITHIN):
            if not cluster.patches:
                return False
            if self.left() <= 0 or len(self.failed) >= TRIES:
                self.out_of_time = self.left() <= 0
                return False
            verification = self.plain(self.setup.bundle.patched(cluster.patches[0].edits))
            if verification.ok:
                return True
            self.why = verification.why
            if verification.late and self.left() <= 0:
                self.out_of_time = True  # it did not fail, it did not end: the patch stays one to be shown
                return False
            self.failed.append(cluster.patches.pop(0))
        return False

    def held_out(self, files: Mapping[str, bytes], waiting: int = 1) -> bool | None:
        """Run the held-out tests on the bundle with `files` replaced; None where there was too little time for them.

        `waiting` patches, this one included, share what is left.
        """
        bundle, left = self.setup.bundle, self.left()
        if left <= 0:
            return None
        wall_s = min(left, max(left / (waiting + 1), LEAST_HELD_OUT_S))
        try:
            confined, _ = self.setup.start({**files, **bundle.held_out}, wall_s + GRACE_S)
            with confined:
                request = {
                    "op": "pytest",
                    "arguments": [*ARGUMENTS, *bundle.options, *bundle.held_out_tests],
                    "limit_s": wall_s,
                }
                run = ask(confined, request, PlainRun, wall_s + GRACE_S)
        except ServerLost:
            return False
        return None if run.timed_out and wall_s < LEAST_HELD_OUT_S else accepted(run)


def accepted(run: PlainRun) -> bool:
    """True where status and report say together that at least one test passed and none failed."""
    letters = {letter for _, _, letter in run.cases or ()}
    return run.exit == 0 and not run.timed_out and "p" in letters and letters <= {"p", "s"}
