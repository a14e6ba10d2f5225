"""bench/crew: several workers and operators on one spool, who die between any two system calls, against a simple model.

    python bench/crew.py [--examples 3000] [--steps 50] [--minutes 10] [--seed N]

Hypothesis draws who does what: producers hand in (twice, too), three workers claim, put results, publish their effect
and end jobs in every way, operators hold, release, retry and drop, wall clocks are stepped, time passes. Any of them
may be a fork that dies at a step of the spool, or dies with jobs in hand, and is found by a reaper much later. The
model knows where each job is, but for those that a death has left in doubt. At the end of each example all is served,
and the judge (bench/invariants.py) looks at the directories and at the ledger: nothing lost, doubled, torn or left,
each effect once.

Prints one line; exit 0 when nothing was found, 1 with the shortest course of events that shows it.
"""

import functools
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import program
from hypothesis import HealthCheck, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from invariants import Ledger, check

from repairlab.errors import TemporaryFailure
from repairlab.spool import Claim, Clock, Policy, Spool, State

POLICY = Policy(failures=3, crashes=3, orphans=10_000, max_orphans=10_000, settle_s=0.0, backoff_base_s=10)
DAY_S = 86_400.0
WORKERS = 3
DOCUMENTS = st.integers(0, 5)
OWN = "challenger.json"
DIED = 9
MOST_STEPS = 60
READY = (State.WAITING, State.DEFERRED)
ENDS = {
    "finish": {State.OK},
    "fail": {State.DEFERRED, State.HARD_FAIL},
    "crashed": {State.DEFERRED, State.HARD_FAIL},
    "defer": {State.DEFERRED},
    "reject": {State.REJECTED},
}
MOVES = {
    "hold": READY,
    "release": (State.HOLD,),
    "retry": (State.HARD_FAIL, State.REJECTED, State.OK, State.DEFERRED, State.HOLD),
    "drop": (State.HARD_FAIL, State.REJECTED, State.OK, State.DEFERRED, State.HOLD),
}


class Stepped(Clock):
    """A clock that is moved by hand; its wall clock also backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.passed_s = self.stepped_s = 0.0

    def wall(self) -> float:
        return time.time() + self.passed_s + self.stepped_s

    def boottime(self) -> float:
        return 1e6 + self.passed_s

    def monotonic(self) -> float:
        return self.passed_s


class Crew(RuleBasedStateMachine):
    """Rules are what can happen; the model is `known`: None for a job that a death has left in doubt."""

    spool_class: type[Spool] = Spool

    def __init__(self) -> None:
        super().__init__()
        self.clock = Stepped()
        self.base = Path(tempfile.mkdtemp(prefix="repairlab-crew-"))
        self.ledger = Ledger(self.base / "ledger")
        Path(self.ledger.path).touch()
        self.root = self.base / "state"
        self.spool, self.results = self.spools()
        self.spool.create()
        self.results.create()
        self.known: dict[str, State | None] = {}
        self.held: dict[str, tuple[int, Claim]] = {}
        self.unreaped = False  # somebody has died since a reaper looked: the gate of a job may be shut
        self.copies = 0

    def spools(self, hook: Callable[[str], None] | None = None) -> tuple[Spool, Spool]:
        """What a process of its own has: nothing but the directories and the time."""
        make = functools.partial(self.spool_class, policy=POLICY, random=lambda: 0.5, clock=self.clock, hook=hook)
        below = self.root / "spool"
        return make(below / "repair"), make(below / "challengers", pattern="challenger_*.json")

    # Who does something

    def publish(self, spool: Spool, number: int, copy: int = 0) -> None:
        # One priority a document: who is first must not depend on the times of the file system.
        fields = b'"idempotency_key": "%d", "priority": %d, "copy": %d' % (number, number, copy)
        document = b'{"bundle_dir": "/b", %s}' % fields
        self.ledger.offer(document)
        spool.publish(document)
        self.ledger.accepted(document)

    @staticmethod
    def taken(spool: Spool) -> Claim | None:
        with closing(spool.backlog()) as backlog:
            while backlog.scan(1.0):
                pass
            return backlog.take()

    def ended(self, claim: Claim, results: Spool, kind: str) -> State:
        """End a job as a worker does: what was decided once stays, and its effect is named by the job."""
        own = Path(claim.path, OWN)
        if kind == "finish" or own.exists():
            if not own.exists():
                claim.put(OWN, b'{"idempotency_key": "%s"}' % claim.id.encode())
            return self.finished(claim, results, own.read_bytes())
        if kind == "defer":
            return claim.defer(30.0, "a gate is closed").state
        return {"fail": claim.fail, "crashed": claim.crashed, "reject": claim.reject}[kind]("no patch").state

    def finished(self, claim: Claim, results: Spool, effect: bytes) -> State:
        results.publish(effect, f"challenger_{claim.id}.json")
        return claim.finish().state

    def served(self, spool: Spool, results: Spool, kind: str) -> None:
        if claim := self.taken(spool):
            with claim:
                claim.started()
                self.ended(claim, results, kind)

    def moved(self, spool: Spool, how: str, job_id: str) -> None:
        if how == "drop":
            self.ledger.dropping(job_id)
        getattr(spool, how)(job_id)

    # Producers

    @initialize()
    def begin_with_some(self) -> None:
        for number in range(3):
            self.hand_in(number)

    @rule(number=DOCUMENTS)
    def hand_in(self, number: int) -> None:
        self.publish(self.spool, number)
        self.look()

    @rule(number=DOCUMENTS)
    def hand_in_another_with_the_same_key(self, number: int) -> None:
        self.copies += 1
        self.publish(self.spool, number, self.copies)
        self.look()

    # Workers that live

    @rule(worker=st.integers(0, WORKERS - 1), begin=st.booleans())
    def take(self, worker: int, begin: bool) -> None:
        spool, _ = self.spools()
        if claim := self.taken(spool):
            assert claim.id not in self.held, f"two have {claim.id}"
            assert self.known[claim.id] in READY
            self.known[claim.id] = State.ACTIVE
            self.held[claim.id] = worker, claim
            if begin:
                claim.started()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), kind=st.sampled_from(sorted(ENDS)))
    def end(self, data, kind: str) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.held)))
        _, claim = self.held.pop(job_id)
        decided = Path(claim.path, OWN).exists()
        state = self.ended(claim, self.results, kind)
        assert state in ENDS["finish" if decided else kind]
        self.known[job_id] = state

    @precondition(lambda self: self.held)
    @rule(worker=st.integers(0, WORKERS - 1))
    def die_with_all_in_hand(self, worker: int) -> None:
        """The kernel drops the locks."""
        for job_id in [job_id for job_id, (whose, _) in self.held.items() if whose == worker]:
            self.held.pop(job_id)[1].close()
            self.known[job_id] = None
            self.unreaped = True

    @rule()
    def reap(self) -> None:
        spool, _ = self.spools()
        reaped = {found.id for found in spool.reap()}
        assert not reaped & self.held.keys(), "taken from somebody who lives"
        self.look()
        assert None not in self.known.values(), "one look of a reaper settles what the dead have left"
        self.unreaped = False

    # Operators

    @rule(data=st.data(), how=st.sampled_from(sorted(MOVES)))
    def operate(self, data, how: str) -> None:
        if job_id := self.drawn(data, how):
            try:
                self.moved(self.spool, how, job_id)
            except TemporaryFailure:
                assert self.unreaped, "nobody works on it, and nobody who did has died"
            self.look()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["hold", "retry", "drop"]))
    def an_operator_cannot_touch_what_is_worked_on(self, data, how: str) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.held)))
        try:
            getattr(self.spool, how)(job_id)
        except TemporaryFailure:
            return
        raise AssertionError(f"{how} took {job_id} from whoever works on it")

    def drawn(self, data, how: str) -> str | None:
        ids = sorted(job_id for job_id, state in self.known.items() if state in MOVES[how])
        return data.draw(st.sampled_from(ids)) if ids else None

    # Deaths at a step

    @rule(kind=st.sampled_from(sorted(ENDS)), step=st.integers(1, MOST_STEPS))
    def a_worker_dies_at_a_step(self, kind: str, step: int) -> None:
        self.dies(step, lambda spool, results: self.served(spool, results, kind))

    @rule(data=st.data(), how=st.sampled_from(sorted(MOVES)), step=st.integers(1, 30))
    def an_operator_dies_at_a_step(self, data, how: str, step: int) -> None:
        if job_id := self.drawn(data, how):
            self.dies(step, lambda spool, _: self.moved(spool, how, job_id))

    @rule(number=DOCUMENTS, step=st.integers(1, 12))
    def a_producer_dies_at_a_step(self, number: int, step: int) -> None:
        self.dies(step, lambda spool, _: self.publish(spool, number))

    @rule(step=st.integers(1, 30))
    def a_reaper_dies_at_a_step(self, step: int) -> None:
        self.dies(step, lambda spool, _: list(spool.reap()))

    def dies(self, step: int, act: Callable[[Spool, Spool], object]) -> None:
        """Let a fork act, and die after so many steps of its spools; it may have ended before."""
        if (pid := os.fork()) == 0:
            _die_acting(self.spools(_deadly(step)), act)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, DIED), f"it ended with {code}"
        self.unreaped = True
        self.look()

    # Time

    @rule(seconds=st.sampled_from([1.0, 60.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.passed_s += seconds

    @rule(seconds=st.sampled_from([-DAY_S / 4, DAY_S / 4]))
    def the_wall_clock_is_stepped(self, seconds: float) -> None:
        self.clock.stepped_s += seconds

    @rule()
    def sweep(self) -> None:
        self.spool.sweep()

    # What must hold

    def places(self) -> dict[str, State]:
        """Where each job is; what was handed in again may wait beside its own job."""
        there: dict[str, State] = {}
        for job in self.spool.jobs():
            before = there.setdefault(job.id, job.state)
            if before is not job.state:
                assert State.WAITING in (before, job.state), f"{job.id} is in {before} and {job.state}"
                there[job.id] = job.state if before is State.WAITING else before
        return there

    def look(self) -> None:
        """Take from the directories where everything is that nobody has in hand."""
        there = self.places()
        doubt = {job_id for job_id, state in there.items() if state is State.ACTIVE and job_id not in self.held}
        self.known = {job_id: None if job_id in doubt else state for job_id, state in there.items()}

    @invariant()
    def each_job_is_where_it_was_last_seen(self) -> None:
        there = self.places()
        for job_id, state in self.known.items():
            assert there.get(job_id) is (state or State.ACTIVE), f"{job_id} is in {there.get(job_id)}, not {state}"
        assert there.keys() == self.known.keys()

    def teardown(self) -> None:
        """Let everybody die, serve to the end, and call the judge."""
        try:
            for _, claim in self.held.values():
                claim.close()
            assert list(self.serve_to_the_end()) == []
            found = check(self.root, self.ledger)
            assert found == [], found
        finally:
            shutil.rmtree(self.base)

    def serve_to_the_end(self) -> Iterator[str]:
        spool, results = self.spools()
        for _ in range(200):
            self.clock.passed_s += 1000
            list(spool.reap())
            for job in list(spool.jobs(State.HOLD)):
                spool.release(job.id)
            self.served(spool, results, "finish")
            if next(spool.jobs(*READY), None) is None and not os.listdir(spool.path / "active"):
                break
        for claim in results.claims():
            claim.finish()
        self.clock.stepped_s += 3 * DAY_S
        for each in (spool, results):
            each.sweep()
            yield from map(str, each.fsck())


def _deadly(step: int) -> Callable[[str], None]:
    left = iter(range(step))

    def hook(_step: str) -> None:
        if next(left, None) is None:
            os._exit(DIED)

    return hook


def _die_acting(spools: tuple[Spool, Spool], act: Callable[[Spool, Spool], object]) -> None:
    try:
        act(*spools)
    except TemporaryFailure:
        os._exit(0)  # what the dead have left is in its way
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(os.EX_SOFTWARE)
    os._exit(0)


def run(machine: type[Crew], examples: int, steps: int, **more) -> None:
    """Run the machine; raise what it finds."""
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    wanted = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=quiet, **more
    )
    run_state_machine_as_test(machine, settings=wanted)


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--examples", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10, help="then no further hundred of examples is begun")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    os.fsync = lambda _: None  # no power is cut here
    began, done = time.monotonic(), 0
    while done < options.examples and time.monotonic() - began < options.minutes * 60:
        hundred = min(100, options.examples - done)
        try:
            run(seeded(options.seed + done)(Crew), hundred, options.steps, database=None, print_blob=False)
        except AssertionError:
            traceback.print_exc()
            print(f"crew: seed {options.seed + done}: a finding among {done} to {done + hundred} examples")
            return 1
        done += hundred
    told = f"{done:,} of {options.examples:,} examples of {options.steps} steps in {time.monotonic() - began:.0f} s"
    print(f"crew: seed {options.seed}: {told}, 0 findings")
    return 0


if __name__ == "__main__":
    sys.exit(main())
