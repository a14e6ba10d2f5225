"""order: which of the known entries is next, fairly, in logarithmic time; no system calls here.

Ready entries are kept by submitter, then priority, then lineage; submitters and lineages take turns, least recently
served first. A priority is for one's own jobs: whatever somebody gives to his, he has his turn and no more. Waiting
entries are kept by the time at which they are due. Both halves are bounded.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
_REMEMBERED = 8192  # submitters, and lineages, whose last turn is kept


@dataclass(frozen=True, slots=True)
class Entry:
    """One waiting file or deferred job (`name` is its id then); `since` is seconds since the epoch."""

    name: str
    arrival: bool
    priority: int
    lineage: str
    submitter: int
    since: float

    @property
    def group(self) -> tuple[int, str]:
        """What is served in turn."""
        return (self.submitter, self.lineage)


class Turns(Generic[K]):
    """Keys, least recently served first. A heap entry whose turn has changed since is repaired when it comes up."""

    def __init__(self, last: dict[K, int]) -> None:
        self._last = last
        self._heap: list[tuple[int, int, K]] = []
        self._alive: dict[K, int] = {}
        self._number = count()

    def __bool__(self) -> bool:
        return bool(self._alive)

    def add(self, key: K) -> None:
        """Let `key` take turns; a key that has never been served is first."""
        if key not in self._alive:
            self._alive[key] = next(self._number)
            heapq.heappush(self._heap, (self._last.get(key, 0), self._alive[key], key))

    def discard(self, key: K) -> None:
        """Let `key` take no more turns."""
        self._alive.pop(key, None)

    def first(self, find: Callable[[K], T | None]) -> T | None:
        """Return the first `find(key)` that is not None, in the order of turns."""
        passed: list[tuple[int, int, K]] = []
        try:
            while self._heap:
                turn, number, key = heapq.heappop(self._heap)
                if self._alive.get(key) != number:
                    continue
                if (now := self._last.get(key, 0)) > turn:
                    heapq.heappush(self._heap, (now, number, key))
                    continue
                passed.append((turn, number, key))
                if (found := find(key)) is not None:
                    return found
            return None
        finally:
            for item in passed:
                heapq.heappush(self._heap, item)


class Level:
    """The ready entries of one submitter that have the same priority."""

    def __init__(self, order: "Order") -> None:
        self._order = order
        self._lineages = Turns(order.lineage_turns)
        self._groups: dict[tuple[int, str], list[tuple[float, int, Entry]]] = {}
        self._sizes: dict[tuple[int, str], int] = {}
        self._fullest: tuple[int, str] | None = None

    def __bool__(self) -> bool:
        return bool(self._sizes)

    def size(self, group: tuple[int, str]) -> int:
        """Return how many entries a group has here."""
        return self._sizes.get(group, 0)

    def add(self, entry: Entry, number: int) -> None:
        """Put an entry in its place, O(log n)."""
        group = entry.group
        self._lineages.add(group)
        heapq.heappush(self._groups.setdefault(group, []), (entry.since, number, entry))
        self._sizes[group] = self.size(group) + 1
        if self._fullest is not None and self._sizes[group] > self.size(self._fullest):
            self._fullest = group

    def forget(self, entry: Entry) -> None:
        """Count an entry out; the heap drops it when it comes up."""
        group = entry.group
        self._sizes[group] -= 1
        if self._sizes[group]:
            return
        del self._sizes[group], self._groups[group]
        if self._fullest == group:
            self._fullest = None
        self._lineages.discard(group)

    def next(self, eligible: Callable[[Entry], bool]) -> Entry | None:
        """Return the entry whose turn it is."""

        def of_group(group: tuple[int, str]) -> Entry | None:
            head = self._head(group)
            return head if eligible(head) else None

        return self._lineages.first(of_group)

    def _head(self, group: tuple[int, str]) -> Entry:
        heap = self._groups[group]
        while not self._order.is_ready(heap[0][2]):
            heapq.heappop(heap)
        return heap[0][2]

    def fullest(self) -> tuple[int, str]:
        """Return (about) the fullest group."""
        if self._fullest is None:
            self._fullest = max(self._sizes, key=self._sizes.__getitem__)
        return self._fullest

    def victim(self) -> Entry:
        """Return a late entry of the fullest group."""
        heap = self._groups[self.fullest()]
        while not self._order.is_ready(heap[-1][2]):
            heap.pop()  # the last leaf of a heap can go without repairing it
        return heap[-1][2]


class Order:
    """Ready and waiting entries. `missed` says that something was refused or put out for want of room."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._ready: dict[str, Entry] = {}
        self._held: Counter[int] = Counter()
        self._levels: dict[int, dict[int, Level]] = {}  # of each submitter, by priority
        self._waits: dict[str, tuple[int, Entry]] = {}
        self._dues: list[tuple[float, int, str]] = []
        self._number = count(1)
        self.submitter_turns: dict[int, int] = {}
        self.lineage_turns: dict[tuple[int, str], int] = {}
        self._submitters = Turns(self.submitter_turns)
        self.missed = False

    def __len__(self) -> int:
        return len(self._ready) + len(self._waits)

    def __contains__(self, name: str) -> bool:
        return name in self._ready or name in self._waits

    def is_ready(self, entry: Entry) -> bool:
        """Tell whether this very entry is (still) ready."""
        return self._ready.get(entry.name) is entry

    def refused(self) -> bool:
        """Tell whether the last pass found more than there is room for."""
        return self.missed

    def add(self, entry: Entry) -> None:
        """Make an entry ready, in place of another one if it must be."""
        if entry.name in self or not self._make_room(entry):
            return
        self._ready[entry.name] = entry
        self._held[entry.submitter] += 1
        self._submitters.add(entry.submitter)
        levels = self._levels.setdefault(entry.submitter, {})
        if entry.priority not in levels:
            levels[entry.priority] = Level(self)
        levels[entry.priority].add(entry, next(self._number))

    def _make_room(self, entry: Entry) -> bool:
        """Tell whether the entry may come in, having put out another one for it if need be.

        Who has less in the window than the submitter with the most takes a place of his. All others only trade among
        their own: a priority that one gives to a flood of his own puts nobody else out.
        """
        if len(self._ready) < self._capacity:
            return True
        self.missed = True
        richest = max(self._held, key=self._held.__getitem__)
        poor = self._held[entry.submitter] + 1 < self._held[richest]
        submitter = richest if poor else entry.submitter
        levels = self._levels.get(submitter)
        if not levels:
            return False
        lowest = min(levels)
        level = levels[lowest]
        rarer = entry.priority == lowest and level.size(entry.group) + 1 < level.size(level.fullest())
        if poor or entry.priority > lowest or rarer:
            self.remove(level.victim().name)
            return True
        return False

    def wait(self, entry: Entry, due: float) -> None:
        """Put an entry off until `due`; the latest is forgotten for the next pass to find when there are too many."""
        if entry.name in self or len(self._waits) >= self._capacity:
            self.missed = self.missed or entry.name not in self
            return
        number = next(self._number)
        self._waits[entry.name] = (number, entry)
        heapq.heappush(self._dues, (due, number, entry.name))

    def remove(self, name: str) -> None:
        """Forget an entry, ready or waiting."""
        self._waits.pop(name, None)
        entry = self._ready.pop(name, None)
        if entry is None:
            return
        levels = self._levels[entry.submitter]
        levels[entry.priority].forget(entry)
        if not levels[entry.priority]:
            del levels[entry.priority]
        self._held[entry.submitter] -= 1
        if not self._held[entry.submitter]:
            del self._held[entry.submitter], self._levels[entry.submitter]
            self._submitters.discard(entry.submitter)

    def due(self, now: float) -> Iterator[Entry]:
        """Yield, and forget, the waiting entries that are due."""
        while self._dues and self._dues[0][0] <= now:
            _, number, name = heapq.heappop(self._dues)
            if name in self._waits and self._waits[name][0] == number:
                yield self._waits.pop(name)[1]

    def next_due(self) -> float | None:
        """Return when the first waiting entry is due."""
        while self._dues and self._waits.get(self._dues[0][2], (0,))[0] != self._dues[0][1]:
            heapq.heappop(self._dues)
        return self._dues[0][0] if self._dues else None

    def next(self, eligible: Callable[[Entry], bool] | None) -> Entry | None:
        """Return the entry to take, which stays; None when there is none that is eligible."""

        def of_submitter(submitter: int) -> Entry | None:
            levels = self._levels[submitter]
            found = (levels[priority].next(eligible or _any) for priority in sorted(levels, reverse=True))
            return next((entry for entry in found if entry is not None), None)

        return self._submitters.first(of_submitter)

    def served(self, entry: Entry) -> None:
        """Put the entry's submitter and lineage at the end of their queues."""
        turn = next(self._number)
        _remember(self.submitter_turns, entry.submitter, turn)
        _remember(self.lineage_turns, entry.group, turn)


def _any(_: Entry) -> bool:
    return True


def _remember(turns: dict[K, int], key: K, turn: int) -> None:
    turns.pop(key, None)
    turns[key] = turn
    if len(turns) > _REMEMBERED:
        del turns[next(iter(turns))]
