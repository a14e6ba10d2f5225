"""attempt: from a handoff to a verdict: baseline, search, verification, and the named outcome of each way that ends.

already passing                 ok, strategy noop (verified like a patch)
repaired and verified           ok
no_tests, no_tests_ran          pytest collects none; all of them are skipped
pytest_missing                  the bundle's interpreter has no pytest
module_missing, plugin_missing  it lacks a module that is imported, or a plugin of pytest's
configuration_error             pytest refuses its own configuration
syntax_error                    a file does not parse, and no change of a token makes it
expected_failure                a test passes that xfail(strict=True) says must fail
needs_network                   a failing test wants the network
collection_error                a test or what it imports cannot be loaded
tests_flaky                     outcomes differ between runs of the same code
tests_unruly                    the tests end the process that runs them
nothing_editable                no file may be edited
held_out_failed                 the tests pass with a patch, or as they are, and held-out tests fail
verification_failed             patches passed in the search and failed plain pytest
exhausted, deadline, interrupted
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from repairlab import config
from repairlab.config import Settings
from repairlab.documents import Handoff, Strategy
from repairlab.errors import BadInput
from repairlab.repair import outcomes
from repairlab.repair.clusters import Cluster, clustered, singly, weigh
from repairlab.repair.collection import collected, loaded
from repairlab.repair.confirmation import Confirmation
from repairlab.repair.ground import Ground, allowances, order_of, reach
from repairlab.repair.literals import project_of
from repairlab.repair.loading import Base, Loading
from repairlab.repair.localization import raised, suspicious
from repairlab.repair.offering import offered, special
from repairlab.repair.outcomes import Stop
from repairlab.repair.patterns import blamed
from repairlab.repair.ranking import Plausible, ranked
from repairlab.repair.search import Search
from repairlab.repair.stages import FOUND, Ledger
from repairlab.repair.strategies import Strategies
from repairlab.sandbox import SandboxLimits, open_sandbox
from repairlab.sandbox.tree import BundleLimits
from repairlab.trial.bundle import Bundle
from repairlab.trial.probes import MAX_PATCHES, PROBE_S, Behaviour, observe
from repairlab.trial.testrun import PASSING, Line, TestRun
from repairlab.trial.validation import (
    Baseline,
    BaselineTest,
    Collected,
    Server,
    ServerLost,
    Setup,
)

VERIFY_SHARE, VERIFY_S = 0.25, 3.0  # at most this share of the wall time, and seconds, are kept for verification
LEAST_PROBE_S = 1.5  # of wall time must be left for a look at what patches do beyond the tests
OWED_S = 0.5  # the server gets this long for the verdicts that the deadline cut off
HANG_SHARE = 12  # a baseline test may use this part of the wall time
MAX_HANG_S = 10.0
TRACE_FACTOR = 20  # how much longer a test may take under the tracer
MAX_TRACED = 400  # passing tests that are traced, the quickest first
MAX_ENDLESS, ENDLESS_S = 3, 0.3  # endless tests that are traced, and for how long: enough to see where they loop


class Interrupted(BaseException):
    """SIGTERM came; not an Exception, so that nothing but `main` catches it."""


def alike(again: Baseline, tests: Sequence[TestRun]) -> set[int]:
    """Return the tests that come out as they did, and those that had no turn; raise `Stop` where the run was lost."""
    if again.lost:
        raise Stop("tests_unruly", f"the tests end the process that runs them: {again.lost}")
    passing = {test.index: test.outcome in PASSING for test in again.tests}
    return {index for index in passing if passing[index] != tests[index].failing} | set(again.missing)


class Attempt:
    """One attempt; its attributes hold, at any moment, what is known so far."""

    def __init__(self, handoff: Handoff, settings: Settings, *, effort: int) -> None:
        self.began = time.monotonic()
        self.settings = settings
        self.effort = effort
        wall = handoff.limits.wall_s or settings.agent.wall_s
        self.wall_s = min(wall, 86400.0)
        self.deadline = self.began + self.wall_s
        path = Path(handoff.bundle_dir)
        if not path.is_absolute():
            raise BadInput("is not absolute", field="bundle_dir", fix="`repairlab submit DIR` fills it in")
        for name, value in handoff.env.items():
            if not name or "=" in name or "\0" in name + value:
                raise BadInput(f"{name!r} cannot be set in an environment", field="env", fix="leave it out")
        limits = BundleLimits(settings.bundles.max_files, settings.bundles.max_bytes)
        self.bundle = Bundle.read(
            path, tests=handoff.tests, editable=handoff.editable, held_out=handoff.held_out, limits=limits,
            benchmark=handoff.benchmark,
        )  # fmt: skip
        sandbox = open_sandbox(settings.sandbox)
        memory = handoff.limits.memory_mb or settings.agent.memory_mb
        bounds = SandboxLimits.from_settings(settings.sandbox, wall_s=self.wall_s, memory_mb=memory)
        self.setup = Setup(sandbox, bounds, self.bundle, handoff.python, handoff.env)
        self.ok, self.strategy = False, Strategy.EXHAUSTED
        self.reason: str | None = None
        self.details = ""
        self.tests: list[TestRun] = []
        self.suspicion: dict[Line, float] = {}
        self.search: Search | None = None
        self.loading: Loading | None = None
        self.mended = ""  # how a bundle that did not load was made to
        self.chosen: Plausible | None = None
        self.clusters: list[Cluster] = []
        self.seen = Behaviour()
        self.correct: bool | None = None
        self.whole: list[int] = []
        self.timings: dict[str, float] = {}
        self.ledger = Ledger()

    def run(self) -> None:
        """Attempt the repair; the result is in the attributes. To be closed, however it ends."""
        try:
            self._run()
        except Stop as stop:
            self.reason, self.details = stop.reason, stop.details
            if self.mended:
                self.details = f"loads after {self.mended}, but {self.details}"
        except ServerLost as error:
            late = self._left() <= 0
            self.reason = "deadline" if late else "tests_unruly"
            why = "the time was up" if late else "the tests end the process that runs them"
            self.details = f"{why}: {error}"[:2000]
        if self.bundle.left_out:
            self.details += f"; pytest ran without {', '.join(self.bundle.left_out)}"[:500]

    def close(self) -> None:
        """Return when nothing is left of its sandboxes; a report can be made meanwhile."""
        self.setup.close()

    def interrupted(self) -> None:
        """Note that SIGTERM ended the attempt; a verified patch stays one."""
        if not self.ok:
            self.reason, self.details = "interrupted", "SIGTERM ended the attempt"
            if not self.clusters and (found := self.search or self.loading):
                self.clusters = singly(offered(self.bundle, ranked(found.plausible)))

    def _left(self) -> float:
        return self.deadline - time.monotonic()

    def _timed(self, name: str, since: float) -> None:
        self.timings[name] = self.timings.get(name, 0.0) + time.monotonic() - since

    def _run(self) -> None:
        base = self._begun()
        if base is not None:  # it loads with these texts and some tests fail: the ordinary search goes on from here
            self._go_on(base)
        if self.search is None and self.loading is None:
            self._confirm_noop()
        else:
            self._confirm_patch()

    def _begun(self) -> Base | None:
        """Repair in one server what can be loaded; return texts that load where the bundle's own do not."""
        server = Server(self.setup, self._left())
        try:
            began = time.monotonic() - sum(self.setup.started_s)  # what still goes into them is not pytest's
            found = collected(server, self.bundle, self._left())
            self._timed("collect_s", began + sum(self.setup.started_s))
            if not found.errors:
                self._repair(server, found.ids)
                return None
            return self._load(server, found)
        finally:
            server.dismiss()

    def _repair(self, server: Server, ids: list[str]) -> None:
        types = self._baseline(server, ids)
        if stop := outcomes.nothing_ran(self.tests):
            raise stop
        if any(test.failing for test in self.tests):
            self.ledger.close(Strategy.NOOP, "tests fail")
            if stop := outcomes.out_of_reach(self.tests):
                raise stop
            with ExitStack() as restarts:  # a server that still owes verdicts takes no time from the verification
                self._search(server, types, restarts)
                self._cluster()

    def _load(self, server: Server, found: Collected) -> Base | None:
        """Search for texts that load; those that pass all tests are plausible, the best of the others is returned."""
        began = time.monotonic()
        self.ledger.close(Strategy.NOOP, "the tests cannot be loaded")
        reserve, limit_s = min(VERIFY_SHARE * self.wall_s, VERIFY_S), min(MAX_HANG_S, self.wall_s / HANG_SHARE)
        self.loading = Loading(self.bundle, self.effort, self.deadline - reserve, limit_s)
        loaded(server, found, self.loading, lambda: self._timed("search_s", began))
        if not self.loading.plausible:
            return self.loading.bases[0]
        self.tests = self.loading.tests
        self.clusters = singly(offered(self.bundle, ranked(self.loading.plausible)))
        if not self.clusters:
            raise Stop("exhausted", "what loads and passes answers the tests' own inputs and nothing else")
        return None

    def _go_on(self, base: Base) -> None:
        """Repair the bundle as if it had come with the texts of `base`."""
        assert self.loading is not None
        self.bundle = self.bundle.rebased(base.texts)
        self.setup = replace(self.setup, bundle=self.bundle)
        self.mended = " + ".join(change.note for change in base.changes)
        with Server(self.setup, self._left()) as server:
            self._repair(server, collected(server, self.bundle, self._left()).ids)
        if self.search is None:  # what failed when it was loaded passes now
            self.clusters = singly([Plausible((replace(base.changes[-1], edits=()),), base.score, self.loading.tried)])

    def _baseline(self, server: Server, ids: list[str]) -> Mapping[tuple[str, int, str], str]:
        """Run all tests twice, plain and traced; fill `tests` and `suspicion`, return the types of locals seen."""
        began = time.monotonic()
        limit = min(MAX_HANG_S, self.wall_s / HANG_SHARE)
        share = self._left() / 3
        plain = self._whole(
            server.baseline(range(len(ids)), limit_s=limit, wall_s=share, trace=False, plain=False), ids
        )
        self._timed("baseline_s", began)
        began = time.monotonic()
        self.tests = [server.test_run(ids, test) for test in plain]
        if not any(test.failing for test in self.tests):
            return {}
        order, failing = order_of(self.tests)
        endless = [index for index in order if self.tests[index].outcome == "hang"]
        wanted = [index for index in order[: failing + MAX_TRACED] if index not in endless[MAX_ENDLESS:]]
        slow = max([TRACE_FACTOR * test.cpu_s for test in self.tests if test.outcome != "hang"] or [0.0])
        limit_s = min(2 * limit, max(ENDLESS_S, slow))
        traced = server.baseline(wanted, limit_s=limit_s, wall_s=share, trace=True, plain=True, brief=order[failing:])
        if traced.lost:
            raise Stop("tests_unruly", f"the tests end the process that runs them: {traced.lost}")
        return self._merged(server, ids, traced.tests, began)

    def _merged(
        self, server: Server, ids: list[str], traced: list[BaselineTest], began: float
    ) -> Mapping[tuple[str, int, str], str]:
        types: dict[tuple[str, int, str], str] = {}
        unstable = self._unstable(server, ids, traced)
        for test in traced:
            run, known = server.test_run(ids, test), self.tests[test.index]
            lines = {**run.lines, **(blamed(self.bundle.sources, run.message) if run.failing else {})}
            self.tests[test.index] = dataclasses.replace(run, outcome=known.outcome, cpu_s=known.cpu_s, lines=lines)
            for path, line, name, kind in test.types:
                types.setdefault((server.relative(path), line, name), kind)
        stable = [test for test in self.tests if test.failing and test.id not in unstable]
        if unstable and not stable:
            raise Stop("tests_flaky", f"passes and fails on the same code: {', '.join(sorted(unstable)[:5])}")
        self.suspicion = suspicious(stable, [test for test in self.tests if not test.failing])
        self._timed("localize_s", began)
        return types

    def _unstable(self, server: Server, ids: list[str], traced: list[BaselineTest]) -> set[str]:
        """Return the tests that pass and fail on the same code; those that only a plain call changes go to `whole`."""
        runs = [server.test_run(ids, test) for test in traced]
        other = [
            test.index
            for test, run in zip(traced, runs, strict=True)
            if run.failing != self.tests[test.index].failing and run.outcome != "hang"
        ]
        if not other:
            return set()
        limit = min(MAX_HANG_S, self.wall_s / HANG_SHARE)
        stable = set(other)
        for _ in range(2):
            again = server.baseline(other, limit_s=limit, wall_s=self._left() / 6, trace=False, plain=False)
            stable &= alike(again, self.tests)
        self.whole = sorted(stable)
        return {self.tests[index].id for index in other if index not in self.whole}

    @staticmethod
    def _whole(found: Baseline, ids: list[str]) -> list[BaselineTest]:
        if found.lost:
            raise Stop("tests_unruly", f"the tests end the process that runs them: {found.lost}")
        known = {test.index: test for test in found.tests}
        missing = [index for index in range(len(ids)) if index not in known]
        if missing:
            raise Stop("deadline", f"{len(missing)} of {len(ids)} tests did not get their turn at baseline")
        return [known[index] for index in range(len(ids))]

    def _search(self, server: Server, types: Mapping[tuple[str, int, str], str], restarts: ExitStack) -> None:
        if not self.bundle.sources:
            raise Stop("nothing_editable", "no Python file of the bundle may be edited")
        order, failing = order_of(self.tests)
        ground = Ground(self.tests, order, failing, allowances(self.tests))
        ids = [test.id for test in self.tests]
        endless = [index for index, test in enumerate(self.tests) if test.outcome in ("hang", "died")]

        def prepared(server: Server) -> Server:
            server.plan(ground.order, ground.failing, ground.allow, ids, self.whole, endless)
            return server

        def restart() -> Server:
            again = restarts.enter_context(Server(self.setup, self._left()))
            try:
                again.collect(self._left() / 2)
                return prepared(again)
            except ServerLost:
                again.__exit__(None, None, None)
                raise

        if not self.suspicion:
            raise Stop("nothing_editable", "the failing tests run no line of a file that may be edited")
        project = project_of(self.bundle.files, self.bundle.sources, types, self.effort)
        project.raised = raised(self.tests)
        known = self.timings  # with collection, the whole protocol, and whatever else the machine does
        usual = sum(self.setup.started_s) + known.get("collect_s", 0.0) + known.get("baseline_s", 0.0)
        until = self.deadline - min(VERIFY_SHARE * self.wall_s, VERIFY_S + 2 * usual)
        self.search = Search(self.setup, ground, project, self.effort, until, restart, self.ledger)
        failed = [test for test in self.tests if test.failing]
        strategies = Strategies(
            config.root(), self.settings, self.bundle, failed, self.suspicion, project, self.ledger, until
        )
        self.search.before, self.search.after = strategies.before, strategies.after
        self.search.kept_s, self.search.reach = strategies.kept_s, reach(self.tests, order, self.wall_s)
        began = time.monotonic()
        try:
            self.search.run(prepared(server))
        finally:
            self._timed("search_s", began)
            if self.search.first_s is not None:
                self.timings["first_s"] = began - self.began + self.search.first_s

    def _cluster(self) -> None:
        """Sort what was found by what it does on inputs that the tests never gave, while the server still runs."""
        assert self.search is not None
        found = offered(self.bundle, ranked(self.search.plausible))[:MAX_PATCHES]
        if not found:
            raise Stop(self.search.reason, self._summary() + outcomes.hint(self.tests))
        began = time.monotonic()
        self.clusters = singly(found)  # what SIGTERM finds
        idle = self.search.idle_server(OWED_S) if self._left() > LEAST_PROBE_S else None
        if idle is not None:
            patches = [*(patch.edits for patch in found), ()]
            wall_s = min(PROBE_S, self._left() / 3)
            self.seen = observe(idle, self.tests, self.search.ground.order, patches, wall_s=wall_s)
            self.clusters = clustered(found, self.seen, special(self.bundle, found, self.seen))
        if not self.clusters:
            raise Stop("exhausted", "what passes answers the tests' own inputs and nothing else")
        weigh(self.clusters, self.seen)
        self._timed("probe_s", began)

    def _confirm_noop(self) -> None:
        confirmation = self._confirmation()
        verification = confirmation.plain({})
        self._verified(confirmation)
        if not verification.ok:
            raise Stop("tests_flaky", f"all tests pass here, but: {verification.why}")
        if self.bundle.held_out:
            self.correct = confirmation.held_out({})
        if self.correct is False:
            raise Stop("held_out_failed", "all tests pass as they are, and held-out tests fail")
        self._judged()
        self.ledger.close(Strategy.NOOP, FOUND)
        self.strategy, self.details, self.ok = Strategy.NOOP, "all tests pass as they are", True

    def _confirm_patch(self) -> None:
        confirmation = self._confirmation()
        try:
            leader = confirmation.first(self.clusters)
        finally:
            weigh(self.clusters, self.seen)
            self._verified(confirmation)
        if leader is None and confirmation.out_of_time:
            raise Stop("deadline", "no time was left to verify the patch in a fresh sandbox")
        if leader is None:
            raise Stop("verification_failed", f"what passed in the search fails in a plain run: {confirmation.why}")
        patch = leader.patches[0]
        self.strategy, self.correct = patch.strategy, leader.correct
        notes = patch.note
        if self.mended and self.search is not None:
            self.strategy, notes = Strategy.MULTI_EDIT, f"{self.mended} + {patch.note}"
        self.details = f"{notes} at {', '.join(f'{c.line[0]}:{c.line[1]}' for c in patch.changes)}"
        if leader.correct is False:
            raise Stop("held_out_failed", f"held-out tests fail with each of the patches shown; first: {self.details}")
        self._judged()
        self.chosen, self.reason, self.ok = patch, None, True  # last: SIGTERM may come between two lines

    def _verified(self, confirmation: Confirmation) -> None:
        """Note what the verification took, without its sandboxes, which are counted with the others."""
        self._timed("verify_s", confirmation.began + sum(self.setup.started_s[confirmation.sandboxes :]))

    def _judged(self) -> None:
        """Raise `Stop` where held-out tests are named and have said nothing."""
        if self.bundle.held_out and self.correct is None:
            raise Stop("deadline", "no time was left to run the held-out tests")

    def _confirmation(self) -> Confirmation:
        return Confirmation(self.setup, self.tests, self._left, self.search.ahead if self.search else None)

    def _summary(self) -> str:
        assert self.search is not None
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.search.verdicts.items()))
        return f"no candidate passes: {self.search.tried} tried ({counts}), {self.search.partial} repaired in part"
