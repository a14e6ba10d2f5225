"""The whole loop under real units: a spec becomes a tool that fails, is repaired, wins, and teaches the next repair."""

import json
from pathlib import Path

import pytest
from lab import Lab
from people import (
    EXAMPLES,
    QUEUE,
    STATE,
    WATCHER,
    drop,
    end,
    give,
    inside,
    lineage_of,
    may,
    outcome,
    slow,
    value,
)
from people import UNITS as SHIPPED

pytestmark = pytest.mark.usefixtures("_prompt", "_counted_anew")
UNITS = ("repairlab-evaluator.service", "repairlab-toolgen.service")
TELLS = f"repairlab-failure@{WATCHER}.service"
TIMERS = ("repairlab-library-extract.timer", "repairlab-auto-specder.timer")
CONFIG = "/etc/repairlab/config.toml"
WATCHED = "[Service]\nWatchdogSec=5s\nRestartSec=100ms\nEnvironment=REPAIRLAB_QUEUE_RESCAN_S=0.3\n"
SPEC = {
    "id": "rest",
    "task": "Return what is left.",
    "signature": "def rest(had: int, spent: int) -> int",
    "examples": [
        {"input": {"had": had, "spent": spent}, "output": had - spent} for had, spent in ((9, 0), (7, 3), (5, 5))
    ],
}
STOCK = '''"""Stock."""


def available(count, reserved):
    """Return how many can be sold."""
    return count
'''
STOCK_TESTS = """from stock import available


def test_nothing_is_reserved():
    assert available(5, 0) == 5


def test_some_are_reserved():
    assert available(5, 2) == 3
"""


@pytest.fixture(scope="module")
def loop(machine: Lab) -> Lab:
    """The machine with all of the tournament on, and a toolgen that has no time to find an expression."""
    machine.run("tee", CONFIG, stdin="[toolgen]\nsearch_s = 0.0001\n[evaluator]\npairs = 8\n")
    machine.run("systemctl", "enable", "--now", *UNITS, *TIMERS)
    return machine


def telemetry(job: Path) -> dict:
    return json.loads((job / "telemetry.json").read_bytes())


def champion(lab: Lab, lineage: str) -> dict | None:
    link = lab.at(f"{STATE}/champions/{lineage}/current")
    return json.loads((link.parent / link.readlink() / "champion.json").read_bytes()) if link.is_symlink() else None


def test_the_manager_knows_how_much_each_program_may_take(loop):
    for name in (*UNITS, *(timer.replace(".timer", ".service") for timer in TIMERS)):
        told = loop.show(name, "MemoryMax", "TasksMax")
        assert int(told["MemoryMax"]) <= 2 << 30, name  # no number: infinity
        assert int(told["TasksMax"]) <= 512, name


@pytest.fixture(scope="module")
def won(loop: Lab) -> tuple[Path, Path]:
    """The jobs of alice's spec, of which a tool was made that had to be repaired and won, and of that repair."""
    loop.run("tee", "/home/alice/spec-rest.json", stdin=json.dumps(SPEC), user="alice")
    loop.run("cp", "/home/alice/spec-rest.json", f"{STATE}/spool/specs", user="alice")
    [spec] = loop.until(lambda: list(loop.at(f"{STATE}/spool/specs/processed/ok").glob("*/*")), 60)
    [job] = loop.until(lambda: made_by_toolgen(loop), 60)
    loop.until(lambda: champion(loop, lineage_of(loop, "alice", "rest")), 60)
    return spec, job


def made_by_toolgen(lab: Lab) -> list[Path]:
    """The ended jobs of tools."""
    jobs = [path for path in lab.at(QUEUE).glob("processed/*/*/*") if path.is_dir()]
    return [job for job in jobs if value(job / "job.json", "source") == "repairlab-toolgen"]


def test_what_was_made_of_a_spec_and_repaired_wins_and_teaches_the_next_repair(loop, won, record_property):
    rest, stock = (lineage_of(loop, "alice", name) for name in ("rest", "stock"))
    spec, job = won
    for name in ("job.json", "attempts.jsonl"):
        path = inside(loop, spec / name)
        assert [may(loop, user, "cat", path) for user in ("alice", "rita", "bob")] == [True, True, False]
    assert outcome(job) == "ok"
    first = telemetry(job)
    assert champion(loop, rest)["strategy"] == first["strategy"] == "heuristic_microfix"
    loop.until(lambda: list(loop.at(f"{STATE}/patches/{rest}").glob("*.patch")))
    loop.run("systemctl", "start", "repairlab-library-extract.service")
    assert list(loop.at(f"{STATE}/patterns").glob("*.json"))
    loop.run("mkdir", "/home/alice/stock", user="alice")
    loop.run("tee", "/home/alice/stock/stock.py", stdin=STOCK, user="alice")
    loop.run("tee", "/home/alice/stock/test_stock.py", stdin=STOCK_TESTS, user="alice")
    bundle = give(loop, "alice", "/home/alice/stock", "alice-stock")
    job = end(loop, drop(loop, "alice", bundle, lineage="stock"))
    assert outcome(job) == "ok"
    second = telemetry(job)
    assert second["strategy"] == "pattern_transplant"
    assert second["pattern_id"].startswith(f"{rest}:")
    times = [told["timings"]["first_s"] for told in (first, second)]
    record_property("seconds to the first plausible patch, before and after", times)
    tried = [told["first_tried"] for told in (first, second)]
    record_property("candidates until the first plausible patch, before and after", tried)
    assert 0 < tried[1] < tried[0], f"seconds follow from it where the machine is quiet: {times}"
    loop.until(lambda: champion(loop, stock), 60)
    told = json.loads(loop.run("repairlab", "--json", "leaderboard", "--by", "pattern").stdout)["data"]["rows"]
    assert [row["pattern"] for row in told] == [second["pattern_id"]]
    walked = json.loads(loop.run("repairlab", "--json", "verify-chain", stock).stdout)["data"]
    assert [link["bundle"] for link in walked["links"]] == ["present", "present"]


def test_nobody_competes_in_anothers_lineage(loop):
    """bob hands in under the name of alice's: what would beat her champion, or be the first where she has none yet."""
    mine, his = (lineage_of(loop, user, "parts") for user in ("alice", "bob"))
    for user, lineage in (("alice", mine), ("bob", his)):
        bundle = give(loop, user, f"{EXAMPLES}/passing", f"{user}-parts")
        assert outcome(end(loop, drop(loop, user, bundle, lineage="parts"))) == "ok"
        loop.until(lambda lineage=lineage: champion(loop, lineage), 60)
    stands = [champion(loop, lineage) for lineage in (mine, his)]
    assert [one["lineage"] for one in stands] == [mine, his]
    assert [one["parent"] for one in stands] == [None, None]
    assert not loop.at(f"{STATE}/champions/parts").exists(), "no lineage is everybody's"


def test_no_unit_that_has_run_its_job_is_exposed(loop, won, record_property):
    """`systemd-analyze security` fails for what is above the threshold; for each service that is shipped."""
    oneshots = ("cleanup", "library-extract", "auto-specder")
    loop.run("systemctl", "start", *(f"repairlab-{name}.service" for name in oneshots))
    loop.run("systemctl", "start", TELLS, check=False)
    name = drop(loop, "alice", slow(loop, "alice", "exposed", 3))
    (sandbox, *_) = loop.until(lambda: running_sandboxes(loop))
    plain = [unit for unit in SHIPPED if unit.endswith(".service") and "@" not in unit]
    templates = {unit for unit in SHIPPED if unit.endswith("@.service")}
    assert templates == {"repairlab-sandbox@.service", "repairlab-failure@.service"}
    told = {unit: exposure(loop, unit, 3) for unit in (sandbox, TELLS, *plain)}  # the sandbox first, while it is there
    record_property("exposure", {unit: figure for unit, (_, figure) in told.items()})
    assert [unit for unit, (code, _) in told.items() if code] == [], told
    assert exposure(loop, "dbus.service", 3)[0], "the control: the threshold lets not just anything through"
    assert outcome(end(loop, name)) == "ok"


def running_sandboxes(lab: Lab) -> list[str]:
    told = lab.run("systemctl", "list-units", "--all", "--no-legend", "--plain", "repairlab-sandbox@*").stdout
    return [line.split()[0] for line in told.splitlines()]


def started(lab: Lab, unit: str) -> bool:
    """Whether a service was started since the boot."""
    name = "ExecMainStartTimestampMonotonic"
    return lab.show(unit, name)[name] != "0"


def exposure(lab: Lab, unit: str, tenths: int) -> tuple[int, str]:
    """What systemd-analyze ends with for that threshold, and the figure that it gives; of a unit that has run."""
    assert started(lab, unit), f"{unit} has not run: this would be measured on paper"
    told = lab.run("systemd-analyze", "security", "--no-pager", f"--threshold={tenths}", unit, check=False)
    return told.returncode, told.stdout.strip().rpartition(": ")[2]


@pytest.fixture
def _misconfigured(loop):
    """A configuration that no program can read; afterwards all is as it was."""
    right = loop.at(CONFIG).read_text()
    loop.run("tee", CONFIG, stdin="[evaluator]\nno_such_key = 1\n")
    yield
    loop.run("tee", CONFIG, stdin=right)
    loop.run("systemctl", "reset-failed")
    loop.run("systemctl", "start", *UNITS)
    loop.run("sh", "-c", f"rm {STATE}/escalations/*.json")


def escalations(lab: Lab, unit: str) -> list[dict]:
    return [json.loads(path.read_bytes()) for path in lab.at(f"{STATE}/escalations").glob(f"{unit}-*.json")]


@pytest.mark.usefixtures("_misconfigured")
def test_what_trying_again_cannot_mend_is_written_down_at_once_for_every_program(loop):
    services = [*UNITS, *(timer.replace(".timer", ".service") for timer in TIMERS)]
    for unit in services:
        assert loop.run("systemctl", "restart", unit, check=False).returncode != 0, unit
    loop.until(lambda: all(escalations(loop, unit) for unit in services))
    for unit in services:
        [found] = escalations(loop, unit)
        assert (found["exit_status"], found["restarts"]) == (78, 0), unit
        revives = f"repairlab-revive@{unit.removesuffix('.service')}.timer"
        assert (loop.show(revives, "ActiveState")["ActiveState"] == "active") == (unit in UNITS), unit


def test_an_evaluator_that_is_killed_comes_back(loop):
    before = loop.show(UNITS[0], "MainPID")["MainPID"]
    loop.run("kill", "-KILL", before)
    loop.until(lambda: loop.show(UNITS[0], "MainPID")["MainPID"] not in ("0", before), 20)


@pytest.mark.parametrize("unit", UNITS)
def test_a_program_that_hangs_is_killed_by_the_watchdog_and_comes_back(loop, unit):
    drop_in = f"/run/systemd/system/{unit}.d/watchdog.conf"
    loop.run("mkdir", "-p", drop_in.rpartition("/")[0])
    loop.run("tee", drop_in, stdin=WATCHED)
    loop.run("systemctl", "daemon-reload")
    try:
        loop.run("systemctl", "restart", unit)
        hangs = loop.show(unit, "MainPID")["MainPID"]
        loop.run("sleep", "6")
        assert loop.show(unit, "MainPID")["MainPID"] == hangs, "the watchdog bit one that is well"
        loop.run("kill", "-STOP", hangs)
        loop.until(lambda: loop.show(unit, "MainPID")["MainPID"] not in ("0", hangs), 30)
        assert loop.journal("UNIT_RESULT=watchdog", UNIT=unit)
    finally:
        loop.run("rm", drop_in)
        loop.run("systemctl", "daemon-reload")
        loop.run("systemctl", "restart", unit)
