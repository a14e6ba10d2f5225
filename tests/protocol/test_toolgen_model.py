"""The real repairlab-toolgen and a model's gate, another process that answers over the spool, rightly and badly."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repairlab.documents import Challenger, Handoff, Spec, ToolRequest, decode, encode
from repairlab.documents.specs import Example
from repairlab.spool import Policy, Spool, State

ROOT = Path(__file__).resolve().parents[2]
PROGRAM, PEER = ROOT / "bin/repairlab-toolgen", ROOT / "tests/protocol/peers/toolmodel.py"
NUMERALS = {1: "I", 7: "VII", 10: "X", 23: "XXIII", 16: "XVI", 38: "XXXVIII", 4 * 5: "XX", 11: "XI"}
pytestmark = pytest.mark.timeout(120)


class World:
    def __init__(self, root):
        self.root, self.peers = root, []
        self.specs = Spool(root / "spool/specs", pattern="spec*.json", policy=Policy(settle_s=0))
        self.specs.create()
        self.env = {**os.environ, "REPAIRLAB_ROOT": str(root), "REPAIRLAB_QUEUE_SETTLE_S": "0",
                    "REPAIRLAB_QUEUE_RESCAN_S": "0.1", "REPAIRLAB_TOOLGEN_SEARCH_S": "0.1",
                    "REPAIRLAB_EVALUATOR_WALL_S": "5", "REPAIRLAB_LLM_ENABLED": "true"}  # fmt: skip

    def hand_in(self, **fields):
        told = [Example(input=given, output=result) for given, result in NUMERALS.items()]
        spec = {"id": "roman", "task": "Return the Roman numeral of a number up to 38.", "examples": told,
                "signature": "def roman(number: int) -> str", "properties": ["result.isupper()"],
                "constraints": ["no lists"]}  # fmt: skip
        return self.specs.publish(encode(Spec(**(spec | fields)))).id

    def start(self, argv, **environ):
        self.peers.append(subprocess.Popen([sys.executable, *map(str, argv)], env=self.env | environ))

    def gate(self, behaviour):
        self.start([PEER, behaviour, self.root])

    def serve(self, **environ):
        self.start([PROGRAM], **environ)

    def once(self, **environ):
        argv = [sys.executable, str(PROGRAM), "--once"]
        done = subprocess.run(argv, env=self.env | environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    def until(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end
            time.sleep(0.05)
        return found

    def ended(self, job):
        self.until(lambda: self.specs.find(job).state is State.OK)
        found = self.specs.find(job)
        return [entry["reason"] for entry in found.attempts() if entry["event"] in ("model", "finished")]

    def waiting(self, queue, kind):
        return [decode(path.read_bytes(), kind) for path in sorted((self.root / "spool" / queue).glob("*.json"))]

    def stop(self):
        for peer in self.peers:
            peer.kill()
            peer.wait()
        self.peers.clear()


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "state")
    yield made
    made.stop()


@pytest.mark.parametrize("behaviour", ["right", "prose", "second"])
def test_a_models_function_becomes_a_tool_when_its_tests_pass(world, behaviour):
    job = world.hand_in()
    world.gate(behaviour)
    world.serve()
    model, finished = world.ended(job)
    (challenger,) = world.waiting("challengers", Challenger)
    assert (challenger.lineage, challenger.meta_repair, challenger.unknown["impl_style"]) == ("roman", False, "model")
    assert finished == "a tool, answered by peer"
    code = (Path(challenger.bundle_dir) / "roman.py").read_text()
    assert "import math" in code
    assert "number // value" in code
    assert "Sure" not in code
    assert not (world.root / "ran").exists()
    if behaviour == "second":
        for why in ("is no Python", "does not define roman once", "imports numpy", "runs code beside"):
            assert why in model
    assert not world.waiting("repair", Handoff)


def test_the_question_says_what_is_wanted_in_bounds_and_keeps_some_examples_back(world):
    world.hand_in(task="Return it. " * 3000, properties=["result == result  # " + "x" * 1900] * 50)
    world.once()
    (path,) = (world.root / "llm/requests").glob("request-*.json")
    request = decode(path.read_bytes(), ToolRequest)
    assert request.header == "def roman(number: int) -> str:"
    assert [each.call for each in request.examples] == [f"roman({n})" for n in (1, 7, 10, 16, 38, 20)]
    assert request.examples[1].result == "'VII'"
    assert (len(request.task), len(request.properties)) == (4000, 20)
    assert request.constraints == ["no lists"]


def test_what_only_knows_the_examples_that_it_was_told_is_no_tool(world):
    job = world.hand_in()
    world.gate("lookup")
    world.serve()
    world.ended(job)
    assert not world.waiting("challengers", Challenger)
    (handoff,) = world.waiting("repair", Handoff)
    assert handoff.metrics.correctness == 0.75, "the nearest of all that was tried"
    assert "'VII'" in (Path(handoff.bundle_dir) / "roman.py").read_text()


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        ("torn", "the model's answer is refused: the toolresponse is not JSON"),
        ("huge", "the model's answer is refused: the answer is no file of at most"),
        ("other", "the model's answer is refused: id: the answer is to another question"),
        ("none", "4 functions of peer, 0.5 USD; function 1 is no Python; function 2 does not take just number"),
        ("hostile", "2 functions of peer, 0.5 USD"),
    ],
)
def test_an_answer_that_is_none_makes_no_tool_and_does_no_harm(world, behaviour, told):
    job = world.hand_in()
    world.gate(behaviour)
    world.serve()
    model, finished = world.ended(job)
    assert model.startswith(told)
    assert finished.startswith("to be repaired")
    assert not world.waiting("challengers", Challenger)
    assert len(world.waiting("repair", Handoff)) == 1
    assert not (world.root / "ran").exists()


def test_while_the_gate_is_closed_specs_wait_uncounted_and_others_are_served(world):
    job = world.hand_in()
    world.once()
    other = world.hand_in(id="twice", signature="def twice(n: int) -> int", properties=[],
                          examples=[Example(input=n, output=2 * n) for n in (1, 3, 8)])  # fmt: skip
    world.once(REPAIRLAB_TOOLGEN_SEARCH_S="20")
    assert world.specs.find(other).state is State.OK, "found without a model, while the first one waits"
    waits = world.specs.find(job)
    assert waits.state is State.DEFERRED
    assert {entry["event"] for entry in waits.attempts()} == {"started", "deferred"}
    assert len(list((world.root / "llm/requests").glob("request-*.json"))) == 1
    assert not world.waiting("repair", Handoff)
    world.serve(REPAIRLAB_LLM_WAIT_S="0.001")
    world.until(lambda: "is its gate open?" in str(world.specs.find(job).attempts()))
    assert world.specs.find(job).state in (State.DEFERRED, State.ACTIVE), "whatever llm.wait_s says"
    assert not any(entry["event"] in ("failed", "crashed") for entry in world.specs.find(job).attempts())
    world.gate("right")
    world.ended(job)
    assert {each.lineage for each in world.waiting("challengers", Challenger)} == {"roman", "twice"}


def test_a_gate_that_takes_the_question_and_is_silent_is_waited_for_no_longer_than_it_may(world):
    job = world.hand_in()
    world.gate("silent")
    world.serve(REPAIRLAB_LLM_WAIT_S="1")
    model, _ = world.ended(job)
    assert model == "the model has not answered within 1 s"
    assert len(world.waiting("repair", Handoff)) == 1


def test_an_answer_that_comes_too_late_serves_whoever_asks_the_same_again(world):
    first = world.hand_in()
    world.gate("late")
    world.serve(REPAIRLAB_LLM_WAIT_S="1")
    world.ended(first)
    (world.root / "late").touch()
    world.until(lambda: list((world.root / "llm/responses").glob("*.json")))
    asked = (world.root / "asked.json").read_bytes()
    (world.root / "asked.json").unlink()
    second = world.hand_in(reason="again")
    assert second != first
    assert world.ended(second)[-1] == "a tool, answered by peer"
    assert not (world.root / "asked.json").exists(), "asking twice costs once"
    assert json.loads(asked)["spec_id"] == "roman"


def test_nobody_is_asked_where_no_model_is_configured(world):
    job = world.hand_in()
    world.once(REPAIRLAB_LLM_ENABLED="false")
    assert world.specs.find(job).state is State.OK
    assert not (world.root / "llm").exists()
