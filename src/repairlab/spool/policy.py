"""policy: the states of a job and the numbers that decide how often and how soon it is tried."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Self


class State(StrEnum):
    """Where a job is. All but `waiting` are directories that hold one directory a job."""

    WAITING = "waiting"
    ACTIVE = "active"
    DEFERRED = "deferred"
    HOLD = "hold"
    OK = "ok"
    HARD_FAIL = "hard_fail"
    REJECTED = "rejected"


PARKED = (State.DEFERRED, State.HOLD)
TERMINAL = (State.OK, State.HARD_FAIL, State.REJECTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Every setting of a queue. Times are seconds.

    `failures`, `crashes` and `orphans` in one window of `window_s` end a job, as do `max_attempts` counted attempts and
    `max_orphans` dead owners in its life, so that what is slower than the window ends too.
    """

    failures: int = 3
    window_s: float = 600.0
    crashes: int = 3
    orphans: int = 10
    max_attempts: int = 6
    max_orphans: int = 30
    backoff_base_s: float = 10.0
    backoff_cap_s: float = 120.0
    recovery_base_s: float = 1.0
    settle_s: float = 2.0
    rescan_s: float = 5.0
    quota_waiting: int = 200_000
    max_bytes: int = 1 << 20  # the bound of documents.MAX_BYTES: a larger arrival is kept but never read
    backlog_entries: int = 16_384
    tmp_ttl_s: float = 86_400.0
    fingerprint_ttl_s: float = 7 * 86_400.0
    fingerprint_entries: int = 100_000

    @classmethod
    def from_settings(cls, settings: object) -> Self:
        """Return the policy whose fields are the attributes of the same names, the defaults elsewhere."""
        return cls(**{f.name: getattr(settings, f.name) for f in fields(cls) if hasattr(settings, f.name)})

    def backoff_s(self, failures: int, random: Callable[[], float]) -> float:
        """Return the pause before the next attempt after `failures` of them: exponential, full jitter.

        Full jitter (uniform from zero) spreads retries best: M. Brooker, "Exponential Backoff And Jitter", AWS 2015.
        """
        return random() * _exponential(self.backoff_base_s, failures, self.backoff_cap_s)

    def recovery_s(self, orphans: int, random: Callable[[], float]) -> float:
        """Return the pause after the n-th recovery; at least half of it is certain, so that deaths do not hammer."""
        return (0.5 + random() / 2) * _exponential(self.recovery_base_s, orphans, self.backoff_cap_s)


def _exponential(base_s: float, count: int, cap_s: float) -> float:
    return min(cap_s, base_s * 2.0 ** min(max(count - 1, 0), 32))
