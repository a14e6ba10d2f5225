"""Untrusted code under a real service manager: a unit for each sandbox, whom it serves, what is left of it."""

import json
from pathlib import Path

import pytest
from lab import Lab
from people import EXAMPLES, SOURCE, WATCHER, drop, end, found, give, outcome, slow

pytestmark = pytest.mark.usefixtures("_prompt")
HERE = Path(__file__).parent
SOCKET = "repairlab-sandbox.socket"
LIMIT = f"/etc/systemd/system/{SOCKET}.d/test.conf"
CONNECT = """
import socket, sys, time
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect("/run/repairlab/sandbox.sock")
print("connected", flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def manager(machine) -> dict[str, str]:
    """The environment in which alice speaks to a manager of her own, which has the socket."""
    machine.run("loginctl", "enable-linger", "alice")
    uid = machine.run("id", "-u", "alice").stdout.strip()
    env = {"XDG_RUNTIME_DIR": f"/run/user/{uid}", "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{uid}/bus"}
    machine.until(lambda: machine.run("test", "-S", f"/run/user/{uid}/bus", check=False).returncode == 0)
    machine.run("systemctl", "--user", "enable", "--now", SOCKET, user="alice", env=env)
    return env


@pytest.fixture(scope="module")
def python(machine) -> str:
    """The interpreter of the installed release."""
    shebang = machine.run("head", "-n1", "/usr/local/bin/repairlab").stdout
    return shebang.removeprefix("#!").split()[0]


def kept(machine: Lab, python: str, tier: str, user: str, env: dict[str, str]) -> dict:
    machine.at(f"{SOURCE}/promises.py").write_bytes((HERE / "promises.py").read_bytes())
    told = machine.run(python, "-I", f"{SOURCE}/promises.py", tier, user=user, env=env, timeout_s=60)
    return json.loads(told.stdout)


@pytest.mark.parametrize(
    ("tier", "setting", "user"),
    [("systemd", "systemd", "repairlab"), ("systemd-user", "systemd", "alice"), ("landlock", "landlock", "alice")],
)
def test_a_tier_keeps_its_promises(machine, python, manager, tier, setting, user, record_property):
    told = kept(machine, python, setting, user, manager if user == "alice" else {})
    record_property("start_s", told["start_s"])
    assert told["tier"] == tier
    assert told["probe"][setting] is True
    seen = told["seen"]
    assert seen["work"] == []
    assert not {"HOME", "PATH"} - set(seen["environ"])
    assert not {name for name in seen["environ"] if name.startswith(("XDG", "DBUS", "INVOCATION", "JOURNAL"))}
    assert told["exit"] == ["exited", 5, None]
    assert told["signal"] == ["signalled", None, 11]
    assert told["killed"] == ["killed", None, 9]
    assert told["wall"] == ["wall_s", None, 9]
    assert told["daemon"] == ["exited", 3, None]
    assert told["memory"] == ["memory_mb", None, 9]
    assert told["traceback"].endswith("ZeroDivisionError: division by zero\n")
    assert told["descriptors"] == 0
    assert told["together"]["victim"] is None, "one sandbox has ended another"
    if tier == "landlock":  # no mounts: one directory on the disk, which is looked at
        assert seen["writable"] == ["."]
    else:
        assert seen["writable"] == [".", "/tmp", "/var/tmp", "/dev/shm"]
        assert seen["sizes"] == [256, 64, 64, 16]
        assert told["file"] == "fits"
    assert len(seen["processes"]) <= 1, "a sandbox sees other processes"
    if tier == "systemd":
        assert seen["uid"] != told["together"]["uid"], "two sandboxes share a user"
        assert {seen["uid"], told["together"]["uid"]} <= set(range(61184, 65520))


def test_the_watchers_jobs_run_in_units_and_nothing_is_left_of_them(machine):
    job = end(machine, drop(machine, "alice", give(machine, "alice", f"{EXAMPLES}/invoices", "tiers")))
    assert outcome(job) == "ok"
    assert json.loads((job / "telemetry.json").read_bytes())["sandbox"] == "systemd"
    machine.until(lambda: not units(machine))
    assert "repairlab-sandbox" not in machine.run("ls", "/tmp", "/var/tmp", "/run/systemd/propagate").stdout
    assert machine.run("systemctl", "--failed", "--no-legend").stdout == ""
    told = [
        entry
        for entry in machine.journal("PRIORITY=6", SYSLOG_IDENTIFIER="systemd")
        if "sandbox@" in entry.get("UNIT", "")
    ]
    assert told == [], "a line for each start and end"


def units(machine: Lab) -> list[str]:
    told = machine.run("systemctl", "list-units", "--all", "--no-legend", "--plain", "repairlab-sandbox@*").stdout
    return [line.split()[0] for line in told.splitlines()]


@pytest.mark.parametrize("user", ["alice", "mallory"])
def test_nobody_but_the_service_starts_a_sandbox(machine, user):
    told = machine.run("/usr/bin/python3", "-c", CONNECT, "0", user=user, check=False)
    assert "Permission denied" in told.stderr
    assert "connected" in machine.run("/usr/bin/python3", "-c", CONNECT, "0", user="repairlab").stdout, "the control"


def test_what_a_sandbox_says_of_itself_is_in_the_journal(machine):
    """Without an order it ends; here it is told to start what is no order, and complains."""
    send = "import array, os, socket, sys\n" + CONNECT.split("\n", 2)[2].partition("print")[0]
    send += "rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [1, 2]))]\n"
    send += "connection.sendmsg([b'{}'], rights)\nconnection.recv(1)"
    machine.run("/usr/bin/python3", "-c", send, user="repairlab", check=False)
    machine.until(
        lambda: any("KeyError" in e["MESSAGE"] for e in machine.journal(SYSLOG_IDENTIFIER="repairlab-sandbox"))
    )


def test_a_sandbox_ends_with_the_agent_that_asked_for_it(machine):
    machine.until(lambda: not units(machine))
    name = drop(machine, "alice", slow(machine, "alice", "orphaned-sandbox", 1))
    (unit, *_) = machine.until(lambda: units(machine))
    asker = int(unit.split("-")[-2])  # …@NUMBER-PID-UID.service
    machine.run("kill", "-KILL", str(asker))
    machine.until(lambda: unit not in units(machine), 5)
    assert outcome(end(machine, name)) == "ok", "it is tried again"


def test_a_refused_connection_is_back_pressure_and_counts_against_nobody(machine):
    machine.run("mkdir", "-p", LIMIT.rpartition("/")[0])
    machine.run("tee", LIMIT, stdin="[Socket]\nMaxConnections=1\n")
    try:
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", SOCKET)
        holder = ["/usr/bin/python3", "-c", CONNECT, "40"]
        machine.run("systemd-run", "--quiet", "--unit=holder", "--uid=repairlab", *holder)
        machine.until(lambda: units(machine))
        name = drop(machine, "bob", give(machine, "bob", f"{EXAMPLES}/passing", "refused"))
        machine.until(lambda: deferred(machine, name))
        machine.run("systemctl", "stop", "holder")
        job = end(machine, name)
        assert outcome(job) == "ok"
        events = [json.loads(line)["event"] for line in (job / "attempts.jsonl").read_text().splitlines()]
        assert not {"failed", "crashed", "orphaned"} & set(events), events
        assert "deferred" in events
    finally:
        machine.run("rm", "-f", LIMIT)
        machine.run("systemctl", "stop", "holder", check=False)
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", SOCKET)


def deferred(machine: Lab, name: str) -> bool:
    return any(
        '"deferred"' in (job / "attempts.jsonl").read_text()
        for job in found(machine, name, "active", "deferred")
        if (job / "attempts.jsonl").exists()
    )


def test_without_the_socket_jobs_wait_uncounted_and_the_journal_says_what_to_do(machine):
    machine.run("systemctl", "stop", SOCKET)
    name = drop(machine, "bob", give(machine, "bob", f"{EXAMPLES}/passing", "anew"))
    machine.until(lambda: deferred(machine, name))
    told = [entry["MESSAGE"] for entry in machine.journal(_SYSTEMD_UNIT=WATCHER)]
    assert any("repairlab-sandbox.socket" in message for message in told), told[-3:]
    machine.run("systemctl", "start", SOCKET)
    job = end(machine, name)
    assert outcome(job) == "ok"
    assert json.loads((job / "telemetry.json").read_bytes())["sandbox"] == "systemd"


def test_the_doctor_proves_the_tiers_by_running_them(machine):
    checks = json.loads(machine.run("repairlab", "doctor", "--json", check=False).stdout)["data"]
    told = [check["why"] for check in checks if check["name"] == "sandbox"]
    assert [why.split(":")[0] for why in told] == ["systemd", "bubblewrap", "landlock"]
    assert all("started" in why for why in told[:2]), told
    assert "not here, root cannot be confined by it" in told[2]
    machine.run("systemctl", "mask", "--runtime", "--now", SOCKET)
    env = {"REPAIRLAB_SANDBOX_TIER": "systemd"}
    told = json.loads(machine.run("repairlab", "doctor", "--json", check=False, env=env).stdout)
    machine.run("systemctl", "unmask", "--runtime", SOCKET)
    machine.run("systemctl", "start", SOCKET)
    failed = [check for check in told["data"] if check["name"] == "sandbox" and check["status"] == "fail"]
    assert not told["ok"]
    assert "repairlab-sandbox.socket" in failed[0]["fix"]
