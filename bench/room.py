"""bench/room: a temporary state directory with real watchers in it, for benches and for the protocol tests."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from repairlab.spool import Job, Spool, State

PROJECT = Path(__file__).resolve().parents[1]
PEER = PROJECT / "tests" / "protocol" / "peers" / "agent.py"
WATCHER = PROJECT / "bin" / "repairlab-queue-watcher"
TERMINAL = (State.OK, State.HARD_FAIL, State.REJECTED)
QUICK = {
    "QUEUE_BACKOFF_BASE_S": "0.05",
    "QUEUE_BACKOFF_CAP_S": "0.1",
    "QUEUE_SETTLE_S": "0.2",
    "QUEUE_RESCAN_S": "1",
    "WATCHER_CONCURRENCY": "2",
    "WATCHER_MIN_FREE_MB": "0",
    "SANDBOX_TIER": "auto",
}


def peer(*words: str, log: Path | None = None) -> list[str]:
    """Return the command of a peer agent; without site and environment it starts within milliseconds."""
    return [sys.executable, "-IS", str(PEER), *words, *(["--log", str(log)] if log else [])]


class Room:
    """One state directory; leaving it ends its watchers."""

    def __init__(self, root: Path, agent: Sequence[str] = (), **settings: str) -> None:
        self.root = root
        self.log = root / "runs.log"
        self.queue = Spool(root / "spool" / "repair")
        self.challengers = Spool(root / "spool" / "challengers", pattern="challenger_*.json")
        self.bundles = root / "bundles"
        self.bundles.mkdir(parents=True)
        self.queue.create()
        self.challengers.create()
        self.watchers: list[subprocess.Popen[bytes]] = []
        self.under: list[str] = []  # a command that the next watchers are started by
        self.program = WATCHER
        self.settings = {**QUICK, **settings, "WATCHER_AGENT": json.dumps(list(agent))}

    @property
    def environment(self) -> dict[str, str]:
        ours = {f"REPAIRLAB_{key}": value for key, value in self.settings.items()}
        # An installed program has its bytecode; without it a start takes three times as long.
        outer = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        return {**outer, **ours, "REPAIRLAB_ROOT": str(self.root)}

    def bundle(self, name: str, **files: str) -> Path:
        """Make a bundle; `calc_py="…"` becomes calc.py."""
        path = self.bundles / name
        path.mkdir()
        for file, text in files.items():
            (path / file.replace("_py", ".py")).write_text(text)
        return path

    def behaving(self, words: str, number: int = 0) -> Path:
        """Make a bundle that tells the peer `by_bundle` what to do."""
        name = f"{words.replace('/', '_')}-{number}".replace(" ", "-")
        return self.bundle(name, BEHAVIOUR=words, test_x_py=f"def test_{number}():\n    assert False\n")

    def drop(self, bundle: Path | str, name: str | None = None, **fields: Any) -> str:
        """Drop a handoff and return the id that its job will have."""
        document = json.dumps({"bundle_dir": str(bundle), **fields}).encode()
        return self.queue.publish(document, name, durable=False).id

    def start(self, *argv: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a watcher; what it says is in said()."""
        with (self.root / "watchers.log").open("ab") as log:
            watcher = subprocess.Popen(
                [*self.under, sys.executable, str(self.program), *argv],
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        self.watchers.append(watcher)
        return watcher

    def once(self, **environment: str) -> None:
        """Serve until nothing waits."""
        watcher = self.start("--once", **environment)
        if watcher.wait(60) != 0:
            raise AssertionError(f"the watcher ended with {watcher.returncode}:\n{self.said()}")

    def stop(self, watcher: subprocess.Popen[bytes], within_s: float = 30) -> int:
        """Stop a watcher as systemd does."""
        watcher.send_signal(signal.SIGTERM)
        return watcher.wait(within_s)

    def said(self) -> str:
        """What the watchers wrote on stderr."""
        path = self.root / "watchers.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def runs(self) -> list[list[str]]:
        """Return behaviour, job, effort and pid of every run of a logging peer."""
        return [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def jobs(self, *states: State) -> dict[str, Job]:
        return {job.id: job for job in self.queue.jobs(*states)}

    def job(self, job_id: str) -> Job:
        return self.queue.find(job_id)

    def events(self, job_id: str) -> list[str]:
        return [event["event"] for event in self.job(job_id).attempts()]

    def ended(self) -> Counter[str]:
        """Return how often each id is in a terminal state."""
        return Counter(job.id for job in self.queue.jobs(*TERMINAL))

    def wait(self, until: Callable[[], Any], within_s: float = 30) -> Any:
        """Wait until something is true; what was true last is returned."""
        end = time.monotonic() + within_s
        while not (value := until()):
            if time.monotonic() > end:
                raise AssertionError(f"not within {within_s} s:\n{self.said()[-6000:]}\n{self.queue.counts()}")
            time.sleep(0.01)
        return value

    def wait_state(self, job_id: str, *states: State, within_s: float = 30) -> Job:
        """Wait until the job is in one of the states."""
        return self.wait(lambda: self.jobs(*states).get(job_id), within_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for watcher in self.watchers:
            if watcher.poll() is None:
                watcher.kill()
            watcher.wait()
