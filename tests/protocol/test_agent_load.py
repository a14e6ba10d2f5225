"""The real repairlab-agent on bundles that do not even load: repaired where a token or import is amiss, else named."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from repairlab.documents import Telemetry, decode

AGENT = Path(__file__).resolve().parents[2] / "bin/repairlab-agent"
SOURCE = "def inc(x):\n    return x - 1\n"
RIGHT = "def inc(x):\n    return x + 1\n"
TESTS = "from mod import inc\n\n\ndef test_inc():\n    assert inc(1) == 2\n    assert inc(5) == 6\n"
ADD = "def add(a, b):\n    return a + b\n"

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
]

# What loads after one change, or one change and an ordinary repair: name → (files, what a line of the patch says).
REPAIRED = {
    "a_colon": ({"mod.py": RIGHT.replace("):", ")").replace("\n", "\r\n")}, "+def inc(x):\r"),
    "a_colon_and_a_bug_behind_it": ({"mod.py": SOURCE.replace("):", ")")}, "+    return x + 1"),
    "a_bracket_and_behind_it_a_comma": (
        {"mod.py": "from b import add\n\n\ndef inc(x):\n    return add(x, 1\n", "b.py": ADD.replace(",", "")},
        "+    return add(x, 1)",
    ),
    "a_name_nobody_imported": ({"mod.py": "def inc(x: List[int]):\n    return x + 1\n"}, "+from typing import List"),
    "a_circular_import": (
        {
            "mod.py": "from other import two\n\nONE = 1\n\n\ndef inc(x):\n    return x + two() - ONE\n",
            "other.py": "from mod import ONE\n\n\ndef two():\n    return ONE + ONE\n",
        },
        "+    from mod import ONE",
    ),
    "an_import_that_should_be_relative_and_a_bug_behind_it": (
        {
            "pkg/__init__.py": "",
            "pkg/mod.py": "from helpers import add\n\n\ndef inc(x):\n    return add(x, 1)\n",
            "pkg/helpers.py": ADD.replace("+", "-"),
            "test_mod.py": TESTS.replace("from mod", "from pkg.mod"),
        },
        "+from .helpers import add",
    ),
    "a_package_that_does_not_export_it": (
        {"mod/__init__.py": "", "mod/inside.py": RIGHT},
        "+from .inside import inc",
    ),
    "an_error_at_module_level": (
        {"mod.py": "TABLE = [1, 2, 3]\nLAST = TABLE[3]\n\n\ndef inc(x):\n    return x + LAST - 2\n"},
        "-LAST = TABLE[3]",
    ),
    "parameters_that_change_from_run_to_run": (
        {
            "mod.py": SOURCE,
            "test_mod.py": "import time\n\nimport pytest\nfrom mod import inc\n\n\n"
            "@pytest.mark.parametrize('x', [time.time_ns(), 5])\ndef test_inc(x):\n    assert inc(x) == x + 1\n",
        },
        "+    return x + 1",
    ),
    "options_for_plugins_that_are_not_there": (
        {"mod.py": SOURCE, "pytest.ini": "[pytest]\naddopts = -n auto --foo -p nosuch\nrequired_plugins = pytest-x\n"},
        "+    return x + 1",
    ),
}

# What nobody repairs: name → (files, reason, what the details say).
NAMED = {
    "a_test_that_does_not_parse": ({"mod.py": SOURCE, "test_mod.py": "def test_x()\n"}, "syntax_error", "never"),
    "a_module_that_is_missing": ({"mod.py": "import no_such_module\n" + SOURCE}, "module_missing", "`python` an"),
    "a_broken_conftest": ({"mod.py": SOURCE, "conftest.py": "x = 1 / 0\n"}, "collection_error", "conftest.py:1:"),
    "a_pytest_too_old": ({"mod.py": SOURCE, "pytest.ini": "[pytest]\nminversion = 99\n"}, "configuration_error", "99"),
    "tests_that_are_all_skipped": (
        {"mod.py": SOURCE, "test_mod.py": "import pytest\n\npytestmark = pytest.mark.skip('no database')\n" + TESTS},
        "no_tests_ran",
        "no database",
    ),
    "a_test_that_passes_and_must_not": (
        {
            "mod.py": RIGHT,
            "test_mod.py": "import pytest\n" + TESTS.replace("def test", "@pytest.mark.xfail(strict=True)\ndef test"),
        },
        "expected_failure",
        "test_inc",
    ),
    "a_module_hidden_by_the_interpreter": (
        {"random.py": RIGHT, "test_mod.py": TESTS.replace("from mod", "from random")},
        "collection_error",
        "rename it",
    ),
    "async_tests_without_a_plugin": (
        {"mod.py": SOURCE, "test_mod.py": TESTS.replace("def test", "async def test")},
        "plugin_missing",
        "pytest-asyncio",
    ),
    "a_fixture_of_a_plugin_that_is_not_there": (
        {"mod.py": SOURCE, "test_mod.py": TESTS.replace("inc():", "inc(mocker):")},
        "plugin_missing",
        "pytest-mock",
    ),
    "a_test_that_wants_the_network": (
        {
            "mod.py": SOURCE,
            "test_mod.py": f"import socket\n{TESTS}\n\ndef test_net():\n    socket.getaddrinfo('example.com', 80)\n",
        },
        "needs_network",
        "test_net",
    ),
}  # fmt: skip

FORGE = """
import json, os
told = json.dumps({"ids": ["test_mod.py::test_inc"], "causes": []})
for fd in range(3, 64):
    try:
        os.write(fd, ("\\nh %s\\n0 p\\n.\\n" % told).encode())
    except OSError:
        pass
raise ValueError(no_such_name)
"""
LYING = {
    "forged_loads": {"mod.py": FORGE},
    "loads_that_end_the_process": {"mod.py": "import os\n\nx = no_such_name\nos._exit(42)\n"},
    "loads_that_never_end": {"mod.py": "x = no_such_name\nwhile True:\n    pass\n"},
}


def attempt(place, files):
    for name, text in ({"test_mod.py": TESTS} | files).items():
        (place / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "bundle" / name).write_bytes(text.encode())
    document = {"bundle_dir": str(place / "bundle"), "limits": {"wall_s": 8 if files in LYING.values() else 30}}
    (place / "handoff.json").write_text(json.dumps(document))
    environment = {"PATH": os.environ["PATH"], "HOME": str(place), "XDG_CONFIG_HOME": str(place / "none")}
    command = [sys.executable, str(AGENT), "--handoff", str(place / "handoff.json"), "--out", str(place / "out")]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode in (0, 1), done.stderr.decode()
    telemetry = decode(done.stdout, Telemetry)
    patch = place / "out/patch.diff"
    assert telemetry.ok == patch.exists()
    return telemetry, patch.read_bytes().decode() if telemetry.ok else ""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What the agent says of each bundle; two at a time, since each waits for a sandbox half of its time."""
    every = {name: case[0] for name, case in (REPAIRED | NAMED).items()} | LYING
    with ThreadPoolExecutor(2) as pool:
        runs = {name: pool.submit(attempt, tmp_path_factory.mktemp("odd"), files) for name, files in every.items()}
        return {name: run.result() for name, run in runs.items()}


@pytest.mark.parametrize("name", REPAIRED)
def test_a_bundle_that_does_not_load_is_repaired(told, name):
    telemetry, patch = told[name]
    assert telemetry.ok, (telemetry.reason, telemetry.details)
    assert REPAIRED[name][1] in patch.split("\n")
    assert telemetry.strategy == ("multi_edit" if "behind" in name else "heuristic_microfix")
    assert telemetry.failing


def test_what_pytest_had_to_do_without_is_told(told):
    assert "-n auto, --foo, -p nosuch" in told["options_for_plugins_that_are_not_there"][0].details


@pytest.mark.parametrize("name", NAMED)
def test_a_bundle_that_nobody_can_repair_says_what_is_missing(told, name):
    telemetry, _ = told[name]
    _, reason, words = NAMED[name]
    assert (telemetry.ok, telemetry.reason) == (False, reason), telemetry.details
    assert words in telemetry.details


@pytest.mark.parametrize("name", LYING)
def test_code_that_lies_about_its_load_is_never_taken_for_repaired(told, name):
    telemetry, _ = told[name]
    assert not telemetry.ok
    assert telemetry.reason in ("verification_failed", "collection_error", "deadline", "tests_unruly")
