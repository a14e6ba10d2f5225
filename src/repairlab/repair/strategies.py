"""strategies: what is asked for candidates before and after the search's own, with what each needs to know.

pattern_transplant  generalised edits of the pattern library, and whole functions of it with the same signature
signature_adapter   signatures that are not what they are called with; functions of the library with another one
llm_patch           what a model answers, where that is configured

Those before the search's own have a share of the time each, so that endless candidates leave some for single edits.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import merge
from pathlib import Path

from repairlab.config import Settings, patterns_dir
from repairlab.documents import Strategy
from repairlab.repair.candidates import Change
from repairlab.repair.llm import Exchange
from repairlab.repair.patterns import Library, Transplants, adapted, applied
from repairlab.repair.stages import Ledger, Proposer
from repairlab.repair.transformations import Project
from repairlab.trial.bundle import Bundle
from repairlab.trial.testrun import Line, TestRun

BEFORE_SHARE = 0.3  # of the time that is left, for each of those before single edits
OUT_OF_SHARE = "ended with its share of the time"
MODEL_SHARE = 0.5  # of the search's time, at most, while a model is waited for
TO_JUDGE_S = 2.0  # for its patches, of that


@dataclass
class Strategies:
    """The strategies of one attempt beside the search's own edits.

    `root` is the state directory, `deadline` (monotonic) the end of the search.
    """

    root: Path
    settings: Settings
    bundle: Bundle
    failing: Sequence[TestRun]
    suspicion: Mapping[Line, float]
    project: Project
    ledger: Ledger
    deadline: float
    proposers: dict[Strategy, Proposer] = field(init=False)

    def __post_init__(self) -> None:
        off = "" if self.settings.llm.enabled else "not configured"
        self.proposers = {
            Strategy.PATTERN_TRANSPLANT: Proposer(Strategy.PATTERN_TRANSPLANT, self._transplants),
            Strategy.SIGNATURE_ADAPTER: Proposer(Strategy.SIGNATURE_ADAPTER, self._adapters),
            Strategy.LLM_PATCH: Proposer(Strategy.LLM_PATCH, self._asked, off=off),
        }

    @property
    def before(self) -> list[Proposer]:
        """Those that go before single edits."""
        return [self.proposers[Strategy.PATTERN_TRANSPLANT], self.proposers[Strategy.SIGNATURE_ADAPTER]]

    @property
    def after(self) -> list[Proposer]:
        """Those that go when nothing else helped."""
        return [self.proposers[Strategy.LLM_PATCH]]

    @property
    def kept_s(self) -> float:
        """How much of the search's time is kept for those that go last."""
        if not self.settings.llm.enabled:
            return 0.0
        return min(self.settings.llm.wait_s + TO_JUDGE_S, (self.deadline - time.monotonic()) * MODEL_SHARE)

    @cached_property
    def library(self) -> Library:
        """The patterns."""
        limit = self.settings.agent.patterns
        return Library.read(patterns_dir(self.root), limit) if limit else Library()

    def _transplants(self) -> Iterator[Change]:
        proposer, until = self.proposers[Strategy.PATTERN_TRANSPLANT], self._share()
        proposer.details = self.library.told
        self.functions.until = until
        edits = applied(self.library, self.bundle.sources, self.suspicion, self.project, until)
        whole = self.functions.of(Strategy.PATTERN_TRANSPLANT)
        yield from _within(until, proposer, merge(edits, whole, key=lambda change: -change.score))

    def _share(self) -> float:
        """Return until when a strategy that goes before single edits may go on, if it begins now."""
        now = time.monotonic()
        return now + (self.deadline - self.kept_s - now) * BEFORE_SHARE

    @cached_property
    def functions(self) -> Transplants:
        """The whole functions that may stand for suspicious ones."""
        return Transplants(self.library, self.bundle.sources, self.suspicion, self.project)

    def _adapters(self) -> Iterator[Change]:
        proposer, until = self.proposers[Strategy.SIGNATURE_ADAPTER], self._share()
        found = self.functions.of(Strategy.SIGNATURE_ADAPTER)
        proposer.details = self.functions.told
        yield from _within(until, proposer, [*adapted(self.bundle.sources, self.failing, self.suspicion), *found])

    def _asked(self) -> Iterator[Change]:
        proposer, spared = self.proposers[Strategy.LLM_PATCH], min(TO_JUDGE_S, self.kept_s / 2)
        sources, parent = self.bundle.sources, self.bundle.sha256()
        wait_s = self.settings.llm.wait_s
        exchange = Exchange(self.root, sources, self.failing, self.suspicion, parent, self.project.width, wait_s)
        yield from exchange.candidates(self.ledger.told(), self.deadline - spared)
        proposer.none, proposer.details = exchange.none, exchange.told


def _within(until: float, proposer: Proposer, changes: Iterable[Change]) -> Iterator[Change]:
    """Yield changes until the clock says `until`; the account tells where that cut some off."""
    for change in changes:
        if time.monotonic() >= until:
            proposer.details = "; ".join(filter(None, (OUT_OF_SHARE, proposer.details)))
            return
        yield change
