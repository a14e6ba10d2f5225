"""The cleanup by its timer, by hand, and after a time in which the machine was off."""

import itertools
import json
import os
from datetime import UTC, datetime

import pytest
from people import DEEP, EXAMPLES, QUEUE, RACE, STATE, WATCHER, drop, end, give, outcome, years_later

from repairlab.journal import Event

pytestmark = pytest.mark.usefixtures("_prompt")
TIMER, SERVICE = "repairlab-cleanup.timer", "repairlab-cleanup.service"
_numbers = itertools.count(1)
STAMP = f"/var/lib/systemd/timers/stamp-{TIMER}"


@pytest.fixture
def aged(machine):
    """A job that ended, and a bundle with directories of alice's own, both long ago: where they lie."""
    number = next(_numbers)
    bundle = give(machine, "alice", f"{EXAMPLES}/passing", f"old-{number}")
    job = end(machine, drop(machine, "alice", bundle))
    bucket = f"{QUEUE}/processed/ok/2020-01-{number:02}"
    machine.run("mkdir", "-p", bucket, user="repairlab")
    machine.run("mv", f"{QUEUE}/processed/ok/{job.parent.name}/{job.name}", bucket)
    machine.run("find", bucket, bundle, "-exec", "touch", "-h", "-d", "2020-01-01", "{}", "+")
    return machine.at(f"{bucket}/{job.name}"), machine.at(bundle)


def runs(machine) -> list[dict]:
    return machine.journal(MESSAGE_ID=Event.CLEANUP_DONE)


def test_the_timer_waits_for_the_start_of_monday(machine):
    told = machine.show(TIMER, "ActiveState", "SubState", "NextElapseUSecRealtime", "Persistent", "UnitFileState")
    assert (told["ActiveState"], told["SubState"]) == ("active", "waiting")
    assert (told["Persistent"], told["UnitFileState"]) == ("yes", "enabled")
    due = datetime.strptime(told["NextElapseUSecRealtime"], "%a %Y-%m-%d %H:%M:%S %Z").replace(tzinfo=UTC)
    assert (due.weekday(), due.hour, due.minute, due.second) == (0, 0, 0, 0)
    assert 0 < (due - datetime.now(UTC)).total_seconds() <= 7 * 86400


def test_by_hand_it_removes_what_is_old_and_writes_one_line(machine, aged):
    job, bundle = aged
    fresh = end(machine, drop(machine, "bob", give(machine, "bob", f"{EXAMPLES}/passing", "fresh")))
    before = len(runs(machine))
    machine.run("systemctl", "start", SERVICE)
    assert machine.show(SERVICE, "Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
    assert not job.exists()
    assert not bundle.exists(), "directories of another user are removed as well"
    assert fresh.exists()
    assert machine.at(f"{STATE}/bundles/fresh").exists()
    assert len(runs(machine)) == before + 1
    assert machine.show(WATCHER, "ActiveState")["ActiveState"] == "active"


def test_nobody_but_the_service_can_hold_the_lock_of_the_cleanup(machine):
    machine.run("systemctl", "start", SERVICE)
    hold = ["flock", "--nonblock", f"{STATE}/cleanup.lock", "true"]
    assert machine.run(*hold, user="repairlab", check=False).returncode == 0, "the control"
    for user in ("rita", "alice", "mallory"):
        assert machine.run(*hold, user=user, check=False).returncode != 0, user


def test_a_cleanup_that_finds_the_lock_held_fails_and_is_tried_again(machine):
    hold = ["flock", "--nonblock", f"{STATE}/cleanup.lock"]
    machine.run("systemctl", "reset-failed", SERVICE, check=False)  # starts by hand count, those of other tests too
    machine.run("systemctl", "start", SERVICE)
    machine.run("systemd-run", "--quiet", "--unit=holds", *hold, "sleep", "infinity")
    machine.until(lambda: machine.run(*hold, "true", check=False).returncode)
    machine.run("systemctl", "start", "--no-block", SERVICE)
    waits = {"SubState": "auto-restart", "Result": "exit-code", "ExecMainStatus": "75"}
    machine.until(lambda: machine.show(SERVICE, *waits) == waits)
    machine.run("systemctl", "stop", "holds.service", SERVICE)
    machine.run("systemctl", "reset-failed", SERVICE, check=False)
    machine.run("systemctl", "start", SERVICE)


def test_what_was_missed_while_the_machine_was_off_is_made_up_for(machine, aged):
    job, _ = aged
    before = len(runs(machine))
    machine.run("touch", "-d", "15 days ago", STAMP)
    machine.reboot()
    machine.until(lambda: len(runs(machine)) == before + 1)
    machine.until(lambda: not job.exists())
    # The control: with the stamp of now, a boot starts nothing.
    machine.reboot()
    assert machine.show(SERVICE, "ExecMainStartTimestamp")["ExecMainStartTimestamp"] == ""
    assert len(runs(machine)) == before + 1


def test_a_dry_run_of_a_person_removes_nothing(machine, aged):
    job, bundle = aged
    told = machine.run("repairlab-cleanup", "--dry-run", "--json")
    assert json.loads(told.stdout)
    assert job.exists()
    assert bundle.exists()


def test_root_by_hand_removes_what_others_own_and_is_led_nowhere_else(machine):
    """While alice swaps a directory for a link to the victim and back, as quickly as she can."""
    bundle, victim = f"{STATE}/bundles/alice-race", "/srv/victim"
    machine.run("sh", "-c", f"mkdir -p {victim}/below; touch {victim}/file {victim}/below/file")
    machine.run("mkdir", bundle, user="alice")
    machine.run("systemd-run", "--quiet", "--unit=race", "--uid=alice", "python3", "-c", RACE, bundle, victim)
    machine.until((machine.at(bundle) / "begun").exists)
    describe = ["find", victim, "-printf", "%P %m %U %y\n"]
    before = machine.run(*describe).stdout
    clean = ["repairlab-cleanup", "--now", "2100-01-01T00:00:00Z"]
    for _ in range(5):
        assert machine.run(*clean, check=False).returncode in (0, os.EX_TEMPFAIL)
    machine.run("systemctl", "stop", "race.service")
    assert machine.run(*describe).stdout == before
    machine.run(*clean)
    machine.run(*clean)  # what was handed over while she was in the way
    assert list(machine.at(f"{STATE}/bundles").iterdir()) == []


def test_the_boot_removes_what_hides_from_the_daily_round(machine):
    """Sticky files and depths that systemd-tmpfiles --clean passes over; and a boot is not failed by any of it."""
    name = f"{STATE}/bundles/.expired-stubborn"
    machine.run("mkdir", name, user="alice")
    machine.run("sh", "-c", f"touch {name}/sticky; chmod 1644 {name}/sticky", user="alice")
    machine.run("systemctl", "start", "systemd-tmpfiles-clean.service")
    assert machine.at(name).exists(), "the control: the daily round does not"
    bundles = {user: f"{STATE}/bundles/{user}-last" for user in ("alice", "bob")}
    for user, bundle in bundles.items():
        machine.run("mkdir", bundle, user=user)
    machine.run("python3", "-c", DEEP, bundles["alice"], user="alice")
    years_later(machine)
    machine.run("systemctl", "start", SERVICE)  # deeper than any path can say: that fails nothing
    assert not any(machine.at(bundle).exists() for bundle in bundles.values())
    machine.run("sync")
    machine.reboot()
    assert list(machine.at(f"{STATE}/bundles").iterdir()) == []
    assert machine.run("systemctl", "is-system-running").stdout.strip() == "running"
    for user in ("alice", "bob"):
        assert outcome(end(machine, drop(machine, user, give(machine, user, f"{EXAMPLES}/passing", f"{user}-again"))))
