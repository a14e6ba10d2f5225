"""strategies: what is asked for candidates before and after the search's own, with what each needs to know.

pattern_transplant  generalised edits of the pattern library, and whole functions of it with the same signature
signature_adapter   signatures that are not what they are called with; functions of the library with another one
llm_patch           what a model answers, where that is configured
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from repairlab.config import Settings, patterns_dir
from repairlab.documents import Strategy
from repairlab.repair.bundle import Bundle
from repairlab.repair.candidates import Change
from repairlab.repair.llm import Exchange
from repairlab.repair.localization import Line, TestRun
from repairlab.repair.patterns import Library, Transplants, adapted, applied
from repairlab.repair.stages import Ledger, Proposer
from repairlab.repair.transformations import Project

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
        self.proposers[Strategy.PATTERN_TRANSPLANT].details = self.library.told
        yield from applied(self.library, self.bundle.sources, self.suspicion, self.project)
        yield from self.functions.of(Strategy.PATTERN_TRANSPLANT)

    @cached_property
    def functions(self) -> Transplants:
        """The whole functions that may stand for suspicious ones."""
        return Transplants(self.library, self.bundle.sources, self.suspicion, self.project)

    def _adapters(self) -> Iterator[Change]:
        found = self.functions.of(Strategy.SIGNATURE_ADAPTER)
        self.proposers[Strategy.SIGNATURE_ADAPTER].details = self.functions.told
        yield from adapted(self.bundle.sources, self.failing, self.suspicion)
        yield from found

    def _asked(self) -> Iterator[Change]:
        proposer, spared = self.proposers[Strategy.LLM_PATCH], min(TO_JUDGE_S, self.kept_s / 2)
        sources, parent = self.bundle.sources, self.bundle.sha256()
        wait_s = self.settings.llm.wait_s
        exchange = Exchange(self.root, sources, self.failing, self.suspicion, parent, self.project.width, wait_s)
        yield from exchange.candidates(self.ledger.told(), self.deadline - spared)
        proposer.none, proposer.details = exchange.none, exchange.told
