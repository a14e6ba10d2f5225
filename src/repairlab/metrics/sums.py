"""sums: rows of the metrics log added up, by what a leaderboard asks for.

A sum is made from raw lines without typing each row (a million of them would take ten times as long); a line that is no
row is counted as damaged and otherwise ignored. Sums of two parts of a log can be added.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Self

import msgspec
import orjson

BY = {"lineage": "lineage", "strategy": "repair_strategy", "pattern": "repair_pattern_id", "spec": "spec_id"}
MILLION = 1_000_000
HOUR = 13  # characters of 2026-01-31T23


class Stats(msgspec.Struct, kw_only=True):
    """What the rows of one group come to; `best` is the id of the row of `fitness_best`.

    `fitness_sum`, and `ms_log`, which sums logarithms of median_ms, are in millionths: integers add up the same in any
    order.
    """

    rows: int = 0
    repairs: int = 0
    correct: int = 0
    promoted: int = 0
    fitness_sum: int = 0
    fitness_best: float = 0.0
    best: str = ""
    ms_log: int = 0
    ms_rows: int = 0
    first: str = ""
    last: str = ""

    def take(self, row: dict[str, Any], at: str) -> None:
        """Add one row."""
        self.rows += 1
        self.repairs += row["meta_repair"] is True
        fitness = float(row["fitness"])
        self.correct += fitness > 0
        self.promoted += row["decision"] == "promoted"
        self.fitness_sum += round(fitness * MILLION)
        if not self.best or fitness > self.fitness_best:
            self.fitness_best, self.best = fitness, row["id"]
        if (ms := row.get("median_ms")) and ms > 0:
            self.ms_log += round(math.log(ms) * MILLION)
            self.ms_rows += 1
        self.first = min(self.first or at, at)
        self.last = max(self.last, at)

    def add(self, other: "Stats") -> None:
        """Add the rows of another; the earlier row stays the best of two equals."""
        if other.rows and (not self.best or other.fitness_best > self.fitness_best):
            self.fitness_best, self.best = other.fitness_best, other.best
        for name in ("rows", "repairs", "correct", "promoted", "fitness_sum", "ms_log", "ms_rows"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.first = min(filter(None, (self.first, other.first)), default="")
        self.last = max(self.last, other.last)

    @property
    def fitness_mean(self) -> float:
        """The mean fitness, 0 to 1."""
        return self.fitness_sum / MILLION / self.rows if self.rows else 0.0

    @property
    def ms(self) -> float | None:
        """The geometric mean of the median times, in milliseconds; None where no row has one."""
        return math.exp(self.ms_log / MILLION / self.ms_rows) if self.ms_rows else None


class Sums(msgspec.Struct, kw_only=True):
    """What a part of the log comes to; `groups` by the names of `BY` and `hour`; `size` in bytes."""

    size: int = 0
    damaged: int = 0
    all: Stats = msgspec.field(default_factory=Stats)
    groups: dict[str, dict[str, Stats]] = msgspec.field(default_factory=lambda: {name: {} for name in (*BY, "hour")})

    @classmethod
    def of(cls, lines: Iterable[bytes]) -> Self:
        """Return the sums of raw lines, each with its newline."""
        made = cls()
        for line in lines:
            made.take(line)
        return made

    def take(self, line: bytes) -> None:
        """Add one raw line."""
        self.size += len(line)
        row = row_of(line)
        if row is None:
            self.damaged += 1
            return
        at = row["timestamp"]
        self.all.take(row, at)
        for group, field in BY.items():
            if isinstance(key := row.get(field), str):
                self._stats(group, key).take(row, at)
        self._stats("hour", at[:HOUR]).take(row, at)

    def _stats(self, group: str, key: str) -> Stats:
        return self.groups[group].setdefault(key, Stats())

    def add(self, other: "Sums") -> None:
        """Add another part of the log, a later one."""
        self.size += other.size
        self.damaged += other.damaged
        self.all.add(other.all)
        for group, found in other.groups.items():
            for key, stats in found.items():
                self._stats(group, key).add(stats)

    def top(self, by: str, number: int) -> Iterator[tuple[str, Stats]]:
        """Yield the best groups: by promotions, best fitness, mean fitness, name."""
        ranked = sorted(
            self.groups[by].items(),
            key=lambda item: (-item[1].promoted, -item[1].fitness_best, -item[1].fitness_mean, item[0]),
        )
        yield from ranked[:number]


def row_of(line: bytes) -> dict[str, Any] | None:
    """Return a line's row if it has what every row has, of the right kinds; None for a damaged line."""
    try:
        row = orjson.loads(line)
        known = isinstance(row["id"], str) and isinstance(row["decision"], str) and isinstance(row["timestamp"], str)
        known = known and isinstance(row.get("median_ms"), float | int | None)
        return row if known and isinstance(row["fitness"], float | int) and "meta_repair" in row else None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
