"""The spool against an in-memory model: any order of what producers, workers, operators and the clock can do.

The model keeps what a person would keep on paper: for each document its state, the failures since it was last forgiven
and when it is due. After every rule the spool is counted and proved; at the end everything is drained and must end in
exactly one place.
"""

import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from repairlab.errors import TemporaryFailure
from repairlab.spool import Claim, Clock, Policy, Spool, State

pytestmark = pytest.mark.timeout(240)  # a few seconds of a processor, and many times as long where the disk is busy

POLICY = Policy(failures=3, window_s=600, max_attempts=5, crashes=2, orphans=3, settle_s=0.0, backoff_base_s=10)
FINGERPRINTS = ("a" * 64, "b" * 64)
JITTER = 0.5
DOCUMENTS = st.integers(0, 5)


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch) -> None:
    """No power is cut here; a flush would only cost examples."""
    monkeypatch.setattr("os.fsync", lambda _: None)


class Hand(Clock):
    """A clock that is moved by hand; files on disk still carry the system's time."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def wall(self) -> float:
        return 2e9 + self.now_s

    def boottime(self) -> float:
        return 1e6 + self.now_s

    def monotonic(self) -> float:
        return self.now_s


@dataclass
class Model:
    """One document on paper."""

    state: State = State.WAITING
    due_s: float = 0.0
    started: bool = False
    events: list[tuple[str, float]] = field(default_factory=list)
    prints: set[str] = field(default_factory=set)

    def count(self, event: str, now_s: float | None = None) -> int:
        recent = [at for name, at in self.events if name == event and (now_s is None or now_s - at < POLICY.window_s)]
        return len(recent)


class SpoolMachine(RuleBasedStateMachine):
    """Rules are what can happen; invariants are what must never change."""

    spool_class: type[Spool] = Spool

    def __init__(self) -> None:
        super().__init__()
        self.clock = Hand()
        self.root = Path(tempfile.mkdtemp(prefix="spool-model-"))
        self.spool = self.spool_class(self.root, policy=POLICY, random=lambda: JITTER, clock=self.clock)
        self.spool.create()
        self.backlog = self.spool.backlog()
        self.model: dict[str, Model] = {}
        self.names: dict[int, str] = {}
        self.claims: dict[str, Claim] = {}
        self.failures: dict[str, list[float]] = {name: [] for name in FINGERPRINTS}
        self.copies = 0

    def teardown(self) -> None:
        for claim in self.claims.values():
            claim.close()
        self.backlog.close()
        shutil.rmtree(self.root)

    # -- producers

    @initialize()
    def begin_with_some(self) -> None:
        for number in range(3):
            self.publish(number)

    @rule(number=DOCUMENTS)
    def publish_one(self, number: int) -> None:
        self.publish(number)

    def publish(self, number: int) -> None:
        # One priority a document: which one is taken must not depend on the timestamps of the file system.
        document = b'{"bundle_dir": "/b", "idempotency_key": "%d", "priority": %d}' % (number, number)
        job = self.spool.publish(document, f"handoff-{number}.json")
        self.backlog.hint(job.name)
        self.model.setdefault(job.id, Model())
        self.names[number] = job.id

    @rule(number=DOCUMENTS)
    def copy_another_with_the_same_key(self, number: int) -> None:
        self.copies += 1
        name = f"handoff-copy-{self.copies}.json"
        job = self.spool.publish(
            b'{"idempotency_key": "%d", "priority": %d, "n": %d}' % (number, number, self.copies), name
        )
        self.model.setdefault(job.id, Model())

    # -- workers

    def now_ready(self) -> set[str]:
        now = self.clock.now_s
        return {i for i, m in self.model.items() if m.state in (State.WAITING, State.DEFERRED) and m.due_s <= now}

    def take(self, begin: bool) -> tuple[Claim, Model] | None:
        self.clock.now_s += 100  # so that every pause of the backlog itself is over
        ready = self.now_ready()
        while self.backlog.scan(1.0):
            pass
        claim = self.backlog.take()
        if claim is None:
            assert not ready, f"{ready} are ready and none was taken"
            return None
        assert claim.id in ready
        model = self.model[claim.id]
        assert claim.effort == 1 + model.count("failed")
        model.state, model.started = State.ACTIVE, begin
        if begin:
            claim.started()
        return claim, model

    @rule(begin=st.booleans())
    def take_and_keep(self, begin: bool) -> None:
        if taken := self.take(begin):
            self.claims[taken[0].id] = taken[0]

    def pick(self, data) -> tuple[Claim, Model]:
        """One of the claims in hand, or a new one."""
        if self.claims and data.draw(st.booleans()):
            job_id = data.draw(st.sampled_from(sorted(self.claims)))
            return self.claims.pop(job_id), self.model[job_id]
        taken = self.take(begin=True)
        assume(taken is not None)
        return taken

    def counted(self, model: Model, event: str, limit: int, before: int) -> None:
        now = self.clock.now_s
        count = 1 + max(before, model.count(event, now))
        model.events.append((event, now))
        life = model.count("failed") + model.count("crashed")
        if count >= limit or life >= POLICY.max_attempts:
            model.state = State.HARD_FAIL
        else:
            pause = min(POLICY.backoff_cap_s, POLICY.backoff_base_s * 2 ** (count - 1))
            model.state, model.due_s = State.DEFERRED, now + JITTER * pause

    @rule(data=st.data())
    def finish(self, data) -> None:
        claim, model = self.pick(data)
        claim.put("result.json", b"{}")
        claim.finish()
        model.state = State.OK

    @rule(data=st.data(), fingerprint=st.sampled_from(FINGERPRINTS))
    def fail(self, data, fingerprint: str) -> None:
        claim, model = self.pick(data)
        now = self.clock.now_s
        known = sum(now - at < POLICY.window_s for at in self.failures[fingerprint])
        assert claim.known_failures(fingerprint).in_window == known
        job = claim.fail("no patch", fingerprint)
        self.counted(model, "failed", POLICY.failures, known)
        self.failures[fingerprint].append(now)
        model.prints.add(fingerprint)
        assert job.state is model.state

    @rule(data=st.data())
    def crash(self, data) -> None:
        claim, model = self.pick(data)
        claim.crashed("signal 11")
        self.counted(model, "crashed", POLICY.crashes, 0)

    @rule(data=st.data(), seconds=st.sampled_from([0.0, 30.0, 500.0]))
    def defer(self, data, seconds: float) -> None:
        claim, model = self.pick(data)
        claim.defer(seconds, "gate closed")
        model.state, model.due_s = State.DEFERRED, self.clock.now_s + seconds

    @rule(data=st.data())
    def reject(self, data) -> None:
        claim, model = self.pick(data)
        claim.reject("not JSON")
        model.state = State.REJECTED

    @rule(data=st.data())
    def die(self, data) -> None:
        """The kernel drops the lock with its last holder; the reaper finds the job."""
        claim, model = self.pick(data)
        claim.close()
        assert [reaped.id for reaped in self.spool.reap()] == [claim.id]
        now = self.clock.now_s
        if not model.started:
            model.state, model.due_s = State.DEFERRED, now
            return
        model.events.append(("orphaned", now))
        count = model.count("orphaned", now)
        model.state = State.HARD_FAIL if count >= POLICY.orphans else State.DEFERRED
        model.due_s = now + 0.75 * min(POLICY.backoff_cap_s, POLICY.recovery_base_s * 2 ** (count - 1))

    # -- operators

    def some(self, data, *states: State) -> str | None:
        ids = sorted(i for i, m in self.model.items() if m.state in states)
        return data.draw(st.sampled_from(ids)) if ids else None

    @rule(data=st.data())
    def hold(self, data) -> None:
        if job_id := self.some(data, State.WAITING, State.DEFERRED):
            self.spool.hold(job_id)
            self.model[job_id].state = State.HOLD

    @rule(data=st.data())
    def release(self, data) -> None:
        if job_id := self.some(data, State.HOLD):
            self.spool.release(job_id)
            self.model[job_id].state, self.model[job_id].due_s = State.DEFERRED, self.clock.now_s

    @rule(data=st.data())
    def retry(self, data) -> None:
        if job_id := self.some(data, State.HARD_FAIL, State.REJECTED, State.OK, State.DEFERRED, State.HOLD):
            self.spool.retry(job_id)
            model = self.model[job_id]
            model.state, model.due_s, model.events = State.DEFERRED, self.clock.now_s, []
            for name in model.prints:
                self.failures[name] = []

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def an_operator_cannot_touch_what_is_worked_on(self, data) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.claims)))
        for method in (self.spool.hold, self.spool.drop, self.spool.retry):
            with pytest.raises(TemporaryFailure):
                method(job_id)

    @rule(data=st.data())
    def drop(self, data) -> None:
        if job_id := self.some(data, State.DEFERRED, State.HOLD, State.HARD_FAIL, State.REJECTED, State.OK):
            self.spool.drop(job_id)
            del self.model[job_id]
            if any(job.id == job_id for job in self.spool.jobs(State.WAITING)):  # a copy that was no duplicate yet
                self.model[job_id] = Model()

    # -- time and other processes

    @rule(seconds=st.sampled_from([1.0, 60.0, 599.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @rule()
    def another_process_looks(self) -> None:
        """A restart: nothing of the state may live in a process."""
        self.backlog.close()
        self.spool = self.spool_class(self.root, policy=POLICY, random=lambda: JITTER, clock=self.clock)
        self.backlog = self.spool.backlog()

    @rule()
    def upkeep(self) -> None:
        assert self.spool.reap() == []
        self.spool.sweep()

    # -- what must always hold

    @invariant()
    def every_job_is_where_the_paper_says(self) -> None:
        there: dict[str, State] = {}
        for job in self.spool.jobs():
            if job.state is State.WAITING and there.get(job.id, State.WAITING) is State.WAITING:
                there[job.id] = job.state
            elif job.state is not State.WAITING:
                assert there.get(job.id, State.WAITING) is State.WAITING, "one id in two places"
                there[job.id] = job.state
        assert there == {job_id: model.state for job_id, model in self.model.items()}

    @invariant()
    def the_tree_is_sound(self) -> None:
        assert self.spool.fsck() == []


def test_spool_behaves_like_its_model() -> None:
    run_state_machine_as_test(
        SpoolMachine,
        settings=settings(
            max_examples=100,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )


class Forgetful(Spool):
    """A spool whose retry forgives nothing."""

    def retry(self, job_id: str):
        with suppress(Exception):
            self.hold(job_id)
        job = self.find(job_id)
        if job.state is State.HOLD:
            return self.release(job_id)
        return super().retry(job_id)


class ForgetfulMachine(SpoolMachine):
    spool_class = Forgetful


def test_control_the_machine_finds_a_spool_that_does_not_forgive() -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            ForgetfulMachine,
            settings=settings(
                max_examples=300, stateful_step_count=40, deadline=None, database=None, phases=[Phase.generate]
            ),
        )
