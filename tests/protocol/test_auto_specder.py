"""repairlab-auto-specder: what makes it write, what keeps it from writing again, and what it writes."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from repairlab.documents import Components, Course, Decision, Handoff, MetricsRow, Spec, Strategy, decode, encode
from repairlab.documents.specs import Example
from repairlab.metrics import MetricsLog
from repairlab.spool import Clock, Policy, Spool, State

ALICE, BOB = 54322, 54323  # nobody's numbers
PROGRAM = Path(__file__).resolve().parents[2] / "bin" / "repairlab-auto-specder"
ONES = Components(correctness=1, safety=1, performance=1, robustness=1, documentation=1, stability=1)


class World:
    def __init__(self, root):
        self.root, self.number = root, 0
        self.log = MetricsLog(root / "metrics")

    def spec(self, name, signature, *pairs, **fields):
        told = [Example(input=given, output=result) for given, result in pairs]
        path = self.root / "bundles" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(Spec(id=name, task=f"{name}.", signature=signature, examples=told, **fields)))
        return str(path)

    def evaluated(self, lineage, decision=Decision.NOT_BETTER, path=None, **fields):
        self.number += 1
        known = {
            "timestamp": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=self.number), "id": f"{self.number:024x}",
            "path": Course.CHALLENGER, "lineage": lineage, "fitness": 0.5, "components": ONES, "decision": decision,
            "meta_repair": False, "bundle_sha256": "a" * 64, "parent_sha256": None, "spec_path": path,
        }  # fmt: skip
        self.log.append(MetricsRow(**(known | fields)))

    def run(self, *argv):
        env = {**os.environ, "REPAIRLAB_ROOT": str(self.root)}
        done = subprocess.run([sys.executable, PROGRAM, *argv], env=env, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def peak_kb(self):
        """Run it; return the largest resident set."""
        argv = [sys.executable, PROGRAM, "--dry-run"]
        running = subprocess.Popen(
            argv, env={**os.environ, "REPAIRLAB_ROOT": str(self.root)}, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        assert running.returncode == 0
        return usage.ru_maxrss

    def written(self):
        return [decode(path.read_bytes(), Spec) for path in sorted((self.root / "spool/specs").glob("spec*.json"))]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "state")


def test_a_plateau_is_told_once_and_again_only_after_a_promotion(world):
    path = world.spec(
        "slug", "slug(text: str) -> str", ("A B", "a-b"), ("x", "x"), ("Hello Big World", "hello-big-world")
    )
    for _ in range(7):
        world.evaluated("slug", path=path)
    assert world.run() == []
    world.evaluated("slug", path=path)
    assert len(world.run("--dry-run")) == 1
    assert world.written() == []
    (said,) = world.run()
    (spec,) = world.written()
    assert said == f"{spec.id}: plateau: narrowed from slug"
    assert (spec.source, spec.parents, spec.reason) == (
        "repairlab-auto-specder",
        ["slug"],
        "plateau: narrowed from slug",
    )
    assert [each.input for each in spec.examples] == ["x", "A B"]
    world.evaluated("slug", path=path)
    assert world.run() == [], "it stays bad, and was told"
    world.evaluated("slug", Decision.PROMOTED, path)
    assert world.run() == []
    for _ in range(8):
        world.evaluated("slug", path=path)
    assert world.run() == [], "what follows from it was written already"
    assert len(world.written()) == 1


def test_a_lineage_whose_champion_has_reached_its_targets_is_not_stuck(world):
    for name, missed in ("done", []), ("short", ["fitness is 0.5, not at least 0.9"]), ("free", None):
        path = world.spec(name, f"{name}(text: str) -> str", ("A B", "a-b"), ("x", "x"))
        world.evaluated(name, Decision.PROMOTED, path, missed=missed)
        for _ in range(8):
            world.evaluated(name, path=path, missed=missed)
    told = [line.split(": ")[1:] for line in world.run()]
    assert {words[0] for words in told} == {"plateau"}
    stuck = {spec.parents[0] for spec in world.written() if "narrowed" in spec.id}
    assert stuck == {"short", "free"}


def test_specs_of_one_shape_are_widened_and_specs_that_fit_are_composed(world):
    slug = world.spec("slug", "slug(text: str) -> str", ("A B", "a-b"), ("x", "x"))
    loud = world.spec("loud", "loud(text: str) -> str", ("a-b", "A-B"), ("y", "Y"))
    for _ in range(8):
        world.evaluated("loud", path=loud)
    world.evaluated("slug", Decision.PROMOTED, slug)
    world.run()
    made = {spec.reason.split()[1]: spec for spec in world.written()}
    assert set(made) == {"narrowed", "widened", "composed"}
    assert len(made["widened"].examples) == 4
    assert [(each.input, each.output) for each in made["composed"].examples] == [("A B", "A-B")]
    assert made["composed"].signature == "slug(text: str) -> str"
    assert len({spec.id for spec in made.values()}) == 3


def test_handoffs_that_keep_being_given_up_are_a_sign(world):
    path = world.spec("slug", "slug(text: str) -> str", ("A B", "a-b"), ("x", "x"))
    queue = Spool(world.root / "spool/repair", policy=Policy(settle_s=0, failures=1))
    queue.create()
    for number in range(3):
        queue.publish(encode(Handoff(bundle_dir="/srv/x", lineage="slug", spec_path=path, reason=str(number))))
        for claim in queue.claims(limit=1):
            with claim:
                claim.fail("exhausted")
        assert len(world.run()) == (number == 2)
    assert world.written()[0].reason == "failing: narrowed from slug"


@pytest.mark.root
def test_what_two_people_call_by_one_name_is_not_one_lineage(world):
    path = world.spec("slug", "slug(text: str) -> str", ("A B", "a-b"), ("x", "x"))
    queue = Spool(world.root / "spool/repair", policy=Policy(settle_s=0, failures=1))
    queue.create()
    for number, owner in enumerate((ALICE, ALICE, BOB, BOB, ALICE)):
        handoff = Handoff(bundle_dir="/srv/x", lineage="slug", spec_path=path, reason=str(number))
        arrival = Path(queue.publish(encode(handoff)).path)
        os.chown(arrival, owner, owner)
        for claim in queue.claims(limit=1):
            with claim:
                claim.fail("exhausted")
        assert len(world.run()) == (number == 4), "three of alice's"


class LongAgo(Clock):
    def wall(self):
        return super().wall() - 8 * 86400


def test_what_was_given_up_before_the_window_is_no_sign(world):
    path = world.spec("slug", "slug(text: str) -> str", ("A B", "a-b"), ("x", "x"))
    for number, clock in enumerate((LongAgo(), Clock(), Clock(), Clock())):
        queue = Spool(world.root / "spool/repair", policy=Policy(settle_s=0, failures=1), clock=clock)
        queue.create()
        queue.publish(encode(Handoff(bundle_dir="/srv/x", lineage="slug", spec_path=path, reason=str(number))))
        for claim in queue.claims(limit=1):
            with claim:
                claim.fail("exhausted")
        assert len(world.run()) == (number == 3), "three of them lie in the window"


def test_a_collapse_of_diversity_is_a_sign_with_two_bounds(world):
    path = world.spec("slug", "slug(text: str) -> str", ("A B", "a-b"), ("x", "x"))
    kinds = {"meta_repair": True, "decision": Decision.PROMOTED, "path": path}
    for _ in range(20):
        world.evaluated("slug", repair_strategy=Strategy.MULTI_EDIT, **kinds)
    assert [line.partition(": ")[2] for line in world.run()] == ["collapse: narrowed from slug"]
    state = json.loads((world.root / "specder/state.json").read_bytes())
    assert state["told"] == ["collapse"]
    told = []
    for count in (6, 5, 3):  # of 20, alike are 14 (between the bounds), 11 (below), and 14 again (of the other kind)
        for _ in range(count):
            world.evaluated("slug", repair_strategy=Strategy.LLM_PATCH, **kinds)
        assert world.run() == []
        told.append(json.loads((world.root / "specder/state.json").read_bytes())["told"])
    assert told == [["collapse"], [], []]


@pytest.mark.parametrize("how", ["outside", "dots", "link", "linked directory", "fifo", "inside"])
def test_a_spec_is_read_from_the_roots_of_bundles_alone(world, tmp_path, how):
    path = Path(world.spec("slug", "slug(text: str) -> str", ("A B", "a-b"), ("x", "x")))
    secret = tmp_path / "elsewhere" / "slug.json"
    secret.parent.mkdir()
    named = {"dots": f"{path.parent}/../../elsewhere/slug.json", "linked directory": f"{path.parent}/deep/slug.json"}
    if how != "inside":
        path.rename(secret)
    if how == "link":
        path.symlink_to(secret)
    elif how == "linked directory":
        (path.parent / "deep").symlink_to(secret.parent)
    elif how == "fifo":
        os.mkfifo(path)
    for _ in range(8):
        world.evaluated("slug", path=str(secret) if how == "outside" else named.get(how, str(path)))
    assert len(world.run()) == (how == "inside"), "the last one is the control"


def test_a_death_before_the_state_is_kept_writes_no_spec_twice(world):
    path = world.spec("slug", "slug(text: str) -> str", ("A B", "a-b"), ("x", "x"))
    for _ in range(8):
        world.evaluated("slug", path=path)
    assert len(world.run()) == 1
    (world.root / "specder/state.json").unlink()
    assert len(world.run()) == 1, "it does not know that it wrote it"
    assert len(world.written()) == 1


def test_what_is_remembered_has_a_bound_and_keeps_the_latest(world):
    path = world.spec("slug", "slug(text: str) -> str", ("A B", "a-b"), ("x", "x"))
    for _ in range(8):
        world.evaluated("slug", path=path)
    state = world.root / "specder/state.json"
    state.parent.mkdir()
    gone = {"told": ["plateau gone", "failing gone", "collapse"], "written": [f"old-{n}" for n in range(20_000)]}
    state.write_text(json.dumps(gone))
    assert len(world.run()) == 1
    (spec,) = world.written()
    kept = json.loads(state.read_bytes())
    assert sorted(kept["told"]) == ["collapse", "plateau slug"], "of the others there is nothing left"
    assert kept["written"] == [*gone["written"][1:], spec.id]
    state.write_text(json.dumps(kept | {"told": []}))
    assert world.run() == [], "what was written is known"


def test_handoffs_are_told_of_again_after_all_that_failed_before_are_gone(world):
    path = world.spec("slug", "slug(text: str) -> str", ("A B", "a-b"), ("x", "x"), ("Y", "y"))
    queue = Spool(world.root / "spool/repair", policy=Policy(settle_s=0, failures=1))
    queue.create()

    def fail(first):
        for number in range(first, first + 3):
            queue.publish(encode(Handoff(bundle_dir="/srv/x", lineage="slug", spec_path=path, reason=str(number))))
        for claim in queue.claims(limit=3):
            with claim:
                claim.fail("exhausted")

    fail(0)
    assert len(world.run()) == 1
    for job in list(queue.jobs(State.HARD_FAIL)):
        queue.drop(job.id)
    assert world.run() == []
    world.spec("slug", "slug(text: str) -> str", ("C D", "c-d"), ("x", "x"))
    fail(3)
    assert len(world.run()) == 1


def test_one_sign_brings_few_specs_and_one_run_not_many_more(world):
    path = {}
    for number in range(12):
        path[number] = world.spec(f"slug{number}", "slug(text: str) -> str", (f"A {number}", "a"), ("x", "x"))
    for number in range(12):
        world.evaluated(f"slug{number}", path=path[number])
    for _ in range(7):
        world.evaluated("slug0", path=path[0])
    assert len(world.run()) == 5
    assert world.run() == []
    for number in range(1, 12):
        for _ in range(7):
            world.evaluated(f"slug{number}", path=path[number])
    written = [*world.run(), *world.run(), *world.run()]
    assert [len(written[at : at + 20]) for at in (0, 20, 40)] == [20, 20, 15], "what had no room came the next time"
    assert len({spec.id for spec in world.written()}) == 60


def test_two_specs_that_have_no_room_together_are_not_widened(world):
    for name in ("slug", "snug"):
        path = world.spec(name, "slug(text: str) -> str", ("A" * 600_000, name), ("x", "x"))
        for _ in range(8):
            world.evaluated(name, path=path)
    assert {line.split()[2] for line in world.run()} == {"narrowed", "composed"}
    assert all(path.stat().st_size <= 1 << 20 for path in (world.root / "spool/specs").glob("spec*.json"))


def test_memory_does_not_grow_with_the_rows(world):
    world.evaluated("slug")
    small_kb = world.peak_kb()
    line = world.log.path.read_bytes()
    with (world.log.path.with_name("metrics-000001.jsonl")).open("wb") as stream:
        for number in range(60_000):
            stream.write(line.replace(b"slug", b"slug-%d" % (number % 50)))
    assert world.peak_kb() - small_kb < 20_000


def test_the_end_of_the_log_is_enough_and_its_beginning_is_not_read(world, tmp_path):
    log = MetricsLog(world.root / "metrics", rotate_bytes=4000)
    world.log = log
    for number in range(30):
        world.evaluated(f"line-{number}")
    assert len(list((world.root / "metrics").glob("metrics-*.jsonl"))) > 2
    whole = [row.lineage for row in log.rows()]
    assert [row.lineage for row in log.tail(1 << 30)] == whole
    size = len(log.path.read_bytes())
    for max_bytes in (1, 700, size, size + 1, size + 3000, size + 9000):
        found = [row.lineage for row in log.tail(max_bytes)]
        assert found == whole[len(whole) - len(found) :]
        assert len(found) * 400 <= max_bytes
    assert found
