"""The bounded form of bench/crew.py: many who work and die on one spool; and what its model and its judge are worth."""

import os
import shutil
from contextlib import suppress

import crew
import pytest
from hypothesis import Phase

from repairlab.errors import RepairLabError
from repairlab.spool import Spool

pytestmark = pytest.mark.timeout(240)  # a few seconds of a processor, and many times as long where the disk is busy


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch) -> None:
    """No power is cut here; a flush would only cost examples."""
    monkeypatch.setattr("os.fsync", lambda _: None)


def test_workers_and_operators_who_die_at_any_step_lose_double_and_leave_nothing() -> None:
    crew.run(crew.Crew, 40, 30, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # to make it short takes long


class Grasping(Spool):
    """A spool whose reaper asks nobody whether the owner lives."""

    def reap(self):
        for job_id in os.listdir(self.path / "active"):
            with suppress(OSError):  # it is there already
                os.rename(self.path / "active" / job_id, self.path / "deferred" / job_id)
        return []


class Hasty(crew.Crew):
    """Workers who end a job first and then publish its effect; who is to die, does so in between."""

    ours = os.getpid()

    def finished(self, claim, results, effect):
        state = claim.finish().state
        if os.getpid() != self.ours:
            os._exit(crew.DIED)
        results.publish(effect, f"challenger_{claim.id}.json")
        return state


class Losing(Spool):
    """A spool whose sweep takes what lies in deferred/, too."""

    def sweep(self):
        shutil.rmtree(self.path / "deferred")
        (self.path / "deferred").mkdir()
        return super().sweep()


class GraspingCrew(crew.Crew):
    spool_class = Grasping


class LosingCrew(crew.Crew):
    spool_class = Losing


@pytest.mark.parametrize("machine", [GraspingCrew, Hasty, LosingCrew])
def test_control_a_wrong_spool_and_a_wrong_worker_are_found(machine) -> None:
    with pytest.raises((AssertionError, RepairLabError)):
        crew.run(machine, 200, 30, database=None, phases=[Phase.generate])
