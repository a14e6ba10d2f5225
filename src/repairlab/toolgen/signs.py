"""signs: that the tournament stands still, by its last rows and the handoffs that were given up.

Rows are folded as they come, so that what is kept grows with the lineages of the window and not with the rows. Each
sign has two bounds: it fires at one, and is armed again only beyond the other.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from repairlab.documents import Decision, MetricsRow
from repairlab.spool import Job

WINDOW = timedelta(days=7)
COLLAPSE = "collapse"
PLATEAU, RECENT, COLLAPSED, RECOVERED, GIVEN_UP = 8, 20, 0.9, 0.6, 3


@dataclass(frozen=True)
class Sign:
    """One sign: its kind, the lineage that it is about, whether it fires now, and whether it has passed."""

    kind: str
    lineage: str
    fires: bool
    passed: bool

    @property
    def name(self) -> str:
        """By what it is remembered; a collapse is one, whichever lineage is asked for variations."""
        return self.kind if self.kind == COLLAPSE else f"{self.kind} {self.lineage}"


@dataclass
class Recent:
    """What is kept of the rows: of each lineage its last decisions and spec, of the repairs the last kinds."""

    won: dict[str, deque[bool]] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)  # whose champion has reached all its targets
    repairs: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=RECENT))

    def take(self, row: MetricsRow) -> None:
        """Take the next row; lineages are in the order of their last one."""
        won = self.won.pop(row.lineage, None) or deque(maxlen=PLATEAU)
        won.append(row.decision is Decision.PROMOTED)
        self.won[row.lineage] = won
        if row.decision in (Decision.PROMOTED, Decision.DEMOTED):
            (self.reached.add if row.missed == [] else self.reached.discard)(row.lineage)
        path = self.paths.pop(row.lineage, None)
        if path := row.spec_path or path:
            self.paths[row.lineage] = path
        if row.meta_repair:
            self.repairs.append((row.repair_pattern_id or str(row.repair_strategy), row.lineage))

    def signs(self) -> Iterable[Sign]:
        """Yield the signs of the rows."""
        for lineage, won in self.won.items():
            stuck = len(won) == PLATEAU and not any(won) and lineage not in self.reached
            yield Sign("plateau", lineage, stuck, won[-1])
        if len(self.repairs) == RECENT:
            kinds = Counter(kind for kind, _ in self.repairs)
            share = kinds.most_common(1)[0][1] / RECENT
            yield Sign(COLLAPSE, self.repairs[-1][1], share >= COLLAPSED, share < RECOVERED)


def given_up(jobs: Iterable[Job]) -> Iterable[Sign]:
    """Yield the signs of jobs that were given up: of each lineage, whether that keeps happening."""
    since, counts = datetime.now(UTC) - WINDOW, Counter[str]()
    for job in jobs:
        counts[job.own(job.lineage)] += job.since >= since
    for lineage, count in counts.items():
        yield Sign("failing", lineage, count >= GIVEN_UP, count == 0)
