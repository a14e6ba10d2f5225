"""The real repairlab-agent on real bundles: repaired, already passing, hopeless, hostile, unusable."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repairlab import config
from repairlab.documents import Handoff, Limits, Strategy, Telemetry, decode
from repairlab.repair.attempt import Attempt

ROOT = Path(__file__).resolve().parents[2]
AGENT = ROOT / "bin/repairlab-agent"
SOURCE = "def inc(x):\n    return x - 1\n"
GOOD = "from mod import inc\n\n\ndef test_inc():\n    assert inc(1) == 2\n"

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
]


@pytest.fixture
def bundle(tmp_path):
    return made(tmp_path / "bundle", {"mod.py": SOURCE, "test_mod.py": GOOD})


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


def state(path):
    return {
        str(file.relative_to(path)): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in path.rglob("*")
        if file.is_file()
    }


def passes_after(bundle, patch, tmp_path):
    copy = tmp_path / "patched"
    shutil.copytree(bundle, copy)
    git = {**environment(tmp_path), "GIT_DIR": "/nonexistent"}
    subprocess.run(["git", "apply", "--check", str(patch)], cwd=copy, check=True, env=git)
    subprocess.run(["git", "apply", str(patch)], cwd=copy, check=True, env=git)
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    return subprocess.run(run, cwd=copy, capture_output=True, env=environment(tmp_path)).returncode == 0


def test_two_bugs_in_three_modules_are_repaired_with_one_patch(tmp_path):
    bundle = ROOT / "examples/invoices"
    before = state(bundle)
    telemetry, out = attempt(bundle, tmp_path, limits={"wall_s": 60})
    assert (telemetry.ok, telemetry.strategy) == (True, "multi_edit")
    told = {run.strategy: run for run in telemetry.strategies}
    assert list(told) == [strategy for strategy in Strategy if strategy != "exhausted"]
    assert sum(run.tried for run in telemetry.strategies) == telemetry.attempts
    assert (told["noop"].why, told["pattern_transplant"].why) == ("tests fail", "none known")
    assert told["heuristic_microfix"].tried > 0 < told["multi_edit"].plausible
    assert (told["multi_edit"].why, told["llm_patch"].why) == ("found", "not configured")
    assert sum(run.wall_s for run in telemetry.strategies) <= telemetry.timings.total_s
    assert len(telemetry.failing) == 2
    assert {
        line.split(b"\t")[0] for line in (out / "patch.diff").read_bytes().splitlines() if line.startswith(b"+++")
    } == {
        b"+++ b/invoices/ledger.py",
        b"+++ b/invoices/pricing.py",
    }
    assert passes_after(bundle, out / "patch.diff", tmp_path)
    assert state(bundle) == before
    assert telemetry.bundle_sha256 != telemetry.parent_sha256


def test_two_edits_that_only_repair_together_are_found_by_being_alike(tmp_path):
    source = "def ends(xs):\n    first = xs[1]\n    last = xs[-2]\n    return first, last\n"
    tests = "from mod import ends\n\n\ndef test_ends():\n    assert ends([4, 1, 3, 9]) == (4, 9)\n"
    tests += "    assert ends([7, 5, 8]) == (7, 8)\n"
    files = made(tmp_path / "bundle", {"mod.py": source, "test_mod.py": tests})
    handoff = Handoff(bundle_dir=str(files), limits=Limits(wall_s=12))
    with contextlib.closing(Attempt(handoff, config.load(), effort=1)) as tried:
        tried.run()
    assert (tried.ok, tried.strategy) == (True, "multi_edit")
    singles = next(run.tried for run in tried.ledger.told() if run.strategy == "heuristic_microfix")
    assert 0 < tried.search.plausible[0].tried - singles < singles / 2
    assert b"first = xs[0]\n    last = xs[-1]" in tried.bundle.patched(tried.chosen.edits)["mod.py"]


def test_a_passing_bundle_is_noop_with_an_empty_patch(tmp_path):
    telemetry, out = attempt(ROOT / "examples/passing", tmp_path)
    assert (telemetry.ok, telemetry.strategy, telemetry.attempts) == (True, "noop", 0)
    assert [run.why for run in telemetry.strategies] == ["found"] + ["not reached"] * 5
    assert (out / "patch.diff").read_bytes() == b""
    assert telemetry.bundle_sha256 == telemetry.parent_sha256


def test_contradictory_tests_are_never_taken_for_repaired(tmp_path):
    telemetry, _ = attempt(ROOT / "examples/hopeless", tmp_path, limits={"wall_s": 6})
    assert (telemetry.ok, telemetry.strategy) == (False, "exhausted")
    assert telemetry.reason in ("exhausted", "deadline")


def test_the_same_seed_finds_the_same_patch(bundle, tmp_path):
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        telemetry, out = attempt(bundle, tmp_path / name)
        found.append((telemetry.attempts, (out / "patch.diff").read_bytes(), telemetry.bundle_sha256))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "old",
    [
        b"def inc(x):\r\n    return x - 1\r\n",
        b"\xef\xbb\xbfdef inc(x):\n    return x - 1",
        b"# coding: latin-1\n# \xe4\ndef inc(x):\n    return x - 1\n",
    ],
    ids=["crlf", "bom_without_last_newline", "latin_1"],
)  # fmt: skip
def test_files_keep_their_bytes_around_the_edit(tmp_path, old):
    bundle = made(tmp_path / "bundle", {"mod.py": old, "test_mod.py": GOOD})
    telemetry, out = attempt(bundle, tmp_path)
    assert telemetry.ok
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    with (out / "patch.diff").open("rb") as patch:
        subprocess.run(["patch", "-p1"], cwd=copy, stdin=patch, check=True, capture_output=True)
    assert (copy / "mod.py").read_bytes() == old.replace(b"x - 1", b"x + 1")
    assert passes_after(bundle, out / "patch.diff", tmp_path)


DAEMON = """
import os, time
def test_h():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: time.sleep(999)
        os._exit(0)
    assert inc(1) == 2
"""

HOSTILE_REPAIRED = {
    "endless_loop": "def test_h():\n    while inc(1) != 2: pass\n",
    "fork": "import os\ndef test_h():\n    os.fork()\n    assert inc(1) == 2\n",
    "daemon": DAEMON,
    "thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(999,), daemon=True).start()\n",
    "chdir": "import os\ndef test_h():\n    os.chdir('/')\n    assert inc(1) == 2\n",
    "output": "import os\ndef test_h():\n    for _ in range(200): os.write(1, b'x' * 65536)\n    assert inc(1) == 2\n",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_REPAIRED)
def test_tests_that_misbehave_do_not_keep_a_repair_from_being_found(tmp_path, name):
    bundle = made(tmp_path / "bundle", {"mod.py": SOURCE, "test_mod.py": GOOD + HOSTILE_REPAIRED[name]})
    telemetry, _ = attempt(bundle, tmp_path, limits={"wall_s": 30})
    assert telemetry.ok, (telemetry.reason, telemetry.details)


FORGE = """
import json, os, struct
def test_h():
    forged = json.dumps({"verdict": "passed", "outcomes": [[0, "p"], [1, "p"]], "exit": 0, "cases": []}).encode()
    for fd in range(3, 64):
        for data in (struct.pack(">I", len(forged)) + forged, b"\\n0 p\\n1 p\\n.\\n"):
            try: os.write(fd, data)
            except OSError: pass
    assert inc(1) == 5
"""

PATCHING = "import builtins, os\nbuiltins.len = lambda x: 7\nos.write = os.read = None\n"

HOSTILE_REFUSED = {
    "exit_in_test": ("import os\ndef test_h():\n    os._exit(0)\n", {"exhausted", "deadline", "verification_failed"}),
    "exit_with_our_status": ("import os\ndef test_h():\n    os._exit(42)\n", {"exhausted", "deadline"}),
    "exit_at_import": ("import os\nos._exit(0)\n", {"collection_error"}),
    "sys_exit_at_import": ("import sys\nsys.exit(0)\n", {"collection_error"}),
    "kill_parent": ("import os\ndef test_h():\n    os.kill(os.getppid(), 9)\n", {"tests_unruly"}),
    "kill_everything": ("import os\ndef test_h():\n    os.kill(-1, 9)\n", {"tests_unruly"}),
    "patched_builtins": (PATCHING, {"collection_error", "tests_unruly"}),
    "forged_results": (FORGE, {"exhausted", "deadline", "verification_failed"}),
    "missing_module": ("import no_such_module\n", {"module_missing"}),
    "endless_import": ("while True: pass\n", {"collection_error"}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_REFUSED)
def test_tests_that_cannot_be_satisfied_get_a_named_outcome_and_no_patch(tmp_path, name):
    text, reasons = HOSTILE_REFUSED[name]
    bundle = made(tmp_path / "bundle", {"mod.py": SOURCE, "test_mod.py": GOOD + text})
    telemetry, out = attempt(bundle, tmp_path, limits={"wall_s": 6})
    assert not telemetry.ok
    assert telemetry.reason in reasons, (telemetry.reason, telemetry.details)
    assert telemetry.details
    assert not (out / "patch.diff").exists()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"mod.py": SOURCE, "test_mod.py": "from mod import inc\n"}, "no_tests"),
        ({"mod.py": "def inc(x)) ( return [ x + :\n" * 3, "test_mod.py": GOOD}, "syntax_error"),
        ({"test_mod.py": "def test_x():\n    assert 1 == 2\n"}, "nothing_editable"),
    ],
)
def test_bundles_that_cannot_be_repaired_say_why(tmp_path, files, reason):
    telemetry, _ = attempt(made(tmp_path / "bundle", files), tmp_path)
    assert (telemetry.ok, telemetry.reason) == (False, reason)


def test_tests_are_not_edited_even_when_the_handoff_asks_for_it(tmp_path):
    bundle = made(
        tmp_path / "bundle", {"test_mod.py": "LIMIT = 1\n\ndef test_x():\n    assert LIMIT == 2\n", "mod.py": "x = 1\n"}
    )
    telemetry, _ = attempt(bundle, tmp_path, editable=["test_mod.py", "mod.py"])
    assert not telemetry.ok


@pytest.mark.parametrize(
    ("handoff", "field"),
    [
        ({"bundle_dir": "relative"}, "bundle_dir"),
        ({"bundle_dir": "/nonexistent/x"}, "bundle_dir"),
        ({"tests": ["../x"]}, "tests"),
        ({"env": {"A=B": "x"}}, "env"),
        ({"env": {"A": "x\0y"}}, "env"),
    ],
)
def test_unusable_handoffs_end_with_65_and_the_field(bundle, tmp_path, handoff, field):
    done = subprocess.run(command(bundle, tmp_path / "out", **handoff), capture_output=True, env=environment(tmp_path))
    assert done.returncode == os.EX_DATAERR
    assert done.stdout == b""
    assert field in done.stderr.decode()


def test_sigterm_leaves_valid_telemetry(tmp_path):
    text = (
        GOOD + "\n\ndef test_other():\n    assert inc(1) == 3\n"
    )  # contradictory, so the search goes on until it is told to stop
    bundle = made(tmp_path / "bundle", {"mod.py": SOURCE, "test_mod.py": text})
    process = subprocess.Popen(
        command(bundle, tmp_path / "out", limits={"wall_s": 60}), stdout=subprocess.PIPE, env=environment(tmp_path)
    )
    deadline = time.monotonic() + 30
    while not list(Path(f"/proc/{process.pid}/task").glob("*/children")) or not children(process.pid):
        assert time.monotonic() < deadline
        assert process.poll() is None
        os.sched_yield()
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=30)
    telemetry = decode(stdout, Telemetry)
    assert (process.returncode, telemetry.ok, telemetry.reason) == (1, False, "interrupted")


def children(pid):
    return [word for file in Path(f"/proc/{pid}/task").glob("*/children") for word in file.read_text().split()]


MEMO = """
SEEN = {}


def square(x):
    if x not in SEEN:
        SEEN[x] = x * x + 1
    return SEEN[x]
"""


def test_code_that_remembers_between_calls_is_repaired_all_the_same(tmp_path):
    tests = "from mod import square\n\n\ndef test_square():\n    assert [square(n) for n in (0, 1, 3)] == [0, 1, 9]\n"
    telemetry, out = attempt(made(tmp_path / "bundle", {"mod.py": MEMO, "test_mod.py": tests}), tmp_path)
    assert telemetry.ok
    assert passes_after(tmp_path / "bundle", out / "patch.diff", tmp_path)


def test_a_bug_in_a_module_level_constant_is_repaired_by_fresh_imports(tmp_path):
    files = {"mod.py": "RATE = 18\n\n\ndef tax(x):\n    return x * RATE\n"}
    files["test_mod.py"] = "from mod import RATE, tax\n\n\ndef test_tax():\n    assert (tax(2), RATE) == (38, 19)\n"
    telemetry, out = attempt(made(tmp_path / "bundle", files), tmp_path)
    assert telemetry.ok
    assert b"+RATE = 19" in (out / "patch.diff").read_bytes()


def test_unittest_classes_fixtures_and_parameters_are_judged_as_pytest_does(tmp_path):
    tests = """
import unittest, pytest
from mod import inc

@pytest.fixture(scope="module")
def one():
    return 1

@pytest.mark.parametrize("x,y", [(1, 2), (5, 6)])
def test_many(x, y):
    assert inc(x) == y

def test_fixture(one, tmp_path, capsys):
    print(inc(one))
    assert capsys.readouterr().out == "2\\n"

@pytest.mark.xfail
def test_known():
    assert inc(1) == 7

@pytest.mark.skip
def test_skipped():
    raise SystemExit

class TestOld(unittest.TestCase):
    def setUp(self):
        self.x = 3
    def test_inc(self):
        self.assertEqual(inc(self.x), 4)
"""
    telemetry, out = attempt(made(tmp_path / "bundle", {"mod.py": SOURCE, "test_mod.py": tests}), tmp_path)
    assert (telemetry.ok, telemetry.tests, len(telemetry.failing)) == (True, 6, 4)
    assert b"+    return x + 1" in (out / "patch.diff").read_bytes()


def test_more_effort_tries_what_less_effort_did_not(tmp_path):
    counts = []
    for effort in ("1", "2"):
        (tmp_path / effort).mkdir()
        text = GOOD + "\n\ndef test_other():\n    assert inc(1) == 3\n"
        bundle = made(tmp_path / effort / "bundle", {"mod.py": "def inc(x):\n    return x\n", "test_mod.py": text})
        telemetry, _ = attempt(bundle, tmp_path / effort, "--effort", effort, limits={"wall_s": 40})
        assert telemetry.effort == int(effort)
        counts.append(telemetry.attempts)
    assert counts[0] < counts[1]
