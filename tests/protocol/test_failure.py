"""repairlab-failure as systemd starts it, with stand-ins for systemctl and journalctl."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repairlab import documents
from repairlab.documents import Escalation

PROGRAM = Path(__file__).resolve().parents[2] / "bin/repairlab-failure"
UNIT = "repairlab-queue-watcher.service"
INVOCATION, BOOT = "2" * 32, "b" * 32
MONITOR = {
    "MONITOR_UNIT": UNIT,
    "MONITOR_SERVICE_RESULT": "exit-code",
    "MONITOR_EXIT_CODE": "exited",
    "MONITOR_EXIT_STATUS": "78",
    "MONITOR_INVOCATION_ID": INVOCATION,
}
SAID = {"__REALTIME_TIMESTAMP": "1795269361577659", "MESSAGE": "wrong", "SYSLOG_IDENTIFIER": "watcher", "PRIORITY": "3"}
FAILED = {"MESSAGE": "Failed.", "MESSAGE_ID": "d9b373ed55a64feb8242e02dbe79a49c", "INVOCATION_ID": INVOCATION}


class Machine:
    """A state directory, and programs of systemd's that say what a test wants."""

    def __init__(self, at: Path) -> None:
        self.bin, self.root = at / "bin", at / "root"
        self.bin.mkdir()
        self.root.mkdir()
        self.journal([{**SAID, **FAILED}, SAID])
        self.script("systemctl", "exit 1")

    def script(self, name: str, text: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / name).chmod(0o755)

    def journal(self, entries: list[dict]) -> None:
        (self.bin / "entries").write_text("".join(json.dumps(item) + "\n" for item in entries))
        self.script("journalctl", f'echo "$@" >{self.bin}/asked; cat {self.bin}/entries')

    def run(self, *argv: str, **monitor: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **{key: value for key, value in MONITOR.items() if value}, **monitor}
        env |= {"PATH": f"{self.bin}:{env['PATH']}", "REPAIRLAB_ROOT": str(self.root)}
        argv = argv or (f"--boot-id={BOOT}", UNIT)
        return subprocess.run([sys.executable, PROGRAM, *argv], env=env, capture_output=True, text=True, check=False)

    def written(self) -> list[Path]:
        return sorted((self.root / "escalations").glob("*"))


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_a_failure_is_written_down_as_a_document_that_others_can_read(machine):
    done = machine.run()
    assert done.returncode == 0, done.stderr
    (path,) = machine.written()
    assert path.name == f"{UNIT}-{INVOCATION}.json"
    found = documents.decode(path.read_bytes(), Escalation)
    assert (found.unit, found.manager, found.result, found.exit_status) == (UNIT, "system", "exit-code", 78)
    assert (found.invocation_id, found.boot_id, found.restarts) == (INVOCATION, BOOT, None)
    assert [line.message for line in found.journal] == ["wrong", "Failed."]
    assert found.commands[-1] == f"rm {path}"
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & 0o007 == 0
    assert str(path) in done.stderr
    asked = (machine.bin / "asked").read_text().split()
    assert {f"--unit={UNIT}", f"_BOOT_ID={BOOT}"} <= set(asked)


def test_the_same_failure_twice_is_one_document_that_does_not_change(machine):
    machine.run()
    (path,) = machine.written()
    before = path.read_bytes(), path.stat().st_ino
    machine.journal([])
    assert machine.run().returncode == 0
    assert machine.written() == [path]
    assert (path.read_bytes(), path.stat().st_ino) == before
    machine.run(MONITOR_INVOCATION_ID="3" * 32)
    assert len(machine.written()) == 2


def test_failures_that_nobody_can_tell_apart_are_each_written_down(machine):
    """Without an invocation the second of a boot may be another one than the first."""
    for status in ("78", "65"):
        machine.script("systemctl", f"echo Result=exit-code; echo ExecMainCode=1; echo ExecMainStatus={status}")
        assert machine.run(MONITOR_UNIT="").returncode == 0
    told = [documents.decode(path.read_bytes(), Escalation) for path in machine.written()]
    assert [found.exit_status for found in told] == [78, 65]
    assert {found.boot_id for found in told} == {BOOT}


def test_a_persons_unit_is_asked_about_where_it_runs(machine):
    machine.script("systemctl", f'echo "$@" >{machine.bin}/told; exit 1')
    machine.run("--user", f"--boot-id={BOOT}", UNIT)
    (path,) = machine.written()
    assert documents.decode(path.read_bytes(), Escalation).manager == "user"
    assert (machine.bin / "told").read_text().startswith("--user show")
    assert f"--user-unit={UNIT}" in (machine.bin / "asked").read_text()


@pytest.mark.parametrize("trouble", ["exit 1", "kill -SEGV $$", "echo '[]'; echo nonsense", "echo no >&2; exit 3"])
def test_without_a_journal_the_failure_is_written_all_the_same(machine, trouble):
    machine.script("journalctl", trouble)
    assert machine.run().returncode == 0
    (path,) = machine.written()
    found = documents.decode(path.read_bytes(), Escalation)
    assert found.journal == []
    assert found.journal_note


def test_about_a_unit_that_has_not_failed_nothing_is_written(machine):
    machine.script("systemctl", "echo Result=success")
    done = machine.run(MONITOR_UNIT="")
    assert done.returncode == 1
    assert "has not failed" in done.stderr
    assert machine.written() == []


@pytest.mark.parametrize(
    "argv", [[], ["../../etc/x.service"], ["nothing"], ["--boot-id=../x", UNIT], ["--no-such", UNIT], [UNIT, UNIT]]
)
def test_a_wrong_command_line_is_told_and_nothing_is_written(machine, argv):
    done = machine.run(*(argv or ["--user"]))
    assert done.returncode == os.EX_USAGE
    assert machine.written() == []


@pytest.mark.root
def test_a_full_disk_is_told_as_trouble_that_passes_and_leaves_nothing_behind(machine):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=2,mode=755", "tmpfs", machine.root], check=True)
    try:
        done = machine.run()
        assert done.returncode == os.EX_TEMPFAIL, done.stderr
        assert "disk is full" in done.stderr
        assert machine.written() == []
    finally:
        subprocess.run(["umount", machine.root], check=True)


def test_status_and_doctor_name_what_is_open_until_it_is_removed(machine):
    machine.run()
    (path,) = machine.written()

    def repairlab(*argv: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "REPAIRLAB_ROOT": str(machine.root)}
        program = PROGRAM.with_name("repairlab")
        return subprocess.run([sys.executable, program, *argv], env=env, capture_output=True, text=True, check=False)

    told = repairlab("status", "--json")
    assert json.loads(told.stdout)["data"]["escalations"] == [str(path)]
    assert str(path) in told.stderr
    (check,) = json.loads(repairlab("doctor", "--only", "escalations", "--json").stdout)["data"]
    assert (check["status"], UNIT in check["why"], str(path) in check["fix"]) == ("warn", True, True)
    # A night of the same failure is one line, about the last one.
    os.utime(path, (1, 1))
    machine.run(MONITOR_INVOCATION_ID="3" * 32)
    _, last = machine.written()
    (check,) = json.loads(repairlab("doctor", "--only", "escalations", "--json").stdout)["data"]
    assert check["fix"] == f"read {last} and do what it says, then remove it and the 1 before it"
    assert [line for line in repairlab("status").stderr.splitlines() if "a unit failed" in line] == [
        f"repairlab: a unit failed: read {last}, then remove it (1 more: `repairlab doctor --only escalations`)"
    ]
    last.unlink()
    path.unlink()
    assert json.loads(repairlab("status", "--json").stdout)["data"]["escalations"] == []
    (check,) = json.loads(repairlab("doctor", "--only", "escalations", "--json").stdout)["data"]
    assert check["status"] == "ok"
