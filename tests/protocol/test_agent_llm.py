"""The real repairlab-agent and a model's gate, another process that answers over the spool, rightly and badly."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from repairlab.documents import LlmRequest, Telemetry, decode

ROOT = Path(__file__).resolve().parents[2]
AGENT, PEER = ROOT / "bin/repairlab-agent", ROOT / "tests/protocol/peers/llm.py"
SOURCE = '"""Numbers."""\n\n\ndef roman(number):\n    return number\n'
TESTS = """from roman import roman


def test_roman():
    assert roman(7) == 'VII'


def test_larger():
    assert roman(23) == 'XXIII'
"""

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
]


@pytest.fixture
def asked(tmp_path):
    """Run the agent beside a gate of some behaviour; nobody serves the queue where there is none."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/roman.py").write_text(SOURCE)
    (tmp_path / "bundle/test_roman.py").write_text(TESTS)
    root = tmp_path / "root"
    handoff = tmp_path / "handoff.json"
    handoff.write_text(json.dumps({"bundle_dir": str(tmp_path / "bundle"), "limits": {"wall_s": 10}}))
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "REPAIRLAB_ROOT": str(root)}
    peers = []

    def ask(behaviour, **settings):
        if behaviour:
            peers.append(subprocess.Popen([sys.executable, str(PEER), behaviour, str(root)], env=environ))
        command = [sys.executable, str(AGENT), "--handoff", str(handoff), "--out", str(tmp_path / "out")]
        done = subprocess.run(command, capture_output=True, env=environ | {"REPAIRLAB_LLM_ENABLED": "true"} | settings)
        assert done.returncode in (0, 1), done.stderr.decode()
        telemetry = decode(done.stdout, Telemetry)
        return telemetry, telemetry.strategies[-1], root

    yield ask
    for peer in peers:
        peer.kill()
        peer.wait()


def test_of_a_models_patches_those_that_break_a_rule_are_named_and_the_right_one_is_verified(asked):
    telemetry, told, root = asked("all")
    assert (telemetry.ok, telemetry.strategy, told.why) == (True, "llm_patch", "found")
    assert (told.tried, told.plausible) == (2, 1)
    assert told.details.startswith("9 patches of peer, 0.25 USD; patch 1 'test_roman.py' is no file that may be edited")
    assert [f"patch {number} " in told.details for number in range(1, 10)] == [True] * 7 + [False] * 2
    request = decode((root / "asked.json").read_bytes(), LlmRequest)
    assert "assert" in request.failing[0].message or "AssertionError" in request.failing[0].message
    assert request.functions[0].source == "def roman(number):\n    return number\n"
    assert {run.strategy: run.why for run in request.tried}["multi_edit"] in ("exhausted", "deadline")
    again, told, _ = asked(None)  # the answer is still there for whoever asks the same
    assert (again.ok, again.strategy) == (True, "llm_patch")


def test_an_answer_that_is_none_ends_the_wait_and_nothing_else(asked):
    telemetry, told, _ = asked("nonsense")
    assert (telemetry.ok, telemetry.strategy, told.tried) == (False, "exhausted", 0)
    assert told.why.startswith("the llmresponse is not JSON")


def test_without_an_answer_the_agent_waits_no_longer_than_it_may(asked):
    telemetry, told, root = asked(None, REPAIRLAB_LLM_WAIT_S="0.3")
    assert not telemetry.ok
    assert told.why == "no answer within 0.3 s"
    assert len(list((root / "llm/requests").glob("request-*.json"))) == 1
