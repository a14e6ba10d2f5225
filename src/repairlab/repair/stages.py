"""stages: the strategies of one attempt in their order, and the account of what each was worth.

noop → pattern_transplant → signature_adapter → heuristic_microfix → multi_edit → llm_patch. A strategy that only
proposes candidates is a `Proposer`; single edits and what is built upon them compete in one heap of the search, so
their accounts are open at the same time, and each candidate is charged to the strategy that made it.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from repairlab.documents import Strategy, StrategyRun
from repairlab.repair.candidates import Change

ORDER = tuple(strategy for strategy in Strategy if strategy is not Strategy.EXHAUSTED)
PROPOSED = 300  # candidates of one proposer, times the effort

FOUND, FOUND_BEFORE, EXHAUSTED, DEADLINE = "found", "found by another", "exhausted", "deadline"
NONE, NOT_REACHED, RUNNING, INTERRUPTED = "none known", "not reached", "", "interrupted"


@dataclass
class Proposer:
    """A strategy that names its candidates, the best first; `none` says why where there are none."""

    strategy: Strategy
    propose: Callable[[], Iterable[Change]]
    none: str = NONE
    details: str = ""
    off: str = ""  # why it is not to be asked at all


@dataclass
class Account:
    """What one strategy cost and brought."""

    tried: int = 0
    plausible: int = 0
    wall_s: float = 0.0
    why: str = NOT_REACHED
    details: str = ""


@dataclass
class Ledger:
    """The accounts of all strategies; time is charged from one entry to the next."""

    accounts: dict[Strategy, Account] = field(default_factory=lambda: {strategy: Account() for strategy in ORDER})
    _since: float = field(default_factory=time.monotonic)

    def open(self, *strategies: Strategy) -> None:
        """Note that it is the turn of `strategies`."""
        self._since = time.monotonic()
        for strategy in strategies:
            self.accounts[strategy].why = RUNNING

    def charge(self, strategy: Strategy, *, tried: int = 0, plausible: int = 0) -> None:
        """Charge the time since the last entry, and what was tried and found in it."""
        now, account = time.monotonic(), self.accounts[strategy]
        account.wall_s += now - self._since
        account.tried += tried
        account.plausible += plausible
        self._since = now

    def close(self, strategy: Strategy, why: str, none: str = EXHAUSTED) -> None:
        """Charge what is left and note why the strategy ended; `none` where it was exhausted without a candidate."""
        self.charge(strategy)
        account = self.accounts[strategy]
        if why == EXHAUSTED and not account.tried:
            why = none
        account.why = FOUND if account.plausible else why

    def end(self, why: str) -> None:
        """Note that whatever runs was ended from without."""
        for strategy, account in self.accounts.items():
            if account.why == RUNNING:
                self.close(strategy, INTERRUPTED if why == EXHAUSTED else why)

    def told(self) -> list[StrategyRun]:
        """Return the accounts in the order of the strategies."""
        return [
            StrategyRun(
                strategy=strategy,
                tried=account.tried,
                plausible=account.plausible,
                wall_s=round(account.wall_s, 4),
                why=account.why,
                details=account.details,
            )
            for strategy, account in self.accounts.items()
        ]
