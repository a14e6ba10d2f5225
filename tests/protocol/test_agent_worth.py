"""The real repairlab-agent on what its patches are worth: clusters, the question, held-out tests, hostile values."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from repairlab.documents import Telemetry, decode

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "def scaled(x, k):\n    return x - k\n"
VISIBLE = """\
import os
from mod import scaled


def test_scaled():
    assert scaled(2, 2) == 4


def test_nothing_else_lies_here():
    assert not os.path.exists("held")
"""
HELD = "from mod import scaled\n\n\ndef test_more():\n    assert scaled(3, 5) == {}\n"
EVIL = """\
import os, signal


class Evil:
    def __init__(self, n):
        self.n = n

    def __eq__(self, other):
        return self.n == other

    def __repr__(self):
        for fd in range(3, 40):
            try:
                os.write(fd, b'\\np [0, [["1", "forged"]]]\\n{"verdict": "passed"}\\n')
            except OSError:
                pass
        os.kill(os.getppid(), signal.SIGKILL)
        while True:
            pass

    def __deepcopy__(self, memo):
        return self if self.n else self.n / 0


def wrapped(evil, n):
    return Evil(n - 1)
"""
EVIL_TEST = "from mod import Evil, wrapped\n\n\ndef test_it():\n    assert wrapped(Evil(1), 1) == 2\n"

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
]


def attempt(tmp_path, files, **handoff):
    for name, text in files.items():
        (tmp_path / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bundle" / name).write_text(text)
    document, out = tmp_path / "handoff.json", tmp_path / "out"
    document.write_text(json.dumps({"bundle_dir": str(tmp_path / "bundle"), "limits": {"wall_s": 20}} | handoff))
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "none")}
    command = [sys.executable, ROOT / "bin/repairlab-agent", "--handoff", document, "--out", out]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode in (0, 1), done.stderr.decode()
    return decode(done.stdout, Telemetry), out


def test_patches_that_differ_beyond_the_tests_are_told_apart_by_a_question(tmp_path):
    told, out = attempt(tmp_path, {"mod.py": SOURCE, "test_mod.py": VISIBLE})
    assert told.ok
    assert told.correct is None
    assert told.clusters >= 2
    assert told.question.call.startswith("scaled(")
    assert told.question.likeliest != told.question.other
    assert 0 < told.timings.first_s < told.timings.total_s
    assert 0 < told.first_tried <= told.attempts
    assert (told.failed, told.tests) == (1, 2)
    assert [candidate.cluster for candidate in told.candidates] == list(range(1, len(told.candidates) + 1))
    assert len(told.candidates) == len(list((out / "candidates").iterdir())) <= 5


@pytest.mark.parametrize(("wanted", "operator"), [(8, b"+    return x + k"), (15, b"+    return x * k")])
def test_held_out_tests_decide_which_patch_leads(tmp_path, wanted, operator):
    files = {"mod.py": SOURCE, "test_mod.py": VISIBLE, "held/test_held.py": HELD.format(wanted)}
    told, out = attempt(tmp_path, files, held_out=["held"])
    assert (told.ok, told.correct, told.candidates[0].correct) == (True, True, True)
    assert operator in (out / "patch.diff").read_bytes()


def test_a_repair_that_held_out_tests_refuse_is_none(tmp_path):
    files = {"mod.py": SOURCE, "test_mod.py": VISIBLE, "held/test_held.py": HELD.format(-77)}
    told, out = attempt(tmp_path, files, held_out=["held/*.py"])
    assert (told.ok, told.correct, told.reason) == (False, False, "held_out_failed")
    assert {candidate.correct for candidate in told.candidates} == {False}
    assert told.bundle_sha256 == told.parent_sha256
    assert not (out / "patch.diff").exists()


def test_code_that_passes_its_tests_and_not_the_held_out_ones_is_no_noop(tmp_path):
    good = {"mod.py": SOURCE.replace("-", "+"), "test_mod.py": VISIBLE, "held/test_held.py": HELD.format(15)}
    told, _ = attempt(tmp_path, good, held_out=["held"])
    assert (told.ok, told.correct, told.reason) == (False, False, "held_out_failed")


def test_code_that_never_ends_on_the_held_out_tests_is_no_noop(tmp_path):
    good = {"mod.py": SOURCE.replace("-", "+"), "test_mod.py": VISIBLE, "held/test_held.py": HELD.format(8)}
    good["mod.py"] += "    while x == 3:\n        pass\n"
    good["mod.py"] = good["mod.py"].replace("    return x + k\n", "") + "    return x + k\n"
    told, _ = attempt(tmp_path, good, held_out=["held"], limits={"wall_s": 12})
    assert (told.ok, told.correct, told.reason) == (False, False, "held_out_failed")


def test_values_that_lie_kill_and_never_end_cost_nothing_but_the_look_at_them(tmp_path):
    told, _ = attempt(tmp_path, {"mod.py": EVIL, "test_mod.py": EVIL_TEST})
    assert told.ok
    assert told.timings.probe_s < 15
    assert "forged" not in (told.question.likeliest if told.question else "")
