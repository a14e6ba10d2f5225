"""The whole loop under real units: a spec becomes a tool that fails, is repaired, wins, and teaches the next repair."""

import json
from pathlib import Path

import pytest
from lab import Lab
from people import EXAMPLES, QUEUE, STATE, drop, end, give, inside, lineage_of, may, outcome

pytestmark = pytest.mark.usefixtures("_prompt", "_counted_anew")
UNITS = ("repairlab-evaluator.service", "repairlab-toolgen.service")
TIMERS = ("repairlab-library-extract.timer", "repairlab-auto-specder.timer")
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
    machine.run("tee", "/etc/repairlab/config.toml", stdin="[toolgen]\nsearch_s = 0.0001\n[evaluator]\npairs = 8\n")
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


def test_what_was_made_of_a_spec_and_repaired_wins_and_teaches_the_next_repair(loop, record_property):
    loop.run("tee", "/home/alice/spec-rest.json", stdin=json.dumps(SPEC), user="alice")
    loop.run("cp", "/home/alice/spec-rest.json", f"{STATE}/spool/specs", user="alice")
    specs = loop.until(lambda: list(loop.at(f"{STATE}/spool/specs/processed/ok").glob("*/*")), 60)
    for name in ("job.json", "attempts.jsonl"):
        path = inside(loop, specs[0] / name)
        assert [may(loop, user, "cat", path) for user in ("alice", "rita", "bob")] == [True, True, False]
    job = loop.until(lambda: [path for path in loop.at(QUEUE).glob("processed/*/*/*") if path.is_dir()], 60)[0]
    assert outcome(job) == "ok"
    first = telemetry(job)
    assert json.loads((job / "job.json").read_bytes())["source"] == "repairlab-toolgen"
    rest, stock = (lineage_of(loop, "alice", name) for name in ("rest", "stock"))
    won = loop.until(lambda: champion(loop, rest), 60)
    assert won["strategy"] == first["strategy"] == "heuristic_microfix"
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


def test_units_of_the_tournament_are_not_exposed(loop):
    loop.run("systemctl", "start", "repairlab-library-extract.service", "repairlab-auto-specder.service")
    for unit in (*UNITS, "repairlab-library-extract.service", "repairlab-auto-specder.service"):
        assert loop.show(unit, "ExecMainStartTimestampMonotonic")["ExecMainStartTimestampMonotonic"] != "0", unit
        told = loop.run("systemd-analyze", "security", "--no-pager", "--threshold=3", unit, check=False)
        assert told.returncode == 0, told.stdout


def test_an_evaluator_that_is_killed_comes_back(loop):
    before = loop.show(UNITS[0], "MainPID")["MainPID"]
    loop.run("kill", "-KILL", before)
    loop.until(lambda: loop.show(UNITS[0], "MainPID")["MainPID"] not in ("0", before), 20)
