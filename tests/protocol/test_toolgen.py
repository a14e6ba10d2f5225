"""repairlab-toolgen: a spec becomes a tool that passes its tests, or a handoff of one that does not yet."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repairlab.documents import Challenger, Handoff, Pattern, Spec, decode, encode
from repairlab.documents.specs import Example, Io
from repairlab.metrics import MetricsLog
from repairlab.spool import Policy, Spool, State

ALICE = 54322  # nobody's number
BIN = Path(__file__).resolve().parents[2] / "bin"
pytestmark = pytest.mark.timeout(120)


class World:
    def __init__(self, root):
        self.root = root
        self.specs = Spool(root / "spool/specs", pattern="spec*.json", policy=Policy(settle_s=0))
        self.specs.create()

    def hand_in(self, **fields):
        spec = Spec(**{"id": "half-of", "task": "Return half of a number."} | fields)
        return self.specs.publish(encode(spec)).id

    def run(self, program, **environ):
        env = {**os.environ, "REPAIRLAB_ROOT": str(self.root), "REPAIRLAB_QUEUE_SETTLE_S": "0",
               "REPAIRLAB_WATCHER_MIN_FREE_MB": "0", "REPAIRLAB_TOOLGEN_SEARCH_S": "20", **environ}  # fmt: skip
        command = [sys.executable, BIN / program, *["--once"] * (program != "repairlab-library-extract")]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        return done

    def waiting(self, queue, kind):
        return [decode(path.read_bytes(), kind) for path in sorted((self.root / "spool" / queue).glob("*.json"))]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "state")


def examples(*pairs):
    return [Example(input=given, output=result) for given, result in pairs]


def test_specs_in_both_spellings_become_challengers_that_pass_their_tests(world):
    told = examples(("Hello World", "hello-world"), ("A b C", "a-b-c"), (" x ", "x"))
    world.hand_in(id="slug", signature="def slug(text: str) -> str", examples=told, properties=["' ' not in result"])
    inputs = Io(inputs={"a": "int", "b": "int"}, output="int")
    world.hand_in(id="gap", io=inputs, examples=examples(([5, 1], 4), ({"a": 0, "b": 1}, 1), ([2, 2], 0)))
    world.run("repairlab-toolgen")
    made = {challenger.lineage: challenger for challenger in world.waiting("challengers", Challenger)}
    assert set(made) == {"slug", "gap"}
    assert not any(challenger.meta_repair for challenger in made.values())
    for challenger in made.values():
        bundle = Path(challenger.bundle_dir)
        assert {"README.md", "sbom.cdx.json", "tests"} < {path.name for path in bundle.iterdir()}
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=bundle)
        assert done.returncode == 0
    assert "abs(a - b)" in (Path(made["gap"].bundle_dir) / "gap.py").read_text()
    assert json.loads(Path(made["slug"].spec_path).read_bytes())["id"] == "slug"
    frozen = {Path(challenger.bundle_dir).name for challenger in made.values()}
    assert {path.name for path in (world.root / "bundles").iterdir() if path.is_dir()} == frozen


def test_a_tool_that_won_is_what_the_next_like_spec_is_made_of(world):
    told = {"task": "Return the gap between two numbers.", "signature": "gap(one, two)"}
    world.hand_in(id="gap", examples=examples(([5, 1], 4), ([0, 1], 1), ([2, 2], 0)), **told)
    world.run("repairlab-toolgen")
    world.run("repairlab-evaluator", REPAIRLAB_EVALUATOR_PAIRS="8")
    world.run("repairlab-library-extract")
    (path,) = (world.root / "patterns").glob("*.json")
    pattern = decode(path.read_bytes(), Pattern)
    assert (pattern.origin, pattern.function.name, pattern.quality.wins) == ("gap", "gap", 1)
    like = {"task": "Return the gap between two temperatures.", "signature": "spread(low, high)"}
    world.hand_in(id="spread", examples=examples(([9, 2], 7), ([3, 8], 5)), **like)
    world.run("repairlab-toolgen", REPAIRLAB_TOOLGEN_SEARCH_S="0.0001")
    (challenger,) = world.waiting("challengers", Challenger)
    assert (challenger.lineage, challenger.repair_pattern_id) == ("spread", pattern.told)
    world.run("repairlab-evaluator", REPAIRLAB_EVALUATOR_PAIRS="8")
    world.run("repairlab-library-extract")
    assert [each.name for each in (world.root / "patterns").glob("*.json")] == [path.name], "a call of it is no other"


def test_a_spec_that_is_retried_hands_on_another_tool_and_the_same_one_once(world):
    told = {"id": "gap", "signature": "gap(one, two)", "examples": examples(([5, 1], 4), ([0, 1], 1), ([2, 2], 0))}
    job = world.hand_in(**told)
    world.run("repairlab-toolgen")
    challengers = Spool(world.root / "spool/challengers", pattern="challenger_*.json", policy=Policy(settle_s=0))
    world.specs.retry(job)
    world.run("repairlab-toolgen")
    assert world.specs.find(job).state is State.OK, "its challenger still waits"
    claimed = []
    for claim in challengers.claims():
        with claim:
            claimed.append(claim.id)
            claim.finish()
    assert len(claimed) == 1, "the same tool is the same challenger"
    assert not world.waiting("challengers", Challenger)
    world.specs.retry(job)
    world.run("repairlab-toolgen", REPAIRLAB_TOOLGEN_SEARCH_S="0.0001")
    assert world.specs.find(job).state is State.OK
    (handoff,) = world.waiting("repair", Handoff)
    assert handoff.idempotency_key.startswith(f"spec-{job}-")


def test_a_file_that_bears_the_name_of_a_tool_does_not_stand_in_its_way(world):
    told = {"id": "gap", "signature": "gap(one, two)", "examples": examples(([5, 1], 4), ([0, 1], 1), ([2, 2], 0))}
    job = world.hand_in(**told)
    world.run("repairlab-toolgen")
    (path,) = (world.root / "spool/challengers").glob("*.json")
    path.unlink()
    path.write_text("{}")
    world.specs.retry(job)
    world.run("repairlab-toolgen")
    assert world.specs.find(job).state is State.OK
    made = [each for each in path.parent.glob("*.json") if each != path]
    assert [decode(each.read_bytes(), Challenger).lineage for each in made] == ["gap"]


def test_a_spec_with_a_benchmark_and_targets_hands_both_on(world):
    told = {"signature": "gap(one, two)", "examples": examples(([5, 1], 4), ([0, 1], 1), ([2, 2], 0))}
    world.hand_in(id="gap", benchmark="print(sum(gap(n, 5) for n in range(10)))", targets={"fitness": 0.9}, **told)
    bad = world.hand_in(id="bad", benchmark="print(", **told)
    world.run("repairlab-toolgen")
    assert world.specs.find(bad).reason()["field"] == "benchmark"
    (challenger,) = world.waiting("challengers", Challenger)
    assert (challenger.benchmark, challenger.targets) == ("benchmarks/time_gap.py", {"fitness": 0.9})
    assert "- fitness: 0.9" in (Path(challenger.bundle_dir) / "README.md").read_text()
    world.run("repairlab-evaluator", REPAIRLAB_EVALUATOR_PAIRS="8")
    (row,) = MetricsLog(world.root / "metrics").rows()
    assert (row.decision, row.benchmark, row.missed) == ("promoted", challenger.benchmark, [])


def test_what_cannot_be_made_is_handed_in_with_how_far_it_got(world):
    told = examples((3, "three"), (7, "seven"), (40, "forty"), (2, "two"))
    job = world.hand_in(id="words", signature="words(n: int) -> str", examples=told, epoch=4)
    world.run("repairlab-toolgen", REPAIRLAB_TOOLGEN_SEARCH_S="0.5")
    (handoff,) = world.waiting("repair", Handoff)
    assert (handoff.reason, handoff.epoch, handoff.lineage) == ("tests_failed", 4, "words")
    assert handoff.metrics.correctness < 1
    assert world.specs.find(job).state is State.OK


@pytest.mark.root
def test_the_tool_of_another_users_spec_competes_in_a_lineage_of_his_own(world):
    world.hand_in(id="words", signature="words(n: int) -> str", examples=examples((3, "three"), (7, "seven")))
    [path] = world.specs.path.glob("spec*.json")
    os.chown(path, ALICE, ALICE)
    world.run("repairlab-toolgen", REPAIRLAB_TOOLGEN_SEARCH_S="0.1")
    (handoff,) = world.waiting("repair", Handoff)
    assert handoff.lineage == f"words.{ALICE}"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"examples": examples((4, 2))}, "signature"),
        ({"signature": "half(x"}, "signature"),
        ({"signature": "half(x: int) -> int"}, "examples"),
        ({"signature": "half(x: int, y: int) -> int", "examples": examples((4, 2))}, "examples[0].input"),
        ({"signature": "half(x: int)", "examples": examples((4, 2)), "properties": ["result ="]}, "properties"),
        ({"io": Io(inputs={"x y": "int"}), "examples": examples((4, 2))}, "io.inputs"),
    ],
)
def test_a_spec_that_says_too_little_is_rejected_with_the_field(world, fields, field):
    job = world.hand_in(**fields)
    world.run("repairlab-toolgen")
    found = world.specs.find(job)
    assert found.state is State.REJECTED
    assert found.reason()["field"] == field
    assert found.reason()["fix"]
