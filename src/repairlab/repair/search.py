"""search: which candidate is tried when, and what is built upon.

Best first over states. The first state is the bundle as it came; a candidate that turns some failing tests green and
breaks none is kept as a new state, with the localization of what still fails, and its candidates compete with those
of its parent: so two independent bugs are two short searches, not one square. Candidates that ran out of time come back
with more of it at a lower score. After all that come pairs of the likeliest single edits, related ones first.

Deterministic up to the clock: the order depends on the bundle, the seed and the effort alone.
"""

import heapq
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from repairlab.documents import Strategy
from repairlab.repair.candidates import Change, generate, widened
from repairlab.repair.ground import LEAST_S, USUAL_S, Ground
from repairlab.repair.localization import suspicious
from repairlab.repair.pairs import pairs
from repairlab.repair.ranking import Plausible, strategy_of
from repairlab.repair.stages import DEADLINE, EXHAUSTED, FOUND_BEFORE, NOT_REACHED, PROPOSED, Ledger, Proposer
from repairlab.repair.transformations import Project
from repairlab.trial.ahead import Ahead
from repairlab.trial.source import Edit, overlapping
from repairlab.trial.validation import GRACE_S, OutOfTime, Server, ServerLost, Setup, Verdict

LIKELIEST = 40  # candidates that get a fork of their own; after them come batches
ALONE, LEAST_BATCH, BATCH = 4, 16, 64  # candidates a request: the first ones, the next ones, the long tail
AHEAD = 2  # requests in the pipe: the server never waits for the agent
PARTIAL_TESTS = 8  # failing tests that a candidate is tried on although it fails one
MORE_TIME = {
    8.0: 0.8,
    40.0: 0.5,
    200.0: 0.4,
}  # raised allowances of candidates that ran out of time → factor on their score
MORE_TIME_SHARE, MORE_TIME_S = 0.4, 1.0  # of all that was spent so far, and seconds, may go there
AFTER_FIRST = (200, 0.5)  # candidates tried after the first plausible one, and more by this share of those before it
INDEPENDENT, SHARED, BREAKING = 0.95, 0.4, 0.15  # weight of a partial repair; see `_weight`
MAX_STATES = 40
MAX_LOST = 6
OWED_S = 2.0  # how long the verdicts that a deadline left behind may take
LACKING = 0.3  # weight of the bundle as it came where such changes are known
NEEDED = 4  # changes without which nothing can pass, that are built upon though nothing passes with them alone
OK = ("p", "s", "x")


@dataclass
class State:
    """A set of changes to build upon, and its candidates from the best on."""

    changes: tuple[Change, ...]
    weight: float
    failing: frozenset[int]
    candidates: list[Change] | None = None
    next: int = 0


Job = tuple[State, Change, float]  # with the factor on its allowance of CPU time


@dataclass
class Search:
    """One search; `plausible` and the counters are its result at any moment."""

    setup: Setup
    ground: Ground
    project: Project
    effort: int
    deadline: float
    start_server: Callable[[], Server]
    ledger: Ledger = field(default_factory=Ledger)
    before: Sequence[Proposer] = ()
    after: Sequence[Proposer] = ()
    kept_s: float = 0.0  # of the time, for those after
    reach: int = 0  # candidates that the attempt before this one is thought to have tried
    plausible: list[Plausible] = field(default_factory=list)
    tried: int = 0
    lost: int = 0
    seconds: float = 0.0
    first_s: float | None = None
    ahead: Ahead | None = None  # the sandbox in which a patch will be verified, once there is one
    reason: str = "exhausted"
    partial: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    _began: float = 0.0
    server: Server | None = None
    owed: int = 0
    _heap: list[tuple[float, int, State]] = field(default_factory=list)
    _states: int = 0
    _seen: set[tuple[Edit, ...]] = field(default_factory=set)
    _slow: list[tuple[float, int, "Job"]] = field(default_factory=list)
    _singles: list[tuple[float, Change]] = field(default_factory=list)
    _spent_again: float = 0.0
    _again: list["Job"] = field(default_factory=list)
    _needed: int = 0
    _pairs: deque[tuple[float, Change, Change]] = field(default_factory=deque)
    _bundle: State = field(init=False)
    _stop_at: float = float("inf")

    def __post_init__(self) -> None:
        self._bundle = State((), 1.0, frozenset(self.ground.order[: self.ground.failing]))

    def run(self, server: Server) -> None:
        """Search until the deadline, exhaustion, or long enough after the first plausible patch."""
        self._began = time.monotonic()
        try:
            self.deadline -= self.kept_s
            for proposer in (*self.before, *self.after):
                self.ledger.accounts[proposer.strategy].why = proposer.off or NOT_REACHED
            for proposer in self.before:
                server = self._propose(server, proposer)
            server = self._last(self._compose(server))
        except ServerLost:
            self.reason = "tests_unruly"
        finally:
            self.ledger.end(self.reason)
            self.seconds = time.monotonic() - self._began

    def idle_server(self, wait_s: float) -> Server | None:
        """Return the server once it owes no verdict, None where that takes too long or the search has lost it."""
        deadline = time.monotonic() + wait_s
        try:
            while self.server is not None and self.owed:
                self.server.result(deadline)
                self.owed -= 1
        except (OutOfTime, ServerLost):
            return None
        return self.server

    def _propose(self, server: Server, proposer: Proposer) -> Server:
        """Try what a strategy names by itself, each candidate upon the bundle as it came."""
        if proposer.off or self._over():
            return server
        self.ledger.open(proposer.strategy)
        changes = islice(proposer.propose(), PROPOSED * self.effort)
        jobs = ((self._bundle, change, 1.0) for change in changes if self._fresh(self._bundle, change))
        server = self._drain(server, lambda: next(jobs, None))
        self.ledger.close(proposer.strategy, self._ended(), proposer.none)
        self.ledger.accounts[proposer.strategy].details = proposer.details[:4000]
        return server

    def _compose(self, server: Server) -> Server:
        """Try single edits, and what can be built upon those that repair in part."""
        if self._over():
            return server
        self.ledger.open(Strategy.HEURISTIC_MICROFIX, Strategy.MULTI_EDIT)
        self._bundle.candidates = self._candidates(self._bundle)
        self._bundle.weight = LACKING if self._needed else 1.0
        self._push(self._bundle)
        server = self._drain(server, self._next)
        self.ledger.close(Strategy.HEURISTIC_MICROFIX, self._ended())
        if not self._over():
            server = self._drain(server, self._next_pair)
        self.ledger.close(Strategy.MULTI_EDIT, self._ended())
        return server

    def _last(self, server: Server) -> Server:
        """Ask those that were kept for the end, in the time that was kept for them."""
        self.server, reason = server, self.reason
        if self.plausible or not any(not proposer.off for proposer in self.after):
            return server
        self.deadline, self.kept_s = self.deadline + self.kept_s, 0.0
        if self.owed and self.idle_server(OWED_S) is None:
            self.owed, server = 0, self._restarted(server)
        self.reason = "exhausted"
        for proposer in self.after:
            server = self._propose(server, proposer)
        self.server, self.reason = server, self.reason if self.plausible else reason
        return server

    def _ended(self) -> str:
        """Say why a stage is over."""
        return (DEADLINE if self.reason == "deadline" else FOUND_BEFORE) if self._over() else EXHAUSTED

    @property
    def _tasters(self) -> int:
        """How many failing tests a candidate that fails one is tried on all the same: none that takes long to fail."""
        quick = [i for i in self.ground.order[: self.ground.failing] if self.ground.tests[i].outcome != "hang"]
        return min(len(quick), PARTIAL_TESTS)

    def _over(self) -> bool:
        if time.monotonic() >= self.deadline:
            self.reason = "deadline"
            return True
        return self.tried >= self._stop_at

    def _drain(self, server: Server, choose: Callable[[], Job | None]) -> Server:
        """Keep `AHEAD` candidates in the pipe until `choose` has no more; return the server (it may be a new one)."""
        pipe: list[Job] = []
        while True:
            try:
                while len(pipe) < AHEAD * self._batch and not self._over() and (jobs := self._some(choose)):
                    pipe += jobs
                    alone = self.tried < LIKELIEST
                    edits = [edits_of(*job) for job in jobs]
                    server.submit(edits, scale=jobs[0][2], partial=self._tasters, alone=alone)
                if not pipe or time.monotonic() >= self.deadline:
                    self.owed = len(pipe)
                    return server  # past the deadline, what is in the pipe is left there
                verdict = server.result(self.deadline)
            except OutOfTime:
                continue
            except ServerLost:
                server = self._restarted(server)
                del pipe[:1]  # what it was at work on ended it; the others were only waiting
                waiting, pipe = pipe, []
                self._again = waiting + self._again
                continue
            self._judge(*pipe.pop(0), verdict)

    @property
    def _batch(self) -> int:
        return ALONE if self.tried < LIKELIEST else max(LEAST_BATCH, min(BATCH, self.tried // 4))

    def _some(self, choose: Callable[[], "Job | None"]) -> list["Job"]:
        """Return the next candidates to go together: of one allowance, as many as a batch takes."""
        jobs: list[Job] = []
        while len(jobs) < self._batch and (job := self._choose(choose)) is not None:
            if jobs and job[2] != jobs[0][2]:
                self._again.insert(0, job)
                break
            jobs.append(job)
        return jobs

    def _choose(self, choose: Callable[[], "Job | None"]) -> "Job | None":
        return self._again.pop(0) if self._again else choose()

    def _restarted(self, server: Server) -> Server:
        self.lost += 1
        server.__exit__(None, None, None)
        if self.lost > MAX_LOST:
            raise ServerLost("the tests end the server again and again")
        return self.start_server()

    def _push(self, state: State) -> None:
        """Queue a state by its next candidate; by the best thinkable one while its candidates are not made yet."""
        if state.candidates is None or state.next < len(state.candidates):
            score = 1.0 if state.candidates is None else state.candidates[state.next].score
            self._states += 1
            heapq.heappush(self._heap, (-state.weight * score, self._states, state))

    def _candidates(self, state: State) -> list[Change]:
        tests = self.ground.tests
        failing = [tests[index] for index in sorted(state.failing)]
        passing = [test for index, test in enumerate(tests) if index not in state.failing and test.outcome in OK]
        suspicion, sources = suspicious(failing, passing), self.setup.bundle.sources
        found = generate(sources, suspicion, self.project)
        if self.effort == 1:
            return found
        return widened(found, generate(sources, suspicion, replace(self.project, width=self.effort - 1))[: self.reach])

    def _next(self) -> Job | None:
        """Return the next candidate: a new one, or one to be tried for longer."""
        while self._heap or self._slow:
            if self._slow and (not self._heap or (self._slow[0][0] <= self._heap[0][0] and self._affordable())):
                job = heapq.heappop(self._slow)[2]
                self._spent_again += job[2] * self._longest
                return job
            _, _, state = heapq.heappop(self._heap)
            if state.candidates is None:
                state.candidates = self._candidates(state)
                self._push(state)
                continue
            change = state.candidates[state.next]
            state.next += 1
            self._push(state)
            if self._fresh(state, change):
                return state, change, 1.0
        return None

    @property
    def _longest(self) -> float:
        """The largest allowance of a failing test, in tenths of a second: measured time would not repeat."""
        allowed = max(self.ground.allow[index] for index in self.ground.order[: self.ground.failing])
        return max(LEAST_S, round(allowed, 1))

    def _affordable(self) -> bool:
        if any(test.outcome == "hang" for test in self.ground.tests):
            return False  # here an endless loop is the rule: more time comes last
        spent = self.tried * USUAL_S + self.verdicts.get("hang", 0) * self._longest
        return self._spent_again <= MORE_TIME_S + MORE_TIME_SHARE * spent

    def _fresh(self, state: State, change: Change) -> bool:
        """True, once, for a combination of edits that do not touch each other."""
        edits = tuple(sorted(edit for each in (*state.changes, change) for edit in each.edits))
        if edits in self._seen or (state.changes and overlapping(edits)):
            return False
        self._seen.add(edits)
        return True

    def _next_pair(self) -> Job | None:
        """Return the next pair of single edits that failed alone, or what was built upon a pair meanwhile."""
        if self.plausible:
            return None
        if self._singles:
            self._pairs = deque(pairs(self._singles, self.effort))
            self._singles = []
        while self._pairs:
            if self._better(self._pairs[0][0]) and (job := self._next()) is not None:
                return job
            _, one, other = self._pairs.popleft()
            state = State((one,), one.score, self._bundle.failing, [])
            if self._fresh(state, other):
                return state, other, 1.0
        return self._next()

    def _better(self, score: float) -> bool:
        """True where a state's next candidate, or one that may have more time now, comes before `score`."""
        slow = bool(self._slow) and -self._slow[0][0] >= score and self._affordable()
        return slow or (bool(self._heap) and -self._heap[0][0] >= score)

    def _judge(self, state: State, change: Change, scale: float, verdict: Verdict) -> None:
        self.tried += 1
        self.verdicts[verdict.verdict] = self.verdicts.get(verdict.verdict, 0) + 1
        changes = (*state.changes, change)
        passed = verdict.verdict == "passed" and not verdict.lost
        self.ledger.charge(strategy_of(changes), tried=1, plausible=int(passed))
        score = state.weight * change.score
        if verdict.lost:
            self.lost += 1
        elif passed:
            self._found(Plausible(changes, score, self.tried))
        elif verdict.verdict == "hang":
            larger = next((factor for factor in MORE_TIME if factor > scale), None)
            if larger is not None:
                heapq.heappush(self._slow, (-score * MORE_TIME[larger], self.tried, (state, change, larger)))
        if not state.changes and verdict.verdict in ("failed", "hang") and not verdict.fresh:
            self._singles.append((score, change))
        if verdict.verdict in ("failed", "hang"):
            self._partial(state, changes, dict(verdict.outcomes))
        if verdict.verdict == "failed" and change.needed and not state.changes and self._needed < NEEDED * self.effort:
            self._needed += 1  # no test says whether it is half of the repair: they all go on to fail inside
            self._push(State(changes, score, state.failing))

    def _found(self, patch: Plausible) -> None:
        if not self.plausible:
            self.first_s = time.monotonic() - self._began
            self.ahead = self.setup.ahead(self.setup.limits.wall_s + GRACE_S)
            extra, share = AFTER_FIRST
            self._stop_at = self.tried + extra * self.effort + share * self.tried
        self.plausible.append(patch)

    def _partial(self, state: State, changes: tuple[Change, ...], outcomes: Mapping[int, str]) -> None:
        """Keep a candidate as a state to build upon when it repairs a failing test."""
        repaired = {index for index in state.failing if outcomes.get(index) in OK}
        if not repaired or len(changes) > 1 + self.effort or self.partial >= MAX_STATES * self.effort:
            return
        broken = any(letter not in OK for index, letter in outcomes.items() if index not in state.failing)
        clean = not broken and len(outcomes) == len(self.ground.order)
        remaining = state.failing - repaired
        if not remaining:
            return  # repairs all that failed and breaks what passed: wrong, not partial
        self.partial += 1
        self._push(State(changes, self._weight(state, changes[-1], remaining, clean=clean), remaining))

    def _weight(self, state: State, change: Change, remaining: frozenset[int], *, clean: bool) -> float:
        """Weigh a partial repair: much where the tests that still fail never run the changed line."""
        if not clean:
            return state.weight * BREAKING / (1 + self.partial)
        apart = not any(change.line in self.ground.tests[index].lines for index in remaining)
        return state.weight * (INDEPENDENT if apart else SHARED / (1 + self.partial / 4))


def edits_of(state: State, change: Change, _scale: float) -> list[Edit]:
    """Return all edits of a candidate."""
    return [edit for each in (*state.changes, change) for edit in each.edits]
