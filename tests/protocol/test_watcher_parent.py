"""The parent of the watcher's workers dies, hangs, or refuses another worker: jobs go on, and as quickly as before."""

import os
import selectors
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import room

from repairlab import config
from repairlab.errors import TemporaryFailure
from repairlab.spool import State
from repairlab.watch.ears import Ears
from repairlab.watch.watcher import Watcher
from repairlab.watch.workers import Workers


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_new_parent_is_heard_though_its_descriptor_has_the_number_of_the_old(tmp_path: Path) -> None:
    with room.Room(tmp_path / "state") as here:
        selector, workers = selectors.DefaultSelector(), Workers(warm_agent=False)
        ears = Ears(selector, here.queue)
        ears.open(0.0)
        try:
            workers.open(0.0)
            before = workers.fileno()
            ears.hear(workers, 10)
            os.kill(children(os.getpid())[-1], signal.SIGKILL)
            while workers.fileno() >= 0:
                ears.hear(workers, 10)
                workers.dispatch(0.0)
            workers.open(10.0)
            assert workers.fileno() == before
            since = time.monotonic()
            ears.hear(workers, 10)  # it says that it is ready
            assert time.monotonic() - since < 9
        finally:
            workers.close()
            ears.close()
            selector.close()


class Reluctant(Workers):
    """Workers of which the first of each kind cannot be started, for want of descriptors perhaps."""

    refused: tuple[str, ...] = ()

    def start(self, owner: Any, lock: int, work: Path, phase: str, now: float, **what: Any) -> int:
        if phase in ("agent", "judge") and phase not in self.refused:
            self.refused = (*self.refused, phase)
            raise TemporaryFailure(f"no {phase} now")
        return super().start(owner, lock, work, phase, now, **what)


def test_a_worker_that_cannot_be_started_is_started_later_and_no_step_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with room.Room(tmp_path / "state", room.peer("noop", log=tmp_path / "state" / "runs.log")) as here:
        job_id = here.drop(here.behaving("noop"))
        for name, value in here.environment.items():
            monkeypatch.setenv(name, value)
        workers = Reluctant(warm_agent=False)
        assert Watcher(here.root, config.load(), workers, once=True).run() == 0
        assert workers.refused == ("agent", "judge")
        assert here.job(job_id).state is State.OK
        assert "crashed" not in here.events(job_id)
        assert len(here.runs()) == 1


def test_a_parent_that_hangs_is_replaced_and_the_job_done(tmp_path: Path) -> None:
    with room.Room(tmp_path / "state", room.peer("by_bundle")) as here:
        watcher = here.start()
        here.wait_state(here.drop(here.behaving("noop")), State.OK)
        os.kill(children(watcher.pid)[0], signal.SIGSTOP)
        job_id = here.drop(here.behaving("noop", 1))
        here.wait_state(job_id, State.OK, within_s=50)
        assert "does not answer" in here.said()
        assert here.stop(watcher) == 0


def test_once_ends_on_an_empty_queue_though_the_disk_is_too_full_to_claim(tmp_path: Path) -> None:
    with room.Room(tmp_path / "state", room.peer("noop"), WATCHER_MIN_FREE_MB="99999999") as here:
        assert here.start("--once").wait(20) == 0
