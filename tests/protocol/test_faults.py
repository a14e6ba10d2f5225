"""Faults at system calls, the bounded form of bench/faults.py: replays of what it has found, and what it is worth."""

import os
import subprocess
import sys
from pathlib import Path

import invariants
import pytest

FAULTS = Path(invariants.__file__).with_name("faults.py")

# Each was a violation once.
MENDED = [
    "fail-last:open:new:1:after:EIO",  # a staged file stayed where creating it had failed
    "watch-repair.judge:write:3:after:KILL",  # … and where the judge had died, who shares the job with the watcher
    "watch-repair.judge:close:15:before:EIO+",  # judged again, a job kept another challenger than was published
    "retry:write:2:before:TORN",  # carried back, a job kept the torn line of the operator who had died
    "claim-ended:lstat:3:before:EIO",  # an ended job that could not be looked for was taken for a new one
    "toolgen-tool:renameat2:2:after:EIO",  # made again, a tool was another than was published, and its spec rejected
    "cleanup-aged:unlink:6:before:EDQUOT",  # nobody removed what a cleanup had left in tmp/ of the challengers
    "cleanup-aged:scandir:3:before:EMFILE",  # a directory of champions that could not be read was one of nobody's
    "evaluate-equal:close:12:before:ENOMEM",  # an event that was written, and counted as not, was written again
]


def strike(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(FAULTS), *argv], capture_output=True, text=True)


@pytest.mark.timeout(240)  # half a minute where nothing else runs
def test_random_faults_violate_nothing() -> None:
    seed = os.environ.get("REPAIRLAB_FAULTS_SEED", "7")
    run = strike("--faults", "60", "--seed", seed, "--jobs", "1", "--only", "publish-group", "cp", "claim-duplicate",
                 "claim-foreign", "fail-last", "retry")  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "violations by kind: none" in run.stdout


@pytest.mark.timeout(240)  # the evaluator's runs are real ones, once
def test_what_was_mended_stays_mended() -> None:
    run = strike("--replay", *MENDED)
    assert run.returncode == 0, run.stdout + run.stderr
    assert [fault for fault in MENDED if f"{fault}: struck True" not in run.stdout] == []


def test_control_without_anybody_to_carry_on_deaths_are_violations() -> None:
    """The judge and the layer have teeth: nobody reaps, so what a dead claimer has left stays."""
    run = strike("--alone", "--replay", "finish:renameat2:1:after:KILL", "finish:renameat2:1:before:KILL")
    assert run.returncode == 1
    assert "is still in active" in run.stdout
    assert "still waits" in run.stdout
