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
from repairlab.spool import Policy, Spool

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


def test_a_collapse_of_diversity_is_a_sign_with_two_bounds(world):
    path = world.spec("slug", "slug(text: str) -> str", ("A B", "a-b"), ("x", "x"))
    kinds = {"meta_repair": True, "decision": Decision.PROMOTED, "path": path}
    for _ in range(20):
        world.evaluated("slug", repair_strategy=Strategy.MULTI_EDIT, **kinds)
    assert [line.partition(": ")[2] for line in world.run()] == ["collapse: narrowed from slug"]
    state = json.loads((world.root / "specder/state.json").read_bytes())
    assert state["told"] == ["collapse"]
    for number in range(9):
        world.evaluated("slug", repair_strategy=Strategy.MULTI_EDIT if number % 9 else Strategy.LLM_PATCH, **kinds)
    world.run()
    assert json.loads((world.root / "specder/state.json").read_bytes())["told"] == ["collapse"], "between the bounds"
    for _ in range(9):
        world.evaluated("slug", repair_strategy=Strategy.LLM_PATCH, **kinds)
    world.run()
    assert json.loads((world.root / "specder/state.json").read_bytes())["told"] == []
