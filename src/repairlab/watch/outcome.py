"""watch.outcome: what the end of a worker means for its job, as one table.

A job passes through three workers, PREPARE (read the handoff, freeze the bundle), AGENT and JUDGE (check what the agent
says, make the results durable). Every way in which a worker can end stands for exactly one `Ruling`; every ruling is
one thing that the watcher does with the claim. Nothing else in the watcher interprets an exit status.

What counts against a job and what does not follows from whose fault the end is: the job's (FAIL, CRASH, REJECT), our
own trouble (DEFER, KEEP, ORPHAN), or nobody's (HAND_BACK).
"""

import os
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Which worker a job in hand is waiting for; the last one waits only for the spool to take the result."""

    PREPARE = "prepare"
    AGENT = "agent"
    JUDGE = "judge"
    LEAVE = "leave"


class Ruling(StrEnum):
    """What the watcher does with the claim."""

    PROCEED = "proceed"  # to the next phase
    FINISH = "finish"  # results are durable: processed/ok
    FAIL = "fail"  # a counted failure: deferred, or hard_fail
    CRASH = "crash"  # counted apart from failures
    ORPHAN = "orphan"  # the workers' parent died: counted as a recovery
    REJECT = "reject"  # unusable input
    DEFER = "defer"  # trouble of ours: uncounted, tried again later
    KEEP = "keep"  # trouble of ours after the work is done: the claim is kept and the phase run again
    HAND_BACK = "hand_back"  # we are stopping: untouched, uncounted


class Killed(StrEnum):
    """Why we ended a worker ourselves."""

    NO = ""
    DEADLINE = "deadline"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class End:
    """How a worker ended: an exit code, a negative signal number, or None: lost with its parent."""

    status: int | None = 0
    killed: Killed = Killed.NO

    @property
    def kind(self) -> str:
        """The row of the table: lost, stopping, deadline, signal, or the exit code."""
        if self.status is None:
            return "lost"
        if self.killed is Killed.STOPPING:
            return "stopping"
        if self.status in (os.EX_OK, 1):
            return str(self.status)  # an answer given in time or just before the axe is an answer
        if self.killed is Killed.DEADLINE:
            return "deadline"
        return str(self.status) if self.status > 0 else "signal"

    def __str__(self) -> str:
        if self.status is None:
            return "lost with the workers' parent"
        return f"exit code {self.status}" if self.status >= 0 else f"signal {-self.status}"


# Codes by which a program says that its surroundings, not its input, are wrong. 2 and 64 are there because a wrong
# `watcher.agent` command must not send every job of the night into hard_fail; 71 is a worker that could not be made
# ready after its fork, 127 "no such program".
OURS = ("2", "64", "69", "71", "75", "77", "78", "127")

TABLE: dict[Phase, dict[str, Ruling]] = {
    Phase.PREPARE: {
        "0": Ruling.PROCEED,
        "65": Ruling.REJECT,
        **dict.fromkeys(OURS, Ruling.DEFER),
        "stopping": Ruling.HAND_BACK,
        # Uncounted, a bundle whose freezing takes the workers' parent down with it would come back for ever.
        "lost": Ruling.CRASH,
    },
    Phase.AGENT: {
        "0": Ruling.PROCEED,
        "1": Ruling.PROCEED,
        "65": Ruling.REJECT,
        **dict.fromkeys(OURS, Ruling.DEFER),
        "deadline": Ruling.FAIL,
        "stopping": Ruling.HAND_BACK,
        "lost": Ruling.ORPHAN,
    },
    Phase.JUDGE: {
        "0": Ruling.PROCEED,
        **dict.fromkeys(OURS, Ruling.KEEP),
        "stopping": Ruling.HAND_BACK,
        "lost": Ruling.KEEP,
    },
}


def ruling(phase: Phase, end: End) -> Ruling:
    """Return what the end of this worker means; whatever the table does not name is a crash."""
    return TABLE[phase].get(end.kind, Ruling.CRASH)


class Verdict(StrEnum):
    """What the judge found in an agent's answer."""

    REPAIRED = "repaired"
    NOOP = "noop"
    NOT_REPAIRED = "not_repaired"
    INVALID = "invalid"  # the answer breaks the protocol, or lies


VERDICTS = {
    Verdict.REPAIRED: Ruling.FINISH,
    Verdict.NOOP: Ruling.FINISH,
    Verdict.NOT_REPAIRED: Ruling.FAIL,
    Verdict.INVALID: Ruling.CRASH,
}
