"""Reboots and power cuts in the middle of jobs: each job ends once, and what was said to be durable is."""

import json
from pathlib import Path

import pytest
from lab import Lab
from people import EXAMPLES, QUEUE, STATE, WATCHER, active, challengers, drop, end, found, give, outcome, slow

from repairlab.journal import Event

pytestmark = pytest.mark.usefixtures("_prompt")
JOBS = 5
CONFIG = "/etc/repairlab/config.toml"


def hand_in(machine: Lab, label: str) -> list[str]:
    """Some jobs of two people that take a while each; a producer that wants them durable syncs."""
    names = []
    for number in range(JOBS):
        user = ("alice", "bob")[number % 2]
        names.append(drop(machine, user, slow(machine, user, f"{label}-{number}", 0.7), lineage=f"{label}-{number}"))
    machine.run("sync")
    return names


def all_end_once(machine: Lab, names: list[str]) -> list[Path]:
    jobs = [end(machine, name, 60) for name in names]
    for job in jobs:
        assert outcome(job) == "ok"
        assert len(challengers(machine, job)) == 1
    for name in names:
        assert len(found(machine, name, "active", "deferred", "hold", "processed/*/*")) == 1
    told = json.loads(machine.run("repairlab", "fsck", "--json", check=False).stdout)
    assert told["ok"], told
    return jobs


def test_a_power_cut_in_the_middle_of_jobs_loses_none_and_doubles_none(machine):
    names = hand_in(machine, "cut")
    machine.until(lambda: any(active(machine, name) for name in names))
    for _ in range(2):
        machine.run("sleep", "0.5")
        machine.cut()
        machine.boot()
        assert machine.show(WATCHER, "UnitFileState")["UnitFileState"] == "enabled"
    all_end_once(machine, names)


def test_a_reboot_in_the_middle_of_jobs_hands_them_over(machine):
    names = hand_in(machine, "reboot")
    machine.until(lambda: any(active(machine, name) for name in names))
    machine.reboot()
    all_end_once(machine, names)
    assert machine.journal(MESSAGE_ID=Event.WATCHER_STOPPING), "the journal of the boot before is there too"


def test_what_was_submitted_outlives_the_power(machine):
    machine.run("systemctl", "stop", WATCHER, timeout_s=50)
    told = machine.run(
        *("repairlab", "submit", "--json", f"{EXAMPLES}/passing"), user="alice", env={"REPAIRLAB_ROOT": STATE}
    )
    machine.run("sh", "-c", "echo lost >/home/alice/not-synced", user="alice")
    machine.cut()
    if machine.disk:
        assert not machine.at("/home/alice/not-synced").exists(), "a cut that takes nothing proves nothing"
    (waiting,) = machine.at(QUEUE).glob("handoff*.json")
    bundle = Path(json.loads(waiting.read_bytes())["bundle_dir"])
    assert {path.name for path in machine.at(str(bundle)).iterdir()} >= {"slug.py", "tests"}
    machine.boot()
    assert json.loads(told.stdout)["ok"]
    assert outcome(end(machine, waiting.name)) == "ok"


def test_failures_are_remembered_across_power_cuts(machine):
    """A hopeless job that is cut off after its first attempt gets no more of them than the policy allows."""
    machine.run("tee", CONFIG, stdin="[queue]\nbackoff_base_s = 0.2\n")
    machine.run("systemctl", "reload", WATCHER)
    bundle = give(machine, "bob", f"{EXAMPLES}/hopeless", "hopeless")
    name = drop(machine, "bob", bundle, lineage="hopeless", limits={"wall_s": 3})

    machine.run("sync")

    def failures() -> list[str]:
        """What was tried in vain, one fingerprint a failure."""
        jobs = found(machine, name, "active", "deferred", "processed/*/*")
        events = [json.loads(line) for job in jobs for line in history(job)]
        return [event["fingerprint"] for event in events if event["event"] == "failed"]

    # Not the event itself, which is seen before it is synced: what is told only after the job has been put back.
    machine.until(lambda: machine.journal(MESSAGE_ID=Event.JOB_FAILED, LINEAGE="hopeless"), 30)
    machine.cut()
    counted = failures()
    assert counted, "a failure is durable before the job is put back"
    machine.boot()
    job = end(machine, name)
    machine.run("rm", CONFIG)
    machine.run("systemctl", "reload", WATCHER)
    assert outcome(job) == "hard_fail"
    assert len(failures()) == 3
    assert set(failures()) == set(counted), "it is the same bundle each time"


def history(job: Path) -> list[str]:
    try:
        return (job / "attempts.jsonl").read_text().splitlines()
    except FileNotFoundError:  # it has moved on
        return []
