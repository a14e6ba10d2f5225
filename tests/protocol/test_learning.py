"""What one repair teaches mends the next: watcher, agent, evaluator and library, each its own program on one spool."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repairlab.documents import Handoff, encode
from repairlab.spool import Policy, Spool, State

BIN = Path(__file__).resolve().parents[2] / "bin"
pytestmark = pytest.mark.timeout(120)

FIRST = '''"""Invoices."""


def lines_of(invoice):
    """Return the lines of an invoice that have an amount."""
    found = []
    for index in range(len(invoice) - 1):
        if invoice[index]["amount"]:
            found.append(invoice[index])
    return found
'''
FIRST_TESTS = """from invoices import lines_of

LINES = [{"amount": 1}, {"amount": 0}, {"amount": 3}]


def test_lines():
    assert lines_of(LINES) == [LINES[0], LINES[2]]


def test_no_line():
    assert lines_of([]) == []
"""
SECOND = '''"""Readings."""


def peaks(series, floor):
    """Return the readings above the floor, with their place."""
    high = {}
    for place in range(len(series) - 1):
        value = series[place]
        if value > floor:
            high[place] = value
    return high
'''
SECOND_TESTS = """from readings import peaks


def test_peaks():
    assert peaks([1, 5, 2, 9], 3) == {1: 5, 3: 9}


def test_none():
    assert peaks([1, 2], 3) == {}
"""


class Shop:
    """A state directory and the programs that serve it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.queue = Spool(root / "spool/repair", policy=Policy(settle_s=0))
        self.queue.create()

    def run(self, program: str, *argv: str) -> str:
        env = {**os.environ, "REPAIRLAB_ROOT": str(self.root), "REPAIRLAB_QUEUE_SETTLE_S": "0",
               "REPAIRLAB_WATCHER_MIN_FREE_MB": "0", "REPAIRLAB_EVALUATOR_PAIRS": "8"}  # fmt: skip
        done = subprocess.run(
            [sys.executable, BIN / program, *argv], env=env, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def repaired(self, name: str, module: str, code: str, tests: str) -> dict:
        """Hand a bundle in, let the watcher have it repaired; return the telemetry."""
        bundle = self.root / "bundles" / name
        bundle.mkdir(parents=True)
        (bundle / f"{module}.py").write_text(code)
        (bundle / f"test_{module}.py").write_text(tests)
        job = self.queue.publish(encode(Handoff(bundle_dir=str(bundle), lineage=name))).id
        self.run("repairlab-queue-watcher", "--once")
        found = self.queue.find(job)
        assert found.state is State.OK, found.attempts()
        return json.loads((Path(found.path) / "telemetry.json").read_bytes())


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    made = Shop(tmp_path_factory.mktemp("shop"))
    made.first = made.repaired("invoices", "invoices", FIRST, FIRST_TESTS)
    made.run("repairlab-evaluator", "--once")
    made.run("repairlab-library-extract")
    return made


def test_what_won_is_in_the_library_and_a_second_run_changes_nothing(shop):
    patterns = {path.name: path.read_bytes() for path in (shop.root / "patterns").glob("*.json")}
    kinds = sorted(json.loads(raw)["kind"] for raw in patterns.values())
    assert {"edit", "function"} <= set(kinds)
    assert all(json.loads(raw)["origin"] == "invoices" for raw in patterns.values())
    assert all(json.loads(raw)["quality"]["wins"] == 1 for raw in patterns.values())
    shop.run("repairlab-library-extract")
    assert {path.name: path.read_bytes() for path in (shop.root / "patterns").glob("*.json")} == patterns


def test_a_similar_failure_is_repaired_by_what_the_first_one_taught_and_sooner(shop, tmp_path):
    assert shop.first["strategy"] == "heuristic_microfix"
    second = shop.repaired("readings", "readings", SECOND, SECOND_TESTS)
    assert second["strategy"] == "pattern_transplant"
    origin, _, name = second["pattern_id"].partition(":")
    assert origin == "invoices"
    assert (shop.root / f"patterns/{name}.json").exists()
    untaught = Shop(tmp_path / "untaught").repaired("readings", "readings", SECOND, SECOND_TESTS)
    tried = [told["first_tried"] for told in (second, untaught, shop.first)]
    assert 0 < tried[0] < min(tried[1:])
    assert second["attempts"] < shop.first["attempts"]


def test_a_champion_whose_bundle_was_changed_teaches_nothing(shop, tmp_path):
    other = Shop(tmp_path / "other")
    other.repaired("invoices", "invoices", FIRST, FIRST_TESTS)
    other.run("repairlab-evaluator", "--once")
    record = other.root / "champions/invoices/current/champion.json"
    frozen = Path(json.loads(record.read_bytes())["bundle_dir"])
    frozen.chmod(0o700)
    (frozen / "more.py").write_text("x = 1\n")
    other.run("repairlab-library-extract")
    assert not list((other.root / "patterns").glob("*.json"))
