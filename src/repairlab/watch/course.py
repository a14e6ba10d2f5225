"""watch.course: one job in our hands, from its claim to the rename that ends it.

    prepare ──► (fingerprint) ──► agent ──► judge ──► leave

A course never waits. Each of its methods is called by the main loop when something happened (a worker ended, a time
came, we are stopping), starts the next thing and returns; `due` says when to call `tick` at the latest. All reading,
copying and checking is done by workers; what is done here is a rename, an append, and one fsync at a job's end.

Guarantee: a course ends (`done`) with the job in exactly one other place, or, where not even that could be written
before we had to stop, abandoned in active/ for the reaper.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import orjson

from repairlab import journal
from repairlab.config import Settings
from repairlab.errors import BadInput, RepairLabError, TemporaryFailure
from repairlab.journal import Event, Priority
from repairlab.spool import Claim, Job, State
from repairlab.spool.disk import read_file, trouble
from repairlab.watch import judge, prepare
from repairlab.watch.judge import Judged
from repairlab.watch.outcome import VERDICTS, End, Killed, Phase, Ruling, Verdict, ruling
from repairlab.watch.prepare import Prepared
from repairlab.watch.workers import Workers

PREPARE = "repairlab.watch.prepare:main"
JUDGE = "repairlab.watch.judge:main"
AGENT = "repairlab.repair.agent:main"  # by name: program packages do not import each other

PREPARE_S = 60.0
JUDGE_S = 60.0
SLACK_S = (2.0, 10.0)  # an agent keeps its own limit; ours comes by this and a tenth later, at most by the second
AXE_S = 5.0  # from SIGTERM, on which an agent says what it has, to SIGKILL
DEFER_S = (5.0, 300.0)
KEEP_S = (1.0, 30.0)
TAIL = 2000
R = TypeVar("R", bound=msgspec.Struct)


@dataclass(frozen=True)
class Yard:
    """What all courses share: where things are, the settings in force, the parent of the workers."""

    settings: Settings
    workers: Workers
    challengers: Path
    store: Path
    roots: list[Path]


class Told(Protocol):
    """What a course reports to the watcher."""

    def suffered(self, job_id: str, why: str) -> None:
        """Hear of trouble of ours that hit a job."""

    def answered(self) -> None:
        """Hear that an agent ran to its end."""

    def short(self) -> str:
        """Say what is short at this moment, "" for nothing."""


class Course:
    """One job in hand."""

    def __init__(self, yard: Yard, claim: Claim, told: Told, now: float) -> None:
        self._yard, self._told = yard, told
        self.claim = claim
        self.lineage, self.submitter = claim.lineage, claim.submitter
        self.attempt = claim.attempt
        self.phase = Phase.PREPARE
        self.due: float | None = None
        self.done = False
        self._began = now
        self._work = claim.path / "work"
        self._prepared = Prepared()
        self._worker: int | None = None
        self._killed = Killed.NO
        self._agent_end = End()
        self._again: Callable[[float], None] | None = None
        self._trials = 0
        self._say(Event.JOB_CLAIMED, f"claimed {claim.name}")

    # The three workers

    def begin(self, now: float) -> None:
        """Start with the first worker."""
        self._trying(now, self._prepare)

    def _prepare(self, now: float) -> None:
        self._work = self.claim.workdir()
        bundles, agent = self._yard.settings.bundles, self._yard.settings.agent
        order = prepare.Order(
            job=str(self.claim.path),
            id=self.claim.id,
            submitter=self.submitter,
            store=str(self._yard.store),
            roots=[str(root) for root in self._yard.roots],
            max_files=bundles.max_files,
            max_bytes=bundles.max_bytes,
            wall_s=agent.wall_s,
            memory_mb=agent.memory_mb,
        )
        self._start(Phase.PREPARE, now, PREPARE_S, entry=PREPARE, argv=[msgspec.json.encode(order).decode()])

    def _agent(self, now: float) -> None:
        effort = self.claim.effort
        self.claim.started()
        argv = ["--handoff", str(self._work / "handoff.json"), "--out", str(self._work / "out")]
        argv += ["--effort", str(effort)]
        command = self._yard.settings.watcher.agent
        what: dict[str, Any] = {"command": [*command, *argv]} if command else {"entry": AGENT, "argv": argv}
        wall_s = self._prepared.wall_s
        self._start(Phase.AGENT, now, wall_s + min(SLACK_S[1], SLACK_S[0] + wall_s / 10), **what)
        self._say(Event.JOB_STARTED, f"attempt {self.attempt} started with effort {effort}", EFFORT=effort)

    def _judge(self, now: float) -> None:
        order = judge.Order(
            job=str(self.claim.path),
            id=self.claim.id,
            lineage=self.claim.own(self.lineage),
            submitter=self.claim.other,
            queue=str(self._yard.challengers),
            snapshot=self._prepared.snapshot,
            sha256=self._prepared.sha256,
            code=self._agent_end.status or 0,
            killed=self._agent_end.killed,
        )
        self._start(Phase.JUDGE, now, JUDGE_S, entry=JUDGE, argv=[msgspec.json.encode(order).decode()])

    def _start(self, phase: Phase, now: float, limit_s: float, **what: Any) -> None:
        self.phase, self._killed, self._again = phase, Killed.NO, None
        self._worker = self._yard.workers.start(self, self.claim.fd, self._work, phase, now, **what)
        self.due = now + limit_s

    def ended(self, status: int | None, now: float) -> None:
        """Go on after the end of the worker."""
        self._worker, self.due = None, None
        end = End(status, self._killed)
        verdict = ruling(self.phase, end)
        if verdict is Ruling.PROCEED:
            steps = {Phase.PREPARE: self._prepared_well, Phase.AGENT: self._answered, Phase.JUDGE: self._judged}
            step = steps[self.phase]  # now: a next worker that could not be started has changed the phase already
            self._trying(now, lambda now: step(end, now))
        elif verdict is Ruling.KEEP:
            self._told.suffered(self.claim.id, self._last_words(self.phase))
            self._later(self._judge, now)
        else:
            self._rule(verdict, end, now)

    def _prepared_well(self, _: End, now: float) -> None:
        self._prepared = self._read("prepared.json", Prepared)
        if self._prepared.resumed:
            self._judge(now)
            return
        known = self.claim.known_failures(self._fingerprint)
        if known.exhausted:
            others = ", ".join(known.ids[:3])
            reason = f"the same bundle failed {known.in_window} times already, as {others}"
            self._leave(now, "hard_fail", lambda: self.claim.quarantine(reason, fingerprint=known.name), reason)
            return
        self._agent(now)

    @property
    def _fingerprint(self) -> str:
        """What failures are counted by: the bundle, and of another user's jobs the user.

        Or whoever has the same code could have it fail three times, with limits that nothing keeps, and so end a job
        that is not his.
        """
        own = self.submitter == os.geteuid()
        return self._prepared.sha256 if own else f"{self._prepared.sha256}.{self.submitter}"

    def _answered(self, end: End, now: float) -> None:
        self._agent_end = end
        self._judge(now)

    def _judged(self, _: End, now: float) -> None:
        judged = self._read("verdict.json", Judged)
        self._told.answered()
        self._ruled(VERDICTS[judged.verdict], judged.verdict, judged.reason, now, tried=judged.tried)

    # What it means

    def _rule(self, verdict: Ruling, end: End, now: float) -> None:
        if self.phase is Phase.AGENT and verdict in (Ruling.FAIL, Ruling.CRASH, Ruling.REJECT):
            self._told.answered()
        words = self._last_words(self.phase)
        reason = {
            Ruling.FAIL: "deadline",
            Ruling.HAND_BACK: "the watcher stops",
            Ruling.CRASH: f"the {self.phase} worker ended with {end}" + (f": {words}" if words else ""),
            Ruling.DEFER: words or f"{self.phase}: {end}",
            Ruling.REJECT: str(self._bad_input(words)),
        }.get(verdict, words)
        self._ruled(verdict, verdict.value, reason, now)

    def _ruled(self, verdict: Ruling, outcome: str, reason: str, now: float, **fields: Any) -> None:
        # A worker that could not write breaks every rule there is: that is not the job's crash.
        if verdict is Ruling.CRASH and (short := self._told.short()):
            verdict, outcome, reason = Ruling.DEFER, Ruling.DEFER, f"{short}: {reason}"
        claim, fingerprint = self.claim, self._fingerprint if self._prepared.sha256 else None
        fields |= {"wall_s": round(now - self._began, 3)}
        act: dict[Ruling, Callable[[], Job]] = {
            Ruling.FINISH: lambda: claim.finish(reason=reason, **fields),
            Ruling.FAIL: lambda: claim.fail(reason, fingerprint, **fields),
            Ruling.CRASH: lambda: claim.crashed(reason, **fields),
            Ruling.ORPHAN: claim.orphaned,
            Ruling.REJECT: lambda: claim.reject(self._bad_input(self._last_words(Phase.AGENT))),
            Ruling.DEFER: lambda: claim.defer(self._pause(), reason),
            Ruling.HAND_BACK: lambda: claim.hand_back(reason),
        }
        if verdict is Ruling.DEFER:
            self._told.suffered(claim.id, reason)
        self._leave(now, outcome, act[verdict], reason)

    def _bad_input(self, words: str) -> BadInput:
        """Return what the first worker said, else the agent's last line."""
        try:
            told = self._read("prepared.json", Prepared)
        except BadInput:
            return BadInput(words)
        return BadInput(told.message, field=told.field, fix=told.fix) if told.message else BadInput(words)

    def _pause(self) -> float:
        """Return for how long to put the job off: longer each time in a row."""
        row = 0
        for event in reversed(self.claim.history.events):
            if event["event"] not in ("deferred", "started"):
                break
            row += event["event"] == "deferred"
        return float(min(DEFER_S[1], DEFER_S[0] * 2.0 ** min(row, 16)))

    def _leave(self, now: float, outcome: str, act: Callable[[], Job], reason: str) -> None:
        """End the course; while the disk takes nothing, keep the job and try again."""

        def leave(_: float) -> None:
            job = act()
            self.done, self.due = True, None
            self._tell(job, outcome, reason)

        self.phase = Phase.LEAVE
        self._trying(now, leave)

    def _tell(self, job: Job, outcome: str, reason: str) -> None:
        kind, level = {
            State.OK: (Event.JOB_NOOP if outcome == Verdict.NOOP else Event.JOB_REPAIRED, Priority.NOTICE),
            State.HARD_FAIL: (Event.JOB_QUARANTINED, Priority.WARNING),
            State.REJECTED: (Event.JOB_REJECTED, Priority.WARNING),
        }.get(job.state, DEFERRED.get(outcome, (Event.JOB_DEFERRED, Priority.NOTICE)))
        told = job.state if job.state in (State.HARD_FAIL, State.REJECTED) else outcome
        self._say(kind, f"{told}: {reason}" if reason else told, priority=level, OUTCOME=told)

    def _say(self, kind: Event, message: str, *, priority: Priority = Priority.INFO, **fields: Any) -> None:
        known = {"JOB_ID": self.claim.id, "LINEAGE": self.lineage, "ATTEMPT": self.attempt}
        journal.event(kind, message, priority=priority, **known, **fields)

    # Time

    def tick(self, now: float) -> None:
        """Do what has become due: the deadline's next step, or another trial."""
        if self.due is None or now < self.due:
            return
        if self._again is not None:
            again, self.due = self._again, None
            self._trying(now, again)
        elif self._worker is not None:
            stubborn = self._killed is not Killed.NO
            self._kill(signal.SIGKILL if stubborn else signal.SIGTERM, self._killed or Killed.DEADLINE)
            self.due = now + AXE_S

    def stop(self, now: float) -> None:
        """Hand the job back as soon as its worker is dead; one that only waits for the disk is abandoned."""
        if self._worker is not None:
            self._kill(signal.SIGKILL, Killed.STOPPING)
            self.due = now + AXE_S
        elif not self.done:
            self._trials = 0
            self._leave(now, Ruling.HAND_BACK, lambda: self.claim.hand_back("the watcher stops"), "")
            if not self.done:
                self.claim.close()
                self.done = True

    @property
    def interruptible(self) -> bool:
        """Whether stopping loses no work."""
        return self.phase is Phase.PREPARE

    def _kill(self, number: signal.Signals, why: Killed) -> None:
        self._killed = why
        if self._worker is not None:
            self._yard.workers.kill(self._worker, number)

    def _trying(self, now: float, act: Callable[[float], None]) -> None:
        """Run a step of ours; trouble that passes means once more in a while, any other ends the course."""
        try:
            with trouble("work on the job"):
                act(now)
        except TemporaryFailure as error:
            self._told.suffered(self.claim.id, str(error))
            self._later(act, now)
        except BadInput as error:
            self._ruled(Ruling.CRASH, Ruling.CRASH, str(error), now)
        except (RepairLabError, OSError) as error:
            # The job was taken from under us, by hand or by a broken disk: what is left of it is fsck's.
            self._say(Event.SPOOL_DAMAGED, f"lost hold of the job: {error}", priority=Priority.ERROR)
            self.claim.close()
            self.done, self.due = True, None

    def _later(self, act: Callable[[float], None], now: float) -> None:
        self._again = act
        self.due = now + min(KEEP_S[1], KEEP_S[0] * 2.0 ** min(self._trials, 16))
        self._trials += 1

    # Reading

    def _read(self, name: str, kind: type[R]) -> R:
        """Return what a worker of ours left; BadInput when it is not there or not what it should be."""
        try:
            return msgspec.convert(orjson.loads(read_file(self._work / name, 1 << 16)), kind)
        except (FileNotFoundError, ValueError) as error:
            raise BadInput(f"{name}: {error}") from None

    def _last_words(self, phase: Phase) -> str:
        """Return the last line that the worker wrote on stderr."""
        try:
            with open(self._work / f"{phase}.stderr", "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
                lines = file.read(TAIL).decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].removeprefix(f"repairlab-{phase}: ") if lines else ""


DEFERRED = {
    Ruling.FAIL.value: (Event.JOB_FAILED, Priority.NOTICE),
    Verdict.NOT_REPAIRED.value: (Event.JOB_FAILED, Priority.NOTICE),
    Verdict.INVALID.value: (Event.JOB_CRASHED, Priority.WARNING),
    Ruling.CRASH.value: (Event.JOB_CRASHED, Priority.WARNING),
    Ruling.ORPHAN.value: (Event.JOB_RECOVERED, Priority.WARNING),
    Ruling.HAND_BACK.value: (Event.JOB_HANDED_BACK, Priority.INFO),
}
