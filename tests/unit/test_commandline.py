"""What every program does with a command line, in its own process; what goes wrong is one line that says what to do."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repairlab import commandline
from repairlab.commandline import Parser, positive
from repairlab.errors import UsageError

BIN = Path(__file__).resolve().parents[2] / "bin"
PROGRAMS = sorted(path.name for path in BIN.iterdir())


def parser(*, root: bool = True) -> Parser:
    made = Parser("tool", "Do it.", root=root)
    made.add_argument("--count", type=positive, metavar="N")
    return made


def run(program: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, BIN / program, *argv], capture_output=True, text=True, timeout=50)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_tells_its_version(program):
    done = run(program, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{program} {commandline.version()}\n", "")


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_tells_its_options(program):
    done = run(program, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert {"--help", "--version"} <= set(done.stdout.replace(",", " ").split())


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_wrong_command_line_is_one_line_that_says_what_to_do_about_it(program):
    argv = {"repairlab-agent": ["--handoff=x", "--out=y"], "repairlab-failure": ["x.service"]}.get(program, [])
    done = run(program, *argv, "--no-such-option")
    assert (done.returncode, done.stdout) == (os.EX_USAGE, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{program}: ")
    assert "--no-such-option" in line
    assert f"{program} --help" in line


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--count", "0"], "--count: '0' is not a whole number from 1 on; see tool --help"),
        (["--count", "²"], "--count: '²' is not a whole number from 1 on; see tool --help"),
        (["--count"], "--count: expected one argument; see tool --help"),
        (["--cuont", "2"], "there is no option '--cuont'; did you mean --count? see tool --help"),
        (["--cuont=2"], "there is no option '--cuont=2'; did you mean --count? see tool --help"),
        (["--cou", "2"], "there is no option '--cou'; did you mean --count? see tool --help"),
        (["-z"], "there is no option '-z'; see tool --help"),
        (["a\nb"], "'a\\nb' is not expected; see tool --help"),
    ],
)
def test_an_error_names_the_option_and_the_fix(argv, said):
    with pytest.raises(UsageError) as error:
        parser().read(argv)
    assert str(error.value) == said


def test_what_is_missing_is_named():
    made = parser()
    made.add_argument("--out", required=True)
    with pytest.raises(UsageError, match=r"required: --out; see tool --help$"):
        made.read([])


def test_root_stands_for_the_environment_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("REPAIRLAB_ROOT", "/before")
    monkeypatch.chdir(tmp_path)
    parser().read([])
    assert os.environ["REPAIRLAB_ROOT"] == "/before"
    parser().read(["--root", "state"])
    assert os.environ["REPAIRLAB_ROOT"] == f"{tmp_path}/state"


def test_a_program_without_a_state_directory_has_no_root():
    with pytest.raises(UsageError, match="no option '--root'"):
        parser(root=False).read(["--root", "x"])


def test_what_is_right_is_returned():
    assert parser().read(["--count", "12"]) == argparse.Namespace(count=12, root=None)
