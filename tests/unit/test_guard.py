"""The guard of tests/conftest.py has teeth: a process that a test leaves behind is found, named and killed."""

import os
import re
import subprocess
import sys
import textwrap

import pytest

LEAVER = """
    import subprocess
    def test_leaves_one(): subprocess.Popen(["sleep", "300"]).returncode = 0
"""
DAEMON = """
    import os, signal
    def test_leaves_a_daemon():
        reader, writer = os.pipe()
        if (pid := os.fork()) == 0:
            os.setsid()
            if os.fork() == 0:
                os.write(writer, b"x")
                while True: signal.pause()
            os._exit(0)
        os.waitpid(pid, 0)
        os.read(reader, 1)
"""
CLEAN = """
    import subprocess
    def test_cleans_up(): assert subprocess.run(["true"]).returncode == 0
"""
WARNS = """
    import warnings
    def test_warns(): warnings.warn("old", DeprecationWarning)
"""
CHILD_WARNS = """
    import subprocess, sys
    def test_child_warns(): subprocess.run([sys.executable, "-c", "import warnings; warnings.warn('old')"], check=True)
"""


SHARES = """
    import os
    def test_shares(made_once, outer_environment):
        made = made_once("shared", lambda place: (place / str(os.getpid())).touch())
        assert made.is_dir()
        assert outer_environment["XDG_CONFIG_HOME"] == "/of/a/person"
        assert os.environ["XDG_CONFIG_HOME"].startswith("/proc/")
"""


def outcome(project, tmp_path, body, *options, **environ):
    """Run a test file of its own under our conftest and settings."""
    (tmp_path / "conftest.py").write_text((project / "tests/conftest.py").read_text().replace("10.0", "0.2"))
    (tmp_path / "test_case.py").write_text(textwrap.dedent(body))
    argv = [sys.executable, "-m", "pytest", "-q", "-c", str(project / "pyproject.toml"), "--rootdir", str(tmp_path)]
    argv += ["-p", "no:cacheprovider", *options, str(tmp_path)]
    done = subprocess.run(argv, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize(("body", "name"), [(LEAVER, "sleep 300"), (DAEMON, "pytest")], ids=["child", "daemon"])
def test_a_process_left_behind_fails_the_test_that_left_it(project, tmp_path, body, name):
    code, out = outcome(project, tmp_path, body)
    assert code == 1, out
    assert "left processes behind" in out
    assert name in out


@pytest.mark.parametrize("body", [WARNS, CHILD_WARNS], ids=["here", "child"])
def test_a_warning_is_an_error(project, tmp_path, body):
    code, out = outcome(project, tmp_path, body)
    assert code == 1, out


def test_a_test_that_cleans_up_passes(project, tmp_path):
    code, out = outcome(project, tmp_path, CLEAN)
    assert code == 0, out


def test_the_environment_of_a_test_points_nowhere():
    assert not os.path.exists(os.environ["XDG_STATE_HOME"])
    with pytest.raises(OSError, match="nowhere"):
        os.makedirs(os.environ["XDG_STATE_HOME"])


def test_side_by_side_each_process_keeps_the_guard_and_shares_what_is_made_once(project, tmp_path):
    for number in range(2):
        (tmp_path / f"test_shares_{number}.py").write_text(textwrap.dedent(SHARES))
    options = ["-n2", "--dist=loadfile", "--no-loadscope-reorder", f"--basetemp={tmp_path / 'base'}"]
    code, out = outcome(project, tmp_path, LEAVER, *options, XDG_CONFIG_HOME="/of/a/person")
    assert code == 1, out
    assert "left processes behind" in out
    assert re.search(r"^3 passed, 1 error in", out, re.MULTILINE), out
    assert len(list((tmp_path / "base/shared").iterdir())) == 1
