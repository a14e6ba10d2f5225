"""The real repairlab-agent on odd bundles and lying ones: what it says must be true, and it must always say it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from repairlab.documents import Telemetry, decode

AGENT = Path(__file__).resolve().parents[2] / "bin/repairlab-agent"
SOURCE = "def inc(x):\n    return x - 1\n"
GOOD = "from mod import inc\n\n\ndef test_inc():\n    assert inc(1) == 2\n"

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
]


def made(path, files):
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def command(bundle, out, *more, **handoff):
    document = out.parent / "handoff.json"
    document.write_text(json.dumps({"bundle_dir": str(bundle), "limits": {"wall_s": 12}} | handoff))
    return [sys.executable, str(AGENT), "--handoff", str(document), "--out", str(out), *more]


def environment(tmp_path):
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "none")}


def attempt(bundle, tmp_path, *more, **handoff):
    out = tmp_path / "out"
    done = subprocess.run(command(bundle, out, *more, **handoff), capture_output=True, env=environment(tmp_path))
    assert done.returncode in (0, 1), (done.returncode, done.stderr.decode())
    telemetry = decode(done.stdout, Telemetry)
    assert done.returncode == (0 if telemetry.ok else 1)
    assert decode((out / "telemetry.json").read_bytes(), Telemetry) == telemetry
    assert telemetry.ok == (out / "patch.diff").exists()
    return telemetry, out


def test_a_file_that_only_the_configuration_makes_a_test_is_never_edited(tmp_path):
    files = {"pytest.ini": "[pytest]\npython_files = check_*.py\n", "mod.py": "LIMIT = 3\n"}
    files["check_mod.py"] = "from mod import LIMIT\n\n\ndef test_limit():\n    one = 1\n    assert one == 2\n"
    telemetry, _ = attempt(made(tmp_path / "bundle", files), tmp_path)
    assert (telemetry.ok, telemetry.reason) == (False, "nothing_editable")


@pytest.mark.parametrize(("source", "strategy"), [(SOURCE, "heuristic_microfix"), (SOURCE.replace("-", "+"), "noop")])
def test_a_module_that_skips_itself_keeps_nothing_from_being_verified(tmp_path, source, strategy):
    skipped = "import pytest\n\npytest.importorskip('no_such_module')\n"
    files = {"mod.py": source, "test_mod.py": GOOD, "test_other.py": skipped}
    telemetry, _ = attempt(made(tmp_path / "bundle", files), tmp_path)
    assert (telemetry.ok, telemetry.strategy) == (True, strategy), telemetry.details


def test_a_plain_run_that_does_not_end_in_time_is_the_deadline_and_the_patch_is_shown(tmp_path):
    # The search's forks end without pytest's farewell, so only verification meets what never ends there.
    lingering = "import time\n\n\ndef pytest_unconfigure():\n    time.sleep(60)\n"
    files = {"mod.py": SOURCE, "test_mod.py": GOOD, "conftest.py": lingering}
    telemetry, out = attempt(made(tmp_path / "bundle", files), tmp_path, limits={"wall_s": 5})
    assert (telemetry.ok, telemetry.reason) == (False, "deadline"), telemetry.details
    assert "+    return x + 1" in (out / "candidates/01.diff").read_text()  # the likeliest, though it was cut off


def test_tests_with_fixtures_and_without_in_several_files_do_not_kill_a_true_repair(tmp_path):
    # A file's set-up that a plain call leaves standing is an error to the next file's first test with a fixture.
    mixed = "def test_with(tmp_path):\n    assert tmp_path\n\n\ndef test_without():\n    assert True\n"
    files = {"mod.py": SOURCE, "test_mod.py": GOOD, "test_a.py": mixed, "test_b.py": mixed}
    telemetry, _ = attempt(made(tmp_path / "bundle", files), tmp_path)
    assert telemetry.ok, telemetry.details


ALTERNATING = """
import os
from mod import inc


def test_alternates():
    inc(1)
    runs = int(open("../runs").read()) if os.path.exists("../runs") else 0
    with open("../runs", "w") as file:
        file.write(str(runs + 1))
    assert runs % 2
"""


def test_a_test_that_passes_and_fails_on_the_same_code_is_named_flaky(tmp_path):
    telemetry, out = attempt(made(tmp_path / "bundle", {"mod.py": SOURCE, "test_mod.py": ALTERNATING}), tmp_path)
    assert (telemetry.ok, telemetry.reason, telemetry.attempts) == (False, "tests_flaky", 0)
    assert "test_alternates" in telemetry.details
    assert not (out / "patch.diff").exists()


def test_what_tests_leave_in_the_bundle_is_gone_before_the_next_candidate(tmp_path):
    tests = """
import os

from mod import inc


def test_made():
    os.mkdir("made")
    with open("made/out", "w") as file:
        file.write(str(inc(1)))
    with open("data.txt", "a") as file:
        file.write("x")
    assert open("made/out").read() == "2"
    assert open("data.txt").read() == "x"


def test_gone():
    assert inc(2) == 3
    os.unlink("kept/here.txt")
    os.rmdir("kept")
"""
    files = {"mod.py": SOURCE, "test_mod.py": tests, "data.txt": "", "kept/here.txt": "1"}
    telemetry, _ = attempt(made(tmp_path / "bundle", files), tmp_path)
    assert telemetry.ok, telemetry.details


def test_a_candidate_that_is_imported_anew_is_left_alone_by_what_runs_beside_it(tmp_path):
    files = {"mod.py": "def inc(x):\n    return int(re.sub('a', '', str(x + 1)))\n", "test_mod.py": GOOD}
    telemetry, out = attempt(made(tmp_path / "bundle", files), tmp_path)
    assert telemetry.ok, telemetry.details
    assert b"+import re\n" in (out / "patch.diff").read_bytes()


@pytest.mark.parametrize("name", ["deep.py", "tests/data.py"])
def test_a_file_too_deep_for_the_parser_is_left_alone(tmp_path, name):
    files = {"mod.py": SOURCE, "test_mod.py": GOOD, name: "x = " + "-" * 60000 + "1\n"}
    telemetry, _ = attempt(made(tmp_path / "bundle", files), tmp_path)
    assert telemetry.ok, telemetry.details


LYING = """
import os, sys

MOD = os.path.join(os.path.dirname(os.path.realpath(__file__)), "mod.py")
frame = sys._getframe()
while frame and "hot_main" not in frame.f_globals:
    frame = frame.f_back
if frame:
    frame.f_globals["Hot"].do_baseline = lambda self, request: {"tests": [TEST], "missing": []}
"""

LIES = {
    "tests_that_are_not_there": '{"index": 500, "outcome": "f"}, {"index": 0, "outcome": "f"}',
    "lines_that_are_not_there": '{"index": 0, "outcome": "f", "lines": {MOD: [[-5, 1], [2, 1], [10**15, 3]]}}',
    "time_that_has_not_passed": '{"index": 0, "outcome": "f", "lines": {MOD: [[2, 1]]}, "cpu": 1e308}',
}


@pytest.mark.parametrize("lie", LIES)
def test_a_worker_that_lies_about_the_baseline_deceives_only_the_search(tmp_path, lie):
    files = {"mod.py": SOURCE, "test_mod.py": GOOD, "conftest.py": LYING.replace("TEST", LIES[lie])}
    telemetry, _ = attempt(made(tmp_path / "bundle", files), tmp_path)
    assert telemetry.ok == (lie != "tests_that_are_not_there")
    assert telemetry.reason in (None, "tests_unruly")


def test_more_source_than_a_frame_holds_is_read_inside(tmp_path):
    big = {f"big{number}.py": "# " + "x" * 3_900_000 + "\n" for number in range(18)}
    bundle = made(tmp_path / "bundle", big | {"mod.py": SOURCE, "test_mod.py": GOOD})
    telemetry, _ = attempt(bundle, tmp_path, limits={"wall_s": 60})
    assert telemetry.ok, telemetry.details


def test_too_little_time_to_collect_is_not_the_bundles_fault(tmp_path):
    bundle = made(tmp_path / "bundle", {"mod.py": SOURCE, "test_mod.py": GOOD})
    telemetry, _ = attempt(bundle, tmp_path, limits={"wall_s": 0.1})
    assert (telemetry.ok, telemetry.reason) == (False, "deadline")


def test_the_process_that_holds_the_stream_imports_no_pytest_of_the_bundle(tmp_path):
    files = {"mod.py": SOURCE, "test_mod.py": GOOD, "pytest.py": "raise SystemExit(0)\n"}
    telemetry, _ = attempt(made(tmp_path / "bundle", files), tmp_path, env={"PYTHONPATH": "."})
    assert (telemetry.ok, telemetry.reason, telemetry.tests) == (False, "verification_failed", 1)


def test_a_wrong_command_line_ends_with_64(tmp_path):
    done = subprocess.run([sys.executable, str(AGENT), "--nonsense"], capture_output=True, env=environment(tmp_path))
    assert (done.returncode, done.stdout) == (os.EX_USAGE, b"")


def test_telemetry_is_utf_8_whatever_the_locale(tmp_path):
    bundle = made(tmp_path / "bundle", {"mod.py": SOURCE, "test_mod.py": GOOD.replace("test_inc", "test_größe")})
    ascii_only = environment(tmp_path) | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command(bundle, tmp_path / "out"), capture_output=True, env=ascii_only)
    assert decode(done.stdout, Telemetry).failing == ["test_mod.py::test_größe"]
