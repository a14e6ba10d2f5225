"""Units that fail: what is written down, what comes back by itself, what waits for a person."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

import people
import pytest
from lab import Lab
from people import EXAMPLES, SOURCE, STATE, WATCHER

from repairlab import documents
from repairlab.documents import Escalation
from repairlab.journal import Event

CONFIG = "/etc/repairlab/config.toml"
DROP_IN = f"/etc/systemd/system/{WATCHER}.d/test.conf"
TELLS, REVIVES = f"repairlab-failure@{WATCHER}.service", f"repairlab-revive@{WATCHER.removesuffix('.service')}.timer"


@pytest.fixture
def quick(machine):
    """The shipped policy in fast motion: five starts in three seconds, one more chance after four."""
    revive = f"/etc/systemd/system/{REVIVES}.d/test.conf"
    for path, text in (
        (DROP_IN, "[Unit]\nStartLimitIntervalSec=3s\nStartLimitBurst=5\n[Service]\nRestartSec=50ms\n"),
        (revive, "[Timer]\nOnActiveSec=\nOnActiveSec=4s\n"),
    ):
        machine.run("mkdir", "-p", path.rpartition("/")[0])
        machine.run("tee", path, stdin=text)
    machine.run("systemctl", "daemon-reload")
    yield machine
    machine.run("rm", "-f", DROP_IN, revive, CONFIG)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "stop", WATCHER, timeout_s=50)
    machine.run("systemctl", "reset-failed")
    machine.run("systemctl", "start", WATCHER)


def written(lab: Lab) -> dict[Path, Escalation]:
    """Every escalation there is."""
    found = lab.at(f"{STATE}/escalations").glob("*.json")
    return {path: documents.decode(path.read_bytes(), Escalation) for path in found}


def new(lab: Lab, before: Collection[Path]) -> tuple[Path, Escalation]:
    """Wait for one escalation that was not there before."""
    lab.until(lambda: written(lab).keys() - set(before))
    (path,) = written(lab).keys() - set(before)
    return path, written(lab)[path]


def storm(lab: Lab) -> None:
    """Kill the watcher as often as it comes back."""

    def failed() -> bool:
        lab.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", WATCHER, check=False)
        return lab.show(WATCHER, "ActiveState")["ActiveState"] == "failed"

    lab.until(failed, at_most_every_s=0.05)


def test_a_storm_of_restarts_is_given_up_written_down_and_given_one_more_chance(quick):
    before = written(quick)
    storm(quick)
    path, found = new(quick, before)
    # The control: what systemd and the journal know, asked apart.
    told = quick.show(WATCHER, "Result", "NRestarts", "InvocationID")
    assert (found.unit, found.manager, found.result) == (WATCHER, "system", told["Result"])
    assert (found.exit_code, found.signal) == ("killed", "KILL")
    assert (found.restarts, found.invocation_id) == (int(told["NRestarts"]), told["InvocationID"])
    assert found.restarts >= 4
    assert path.name == f"{WATCHER}-{told['InvocationID']}.json"
    said = [line.message for line in found.journal]
    journal = [entry["MESSAGE"] for entry in quick.journal("-u", WATCHER, "-n", "200")]
    assert said[-5:] == [message for message in journal if message in said][-5:]
    assert f"{WATCHER}: Start request repeated too quickly." in said
    assert sum("Failed with result 'signal'" in message for message in said) > found.restarts
    assert found.boot_id == quick.journal("-u", WATCHER, "-n", "1")[0]["_BOOT_ID"]
    (event,) = quick.journal(MESSAGE_ID=Event.UNIT_ESCALATED, FAILED_INVOCATION_ID=found.invocation_id)
    assert (event["FAILED_UNIT"], event["ESCALATION"]) == (WATCHER, f"{STATE}/escalations/{path.name}")
    assert str(path.name) in quick.run("repairlab", "doctor", "--only", "escalations").stdout
    # It comes back by itself, and works.
    people.back_again(quick, 0)
    assert quick.show(WATCHER, "NRestarts")["NRestarts"] == "0"
    bundle = people.give(quick, "bob", f"{EXAMPLES}/passing", "after-the-storm")
    assert people.outcome(people.end(quick, people.drop(quick, "bob", bundle))) == "ok"
    assert written(quick).keys() == {*before, path}
    # The second time is like the first.
    storm(quick)
    _, again = new(quick, {*before, path})
    assert again.invocation_id != found.invocation_id
    assert quick.show(REVIVES, "SubState")["SubState"] == "waiting"


def test_who_stops_a_unit_that_has_failed_takes_its_one_more_chance_away(quick):
    before = written(quick)
    storm(quick)
    new(quick, before)
    assert quick.show(REVIVES, "ActiveState")["ActiveState"] == "active"
    quick.run("systemctl", "stop", WATCHER)
    assert quick.show(REVIVES, "ActiveState")["ActiveState"] == "inactive"


def test_a_wrong_configuration_is_not_tried_again_at_once_and_names_its_line(quick):
    before = written(quick)
    quick.run("tee", CONFIG, stdin="[watcher]\nno_such_key = 1\n")
    assert quick.run("systemctl", "restart", WATCHER, check=False).returncode != 0
    _, found = new(quick, before)
    assert (found.exit_code, found.exit_status, found.restarts) == ("exited", 78, 0)
    assert any(f"{CONFIG}:2: unknown setting watcher.no_such_key" in line.message for line in found.journal)
    assert "`repairlab config check`" in found.advice
    assert "not at once but in an hour" in found.advice
    told = quick.show(WATCHER, "ActiveState", "NRestarts", "InvocationID")
    assert told == {"ActiveState": "failed", "NRestarts": "0", "InvocationID": found.invocation_id}


def test_what_is_stopped_or_restarted_on_purpose_is_no_failure(quick):
    before = written(quick)
    starts = len(quick.journal(MESSAGE_ID=Event.UNIT_ESCALATED))
    quick.run("systemctl", "restart", WATCHER, timeout_s=50)
    quick.run("systemctl", "stop", WATCHER, timeout_s=50)
    assert quick.show(WATCHER, "ActiveState")["ActiveState"] == "inactive"
    assert quick.show(REVIVES, "ActiveState")["ActiveState"] == "inactive"
    assert written(quick) == before
    assert len(quick.journal(MESSAGE_ID=Event.UNIT_ESCALATED)) == starts


def test_a_cleanup_that_fails_is_written_down_too(quick):
    before = written(quick)
    quick.run("tee", CONFIG, stdin="[cleanup]\nno_such_key = 1\n")
    assert quick.run("systemctl", "start", "repairlab-cleanup.service", check=False).returncode != 0
    _, found = new(quick, before)
    assert (found.unit, found.exit_status) == ("repairlab-cleanup.service", 78)
    assert "in an hour" not in found.advice
    quick.run("rm", CONFIG)
    quick.run("systemctl", "start", "repairlab-cleanup.service")


def test_a_socket_that_fails_is_written_down_with_what_the_manager_tells_over_the_bus(quick):
    """systemd tells of services in the environment; of other units only who asks it knows."""
    socket = "repairlab-sandbox.socket"
    drop_in = f"/etc/systemd/system/{socket}.d/test.conf"
    before = written(quick)
    quick.run("mkdir", "-p", drop_in.rpartition("/")[0])
    quick.run("tee", drop_in, stdin="[Socket]\nExecStartPre=/bin/false\n")
    quick.run("systemctl", "daemon-reload")
    try:
        assert quick.run("systemctl", "restart", socket, check=False).returncode != 0
        _, found = new(quick, before)
        assert (found.unit, found.result, found.restarts) == (socket, "exit-code", None)
        assert found.invocation_id == quick.show(socket, "InvocationID")["InvocationID"]
        assert any("Failed with result 'exit-code'" in line.message for line in found.journal)
    finally:
        quick.run("rm", drop_in)
        quick.run("systemctl", "daemon-reload")
        quick.run("systemctl", "start", socket)


def test_old_escalations_go_with_the_cleanup(machine):
    path = f"{STATE}/escalations/{WATCHER}-{'0' * 32}.json"
    machine.run("sh", "-c", f"mkdir -p {path.rpartition('/')[0]} && touch -d '31 days ago' {path}", user="repairlab")
    machine.run("systemctl", "start", "repairlab-cleanup.service")
    assert not machine.at(path).exists()


def test_what_tells_of_failures_is_confined_as_far_as_it_can_be(quick):
    """Measured on a unit that did its job in this confinement: see the tests above."""
    storm(quick)
    quick.until(lambda: quick.show(TELLS, "ExecMainExitTimestampMonotonic")["ExecMainExitTimestampMonotonic"] != "0")
    assert quick.show(TELLS, "Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
    told = quick.run("systemd-analyze", "security", "--no-pager", "--threshold=3", TELLS, check=False)
    assert told.returncode == 0, told.stdout
    assert float(re.search(r"Overall exposure level for .*: ([\d.]+)", told.stdout)[1]) <= 0.3


def test_only_members_may_read_what_is_told(quick):
    storm(quick)
    quick.until(lambda: written(quick))
    assert quick.run("ls", f"{STATE}/escalations", user="mallory", check=False).returncode != 0
    quick.run("useradd", "-m", "-G", "repairlab", "olga")
    names = quick.run("ls", f"{STATE}/escalations", user="olga").stdout.split()
    told = quick.run("cat", f"{STATE}/escalations/{names[0]}", user="olga")
    assert json.loads(told.stdout)["schema"] == "escalation/1"
    assert quick.run("rm", f"{STATE}/escalations/{names[0]}", user="olga", check=False).returncode != 0


# --- processes that die in the middle of an attempt -------------------------------------------------------------------


@pytest.fixture
def impatient(machine):
    """A machine whose jobs wait a fifth of a second, not ten, before they are tried again."""
    machine.run("tee", CONFIG, stdin="[queue]\nbackoff_base_s = 0.2\n")
    machine.run("systemctl", "reload", WATCHER)
    yield machine
    machine.run("rm", "-f", CONFIG)
    machine.run("systemctl", "reload", WATCHER)


def agents(lab: Lab, job: Path) -> list[str]:
    """The processes that hold a job in hand beside the watcher: they inherited its lock."""
    told = lab.run("sh", "-c", f"find /proc/[0-9]*/fd -lname '*/active/{job.name}*' 2>/dev/null", check=False).stdout
    return sorted({line.split("/")[2] for line in told.splitlines()} - {str(people.main_pid(lab))})


def sandboxes(lab: Lab) -> list[str]:
    """The processes that hold untrusted code, of whatever tier."""
    find = "pgrep -x bwrap; grep -ls repairlab-sandbox@ /proc/[0-9]*/cgroup | cut -d/ -f3"
    return lab.run("sh", "-c", find, check=False).stdout.split()


def sleeps(lab: Lab) -> bool:
    """Whether a test of `slow` is being run: a process in a sandbox sleeps in the kernel."""
    files = [f"/proc/{pid}/wchan" for pid in sandboxes(lab)]
    return lab.run("grep", "-qs", "nanosleep", *files, check=False).returncode == 0


def events(job: Path) -> list[str]:
    """What happened to a job, in order."""
    return [json.loads(line)["event"] for line in (job / "attempts.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("victims", [agents, lambda lab, _: sandboxes(lab)], ids=["agent", "sandbox"])
def test_what_is_killed_in_the_middle_of_an_attempt_counts_once_and_the_job_ends_once(impatient, victims, request):
    label = f"killed-{request.node.callspec.id}"
    name = people.drop(impatient, "alice", people.slow(impatient, "alice", label, 1), lineage=label)
    # Not sooner: a sandbox that dies before it has begun is trouble of ours, and counts against nobody.
    impatient.until(lambda: people.active(impatient, name) and sleeps(impatient), at_most_every_s=0.05)
    (job,) = people.active(impatient, name)
    before = people.main_pid(impatient)
    found = victims(impatient, job)
    assert found, "there is nobody to kill"
    impatient.run("kill", "-KILL", *found, check=False)  # some go with the first of them
    done = people.end(impatient, name)
    assert people.outcome(done) == "ok"
    assert events(done) == ["started", "crashed", "started", "finished"], "nobody blames the tests"
    assert len(people.challengers(impatient, done)) == 1
    assert len(impatient.journal(MESSAGE_ID=Event.JOB_CRASHED, LINEAGE=label)) == 1
    assert people.main_pid(impatient) == before, "the watcher lives on"
    impatient.until(lambda: not sandboxes(impatient))


# --- a new release in the middle of an attempt ------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _releasing(staged, tmp_path_factory, outer_environment) -> Iterator[tuple[Path, subprocess.Popen]]:
    """What `staged` is, of a changed source, made while other tests wait: its root directory, and who makes it."""
    root = tmp_path_factory.mktemp("released")
    root.chmod(0o755)
    project = root / SOURCE.lstrip("/")
    shutil.copytree(staged / SOURCE.lstrip("/"), project, symlinks=True)
    with (project / "src/repairlab/__init__.py").open("a") as file:
        file.write("\n# The next release.\n")
    argv = [project / "deploy/install", "--root", root]
    options = {"env": outer_environment, "cwd": "/", "start_new_session": True, "text": True}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options) as maker:
        yield root, maker
        if maker.poll() is None:
            os.killpg(maker.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def released(_releasing) -> Path:
    """A root directory with a release of another name than the machine's."""
    root, maker = _releasing
    said, _ = maker.communicate(timeout=100)
    assert maker.returncode == 0, said
    return root


def release(lab: Lab, pid: int) -> str:
    """The release that a process runs from."""
    words = lab.run("cat", f"/proc/{pid}/cmdline").stdout.split("\0")
    return re.fullmatch(r"(/usr/local/lib/repairlab/[0-9a-f]{16})/bin/python", words[0])[1]


def releases(lab: Lab) -> set[str]:
    """The releases that are there."""
    return set(lab.run("sh", "-c", "dirname /usr/local/lib/repairlab/*/.complete").stdout.split())


def test_an_upgrade_disturbs_no_job_and_keeps_the_old_release_while_it_is_used(machine, released):
    name = people.drop(machine, "alice", people.slow(machine, "alice", "upgraded", 6), lineage="upgraded")
    machine.until(lambda: people.active(machine, name))
    before = people.main_pid(machine)
    old = release(machine, before)
    # Its packages come from outside; everything else happens here and now.
    (stamp,) = released.glob("usr/local/lib/repairlab/*/.complete")
    new = f"/usr/local/lib/repairlab/{stamp.parent.name}"
    machine.outside("cp", "-a", f"{released}/usr/src", f"{machine.ROOT}/usr/", check=True)
    machine.outside("cp", "-a", stamp.parent, f"{machine.ROOT}{new}", check=True)
    for _ in range(2):  # the second time the link leads to the new release, and the old one still runs
        machine.run(f"{SOURCE}/deploy/install", timeout_s=60)
        assert releases(machine) == {old, new}
    assert machine.run("readlink", "/usr/local/bin/repairlab").stdout.strip() == f"{new}/bin/repairlab"
    assert (people.main_pid(machine), people.active(machine, name) != []) == (before, True)
    machine.run("systemctl", "try-restart", WATCHER, timeout_s=50)
    people.back_again(machine, before)
    assert release(machine, people.main_pid(machine)) == new
    job = people.end(machine, name)
    assert people.outcome(job) == "ok"
    assert len(people.challengers(machine, job)) == 1
    assert events(job).count("finished") == 1
    assert not {"failed", "crashed", "orphaned"} & set(events(job))
    # Nobody needs the old one any more.
    machine.run(f"{SOURCE}/deploy/install", timeout_s=60)
    assert releases(machine) == {new}
    bundle = people.give(machine, "bob", f"{EXAMPLES}/passing", "after-the-upgrade")
    assert people.outcome(people.end(machine, people.drop(machine, "bob", bundle))) == "ok"
