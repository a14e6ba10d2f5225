"""watch.slots: how many agents may run, and whose.

There are `concurrency` slots. While others wait, one group (submitter and lineage) gets all but one of them; alone it
may have them all. Should one group hold them all when somebody else arrives, one more agent than that is started: a
hostile group whose agents hang until their deadline never keeps everybody else waiting.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Protocol, TypeVar

K = TypeVar("K")


class Entry(Protocol):
    """What is known of a waiting job."""

    @property
    def submitter(self) -> int:
        """The uid that handed it in."""

    @property
    def lineage(self) -> str:
        """Its line of descent, or the submitter's default."""


@dataclass
class Slots:
    """Who holds how many; `probing` is set while it is unknown whether agents can run at all, and allows one."""

    concurrency: int
    per_lineage: int = 0
    probing: bool = False

    def __post_init__(self) -> None:
        self._groups: Counter[tuple[int, str]] = Counter()
        self._submitters: Counter[int] = Counter()
        self.used = 0

    def hold(self, entry: Entry) -> None:
        """Give a slot away."""
        self._groups[entry.submitter, entry.lineage] += 1
        self._submitters[entry.submitter] += 1
        self.used += 1

    def free(self, entry: Entry) -> None:
        """Take it back."""
        _less(self._groups, (entry.submitter, entry.lineage))
        _less(self._submitters, entry.submitter)
        self.used -= 1

    @property
    def room(self) -> bool:
        """Whether it is worth asking for another job."""
        if self.probing:
            return self.used == 0
        return self.used < self.concurrency or (self.used == self.concurrency and self._monopoly)

    @property
    def _monopoly(self) -> bool:
        return self.used > 0 and min(len(self._groups), len(self._submitters)) == 1

    def fair(self, entry: Entry) -> bool:
        """Whether the job may start while others wait."""
        share = self.per_lineage or max(1, self.concurrency - 1)
        return self._groups[entry.submitter, entry.lineage] < share and self.any(entry)

    def any(self, entry: Entry) -> bool:
        """Whether the job may start when nobody else waits."""
        held = self._groups.get((entry.submitter, entry.lineage), 0)
        if self.per_lineage and held >= self.per_lineage:
            return False
        if self.used < self.concurrency:
            return True
        if self.used > self.concurrency or held or not self._monopoly:
            return False
        # Beyond the slots: only for somebody who has none where one has all.
        return len(self._groups) == 1 or not self._submitters[entry.submitter]


def _less(counter: Counter[K], key: K) -> None:
    """Count one less, and forget a key that has none: the number of keys is the number of holders."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
