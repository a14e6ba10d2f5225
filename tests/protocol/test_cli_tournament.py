"""What the command line says of the tournament and of how well repairs go."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from repairlab.documents import Components, Course, Decision, Handoff, MetricsRow, Strategy, encode
from repairlab.metrics import MetricsLog
from repairlab.spool import Policy, Spool

PROGRAM = [sys.executable, str(Path(__file__).resolve().parents[2] / "bin" / "repairlab")]


@pytest.fixture
def root(tmp_path):
    return tmp_path / "state"


def run(root, *argv):
    env = {**os.environ, "REPAIRLAB_ROOT": str(root)}
    return subprocess.run([*PROGRAM, *argv], capture_output=True, text=True, env=env, timeout=30)


def data(root, *argv):
    done = run(root, "--json", *argv)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["data"]


def evaluated(number, lineage, fitness, decision, strategy):
    parts = Components(correctness=1, safety=1, performance=1, robustness=1, documentation=1, stability=1)
    return MetricsRow(
        timestamp=datetime(2026, 1, 1, number, tzinfo=UTC), id=f"{number:024x}", path=Course.CHALLENGER,
        lineage=lineage, fitness=fitness, components=parts, decision=decision,
        meta_repair=strategy is not Strategy.NOOP,
        bundle_sha256="a" * 64, parent_sha256="b" * 64, median_ms=4.0, repair_strategy=strategy,
    )  # fmt: skip


def test_a_leaderboard_ranks_by_promotions_then_fitness_and_counts_no_noop_as_a_repair(root):
    log = MetricsLog(root / "metrics")
    for row in (
        evaluated(1, "calm", 0.9, Decision.NOT_BETTER, Strategy.NOOP),
        evaluated(2, "bold", 0.5, Decision.PROMOTED, Strategy.MULTI_EDIT),
        evaluated(3, "bold", 0.0, Decision.INCORRECT, Strategy.MULTI_EDIT),
    ):
        log.append(row)
    log.path.write_bytes(log.path.read_bytes() + b"damage\n")
    found = data(root, "leaderboard")
    assert (found["evaluations"], found["damaged"]) == (3, 1)
    assert [row["lineage"] for row in found["rows"]] == ["bold", "calm"]
    assert [row["repairs"] for row in found["rows"]] == [2, 0]
    assert found["rows"][0] | {"correct": 1, "promoted": 1, "best_fitness": 0.5} == found["rows"][0]
    assert [row["strategy"] for row in data(root, "leaderboard", "--by", "strategy")["rows"]] == ["multi_edit", "noop"]
    assert len(data(root, "leaderboard", "--top", "1")["rows"]) == 1
    said = run(root, "leaderboard")
    assert "1 damaged line" in said.stderr
    assert said.stdout.splitlines()[0].split("\t")[:4] == ["bold", "2", "1", "1"]


def test_a_leaderboard_of_nothing_says_what_to_enable(root):
    done = run(root, "leaderboard")
    assert done.returncode == os.EX_UNAVAILABLE
    assert "repairlab-evaluator" in done.stderr


def ended(spool, name, strategy, how):
    spool.publish(encode(Handoff(bundle_dir="/srv/x", reason=name)))
    (claim,) = spool.claims(limit=1)
    with claim:
        claim.put("telemetry.json", json.dumps({"strategy": strategy}).encode())
        how(claim)


def test_analytics_count_no_noop_as_a_success(root):
    spool = Spool(root / "spool" / "repair", policy=Policy(settle_s=0, failures=1))
    spool.create()
    ended(spool, "repaired", "multi_edit", lambda claim: claim.finish(reason="two edits"))
    ended(spool, "passing", "noop", lambda claim: claim.finish(reason="all tests pass"))
    ended(spool, "hopeless", "exhausted", lambda claim: claim.fail("exhausted"))
    ended(spool, "odd", "", lambda claim: claim.reject("not a handoff"))
    found = data(root, "analytics")
    for part in (found["all"], found["last"]):
        assert {key: part[key] for key in ("ended", "repaired", "noop", "given_up", "rejected")} == {
            "ended": 4, "repaired": 1, "noop": 1, "given_up": 1, "rejected": 1,
        }  # fmt: skip
        assert part["success_rate"] == 0.5
        assert part["strategies"] == {"multi_edit": 1}
        assert part["quarantine"] == {"exhausted (failed 1 times in 600 s)": 1}
    assert data(root, "analytics", "--hours", "0.01")["last"]["ended"] == 4
    lines = dict(line.split("\t", 1) for line in run(root, "analytics").stdout.splitlines())
    assert lines["success_rate"] == "50.0%\t50.0%"


def test_analytics_of_an_empty_queue_take_no_rate_of_nothing(root):
    Spool(root / "spool" / "repair").create()
    assert data(root, "analytics")["all"]["success_rate"] is None
    assert "success_rate\t-\t-" in run(root, "analytics").stdout
