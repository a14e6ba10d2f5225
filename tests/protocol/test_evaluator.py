"""repairlab-evaluator on a real queue: what becomes champion, what does not, and what a death leaves."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from world import BROKEN, PROGRAM, RIGHT, SLOW, TESTS, World

from repairlab.evaluate import safety
from repairlab.metrics import MetricsLog
from repairlab.spool import State

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "state")


def test_the_first_correct_challenger_becomes_champion_and_a_letter_for_a_person(world, tmp_path):
    first = world.hand_in(RIGHT)
    world.evaluate()
    assert world.champion() == first
    assert world.rows() == {first: "promoted"}
    assert world.queue.find(first).state is State.OK
    row = next(MetricsLog(world.root / "metrics").rows())
    assert (row.meta_repair, row.path, row.fitness > 0.8) == (True, "challenger", True)
    letter = world.root / f"patches/line/{first}.patch"
    repository = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", repository], check=True)
    (repository / "m.py").write_text(BROKEN)
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "begin"], check=True)
    subprocess.run([*git, "apply", "--check", letter], check=True)
    subprocess.run([*git, "am", "-q", letter], check=True)
    assert (repository / "m.py").read_text() == RIGHT
    said = subprocess.run([*git, "log", "-1", "--format=%s%n%b"], capture_output=True, text=True, check=True).stdout
    assert "initial value" in said
    assert "test_m.py::test_none" in said
    page = letter.with_suffix(".md").read_text()
    for part in (
        "test_m.py::test_none",
        f"git am {letter}",
        "repairlab demote line",
        "2 of 2 tests pass, in each of 5 runs",
    ):
        assert part in page


def test_a_tool_from_a_spec_is_told_from_a_repair_and_from_what_passed_as_it_came(world):
    made = {
        world.hand_in(RIGHT, before=RIGHT, lineage="made", source="repairlab-toolgen"): "synthesis",
        world.hand_in(RIGHT, lineage="repaired", source="repairlab-queue-watcher"): "challenger",
        world.hand_in(RIGHT, before=RIGHT, lineage="passed", source="repairlab-queue-watcher"): "challenger",
    }
    world.evaluate()
    rows = list(MetricsLog(world.root / "metrics").rows())
    assert {row.id: row.path for row in rows} == made
    assert [row.lineage for row in rows if row.meta_repair] == ["repaired"]


SPECIAL = BROKEN.replace("    n = 1\n", "    if xs == [1, 2]:\n        return 3\n    n = 0\n")
FRAGILE = RIGHT.replace("    for", "    if len(xs) > 2:\n        raise ValueError\n    for")


def test_what_is_wrong_unstable_unsafe_or_another_than_it_says_is_not_promoted(world):
    wrong = world.hand_in(BROKEN.replace("n = 1", "n = 2"))
    flaky = world.hand_in(RIGHT.replace("return n", "return n + (hash('xyz') % 3 == 0)"))
    special = world.hand_in(SPECIAL)
    unsafe = world.hand_in("import subprocess, socket\n" + RIGHT)
    forged = world.hand_in(RIGHT, bundle_sha256="c" * 64)
    changed = world.hand_in(RIGHT)
    (world.root / "bundles" / str(world.made["bundles"]) / "m.py").write_text(RIGHT + "# since changed\n")
    world.evaluate()
    assert world.champion() is None
    expected = {wrong: "incorrect", flaky: "unstable", special: "overfitted", unsafe: "unsafe"}
    assert world.rows() == expected
    for job in (forged, changed):
        assert world.queue.find(job).state is State.REJECTED
        assert world.queue.find(job).reason()["field"] in ("bundle_sha256", "parent_sha256")


def test_a_patch_that_raises_near_the_tests_inputs_is_less_robust_than_one_that_does_not(world):
    fragile = world.hand_in(FRAGILE, lineage="fragile")
    sound = world.hand_in(RIGHT, lineage="sound")
    world.evaluate()
    found = {row.id: row.components.robustness for row in MetricsLog(world.root / "metrics").rows()}
    assert found[fragile] < 1
    assert found[sound] == 1
    kept = json.loads((Path(world.queue.find(sound).path) / "evaluation.json").read_bytes())
    assert kept["outcome"]["inputs"] > 10


def test_a_champion_is_beaten_by_what_is_better_and_not_by_its_equal(world):
    slow = world.hand_in(SLOW)
    world.evaluate()
    equal = world.hand_in(SLOW + "\n")
    same = world.hand_in(SLOW)
    world.evaluate()
    assert world.champion() == slow
    more = "\ndef test_more():\n    assert total([4]) == 4\n"
    quick = world.hand_in(RIGHT, tests=TESTS + more)
    world.evaluate()
    assert world.champion() == quick, "more tests than the champion has are no instability"
    fewer = TESTS.replace("def test_some():\n    assert total([1, 2]) == 3\n", "")
    left_out = world.hand_in("def total(xs):\n    return 0\n", tests=fewer)
    world.evaluate()
    decisions = world.rows()
    expected = {slow: "promoted", equal: "not_better", same: "not_better", quick: "promoted"}
    assert decisions == decisions | expected
    assert decisions[left_out] != "promoted"
    demoted = subprocess.run(
        [sys.executable, str(PROGRAM.with_name("repairlab")), "--json", "demote", "line"],
        env={**os.environ, "REPAIRLAB_ROOT": str(world.root)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(demoted.stdout)["data"]["champion"] == slow
    assert world.champion() == slow


def test_killed_at_any_moment_an_evaluator_leaves_one_row_and_one_decision(world):
    """Killed again and again, each time after twice as long, until one gets through."""
    job = world.hand_in(RIGHT)
    argv, env = world.program("--once", REPAIRLAB_QUEUE_ORPHANS="1000", REPAIRLAB_QUEUE_MAX_ORPHANS="1000")
    delay = 0.3
    while world.queue.find(job).state is not State.OK:
        running = subprocess.Popen(argv, env=env, stderr=subprocess.DEVNULL)
        try:
            running.wait(delay)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
        delay *= 2
    assert world.rows() == {job: "promoted"}
    assert world.champion() == job
    assert len(list((world.root / "patches/line").glob("*.patch"))) == 1


SOON = {"REPAIRLAB_QUEUE_BACKOFF_BASE_S": "0.001", "REPAIRLAB_QUEUE_BACKOFF_CAP_S": "0.001"}


@pytest.mark.parametrize("lost", ["bundle", "record"])
def test_a_champion_that_cannot_be_read_puts_its_challengers_off_and_rejects_none(world, lost):
    champion = world.hand_in(RIGHT)
    world.evaluate()
    what = {"bundle": world.root / "bundles/1/m.py", "record": world.root / f"champions/line/{champion}/champion.json"}
    aside = what[lost].with_name("aside")
    what[lost].rename(aside)
    wrong = BROKEN.replace("n = 1", "n = 2")  # settled after two runs
    job, other = world.hand_in(wrong), world.hand_in(wrong, lineage="other")
    world.evaluate(**SOON)
    assert world.queue.find(job).state is State.DEFERRED
    assert world.queue.find(other).state is State.OK, "other lineages go on"
    (reason,) = {event["reason"] for event in world.queue.find(job).attempts() if event["event"] == "deferred"}
    assert "line cannot be read" in reason
    assert ("repairlab demote line" if lost == "bundle" else "champions/line/current") in reason
    aside.rename(what[lost])
    world.evaluate(**SOON)
    assert world.rows()[job] == "incorrect"
    assert world.champion() == champion


def test_sigterm_hands_back_what_is_being_evaluated(world):
    job = world.hand_in(RIGHT, tests=TESTS + "\n\ndef test_long():\n    import time\n    time.sleep(20)\n")
    argv, env = world.program()
    running = subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while world.queue.find(job).state is not State.ACTIVE and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 0, running.stderr.read()
    running.stderr.close()
    assert world.queue.find(job).state is State.DEFERRED
    assert world.rows() == {}


def test_an_evaluator_that_waits_takes_what_comes(world):
    argv, env = world.program(REPAIRLAB_QUEUE_RESCAN_S="60")
    running = subprocess.Popen(argv, env=env)
    try:
        time.sleep(0.5)
        job = world.hand_in(RIGHT)
        deadline = time.monotonic() + 120
        while world.champion() != job and time.monotonic() < deadline:
            time.sleep(0.02)
        assert world.champion() == job
    finally:
        running.terminate()
        assert running.wait(10) == 0


def chain(world, name="line"):
    """What `repairlab verify-chain` answers: the exit code, the hashes from the bundle to its origin, what broke."""
    argv = [sys.executable, str(PROGRAM.with_name("repairlab")), "--json", "verify-chain", name]
    env = {**os.environ, "REPAIRLAB_ROOT": str(world.root)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60)
    answer = json.loads(done.stdout)
    return done.returncode, [link["sha256"] for link in answer["data"]["links"]], answer["data"]["broken"]


def test_a_champion_without_documents_gets_them_by_the_command_that_is_told(world):
    """As champions have none that were made by releases before there were documents of this kind."""
    job = world.hand_in(RIGHT)
    world.evaluate()
    shutil.rmtree(world.root / "sbom")
    env = {**os.environ, "REPAIRLAB_ROOT": str(world.root)}
    program = [sys.executable, str(PROGRAM.with_name("repairlab"))]
    done = subprocess.run([*program, "verify-chain", "line"], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    told = re.search("`(repairlab retry [^`]*)`", done.stderr)
    assert told, done.stderr
    subprocess.run([*program, *told[1].split()[1:]], env=env, check=True, timeout=60)
    world.evaluate()
    assert world.champion() == job
    assert chain(world)[::2] == (0, None)


def test_a_champion_that_passed_as_it_came_has_its_pedigree_once_a_repair_has_made_the_same(world):
    world.hand_in(RIGHT, before=RIGHT)
    world.evaluate()
    assert [len(part) for part in chain(world)[1:2]] == [1]
    world.hand_in(RIGHT)
    world.evaluate()
    code, links, broken = chain(world)
    assert (code, len(links), broken) == (0, 2, None)


def test_a_change_in_any_copy_of_a_champions_patch_is_named(world):
    first = world.hand_in(RIGHT.replace("def", "# \u00e9\ndef"))
    world.evaluate()
    assert chain(world) == chain(world, first)
    code, links, broken = chain(world)
    assert (code, len(links), broken) == (0, 2, None)
    record, mail = world.root / f"champions/line/{first}/champion.json", world.root / f"patches/line/{first}.patch"
    (document,) = (world.root / "sbom" / links[0]).glob("*.cdx.json")
    for path in (record, record.with_name("patch.diff"), mail, document):
        raw = path.read_bytes()
        path.write_bytes(raw.replace(b"n = 0", b"n = 9"))
        code, _, broken = chain(world)
        assert (code, bool(broken)) == (1, True), path
        path.write_bytes(raw)
    document.unlink()
    assert chain(world)[0] == 1


HOLDER = """import logging.handlers, os
class Holder:
    pass
held = Holder()
held.os, held.log = os, logging.handlers
"""
ACTING = (
    RIGHT.replace("    n = 0\n", "    n = 0\n    act()\n")
    + """
def act():
    held.os.system("true")
    try:
        held.log.socket.create_connection(("192.0.2.1", 80), 0.1)
    except Exception as error:
        held.error = error
"""
)


def test_what_only_running_shows_makes_a_challenger_unsafe_unless_its_parent_did_it_too(world):
    assert not safety.findings(HOLDER + ACTING)
    acting = world.hand_in(HOLDER + ACTING, before=HOLDER + BROKEN)
    world.evaluate()
    assert world.rows() == {acting: "unsafe"}
    row = next(MetricsLog(world.root / "metrics").rows())
    assert row.components.safety == 0.0
    same = world.hand_in(HOLDER + ACTING, before=HOLDER + ACTING.replace("n = 0", "n = 1"))
    world.evaluate()
    assert world.rows()[same] == "promoted"
