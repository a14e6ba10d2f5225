"""setup.sh on machines that lack something: what it asks for, what it does without, and what it leaves alone."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ["sh", "dirname", "basename", "sed", "id", "readlink", "sha256sum", "cut", "cat", "grep", "head", "rm", "env"]
NOBODY = 65534
pytestmark = pytest.mark.timeout(300)


def copied(copy: Path) -> Path:
    """Copy what setup.sh needs, with a lock small enough for a test."""
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copytree(ROOT / "deploy", copy / "deploy")
    for name in ["setup.sh", "pyproject.toml", "README.md"]:
        shutil.copy2(ROOT / name, copy / name)
    entries = re.split(r"\n(?=\S)", (ROOT / "deploy/lock/dev.txt").read_text())
    small = "\n".join(entry for entry in entries if entry.startswith(("iniconfig==", "pluggy==")))
    for name in ["dev", "runtime"]:
        (copy / f"deploy/lock/{name}.txt").write_text(small)
    return copy


@pytest.fixture
def tree(tmp_path) -> Path:
    """A copy of one's own."""
    return copied(tmp_path / "tree")


@pytest.fixture(scope="module")
def real(tmp_path_factory, outer_environment) -> dict[str, str]:
    """This machine's own environment, but that the first interpreter on its PATH is a version manager's without any."""
    shims = tmp_path_factory.mktemp("shims")
    program(shims, "python3", "exit 1")
    return outer_environment | {"PATH": f"{shims}:{outer_environment['PATH']}", "NO_APT": "1"}


@pytest.fixture(scope="module")
def made(tmp_path_factory, real) -> Path:
    """A copy with an environment."""
    tree = copied(tmp_path_factory.mktemp("made") / "tree")
    done = setup(tree, "venv", env=real, cwd="/")
    assert done.returncode == 0, done.stderr
    return tree


@pytest.fixture
def bare(tmp_path) -> Path:
    """A PATH with nothing on it but what every Debian has."""
    directory = tmp_path / "bare"
    directory.mkdir()
    for tool in TOOLS:
        (directory / tool).symlink_to(shutil.which(tool))
    return directory


def program(directory: Path, name: str, body: str) -> None:
    path = directory / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def setup(tree: Path, *argv: str, env, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["/bin/sh", str(tree / "setup.sh"), *argv], env=env, capture_output=True, text=True, **options
    )


def bare_env(bare: Path, **more: str) -> dict[str, str]:
    # PYTHON=none: the tests' machine has /usr/bin/python3, the one that is imagined here has not.
    return {"PATH": str(bare), "HOME": "/nonexistent", "PYTHON": "none", **more}


def printed(stderr: str) -> list[str]:
    return re.findall(r"^setup: (apt-get .*)$", stderr, re.MULTILINE)


def test_what_is_missing_is_one_printed_apt_line(tree, bare):
    program(bare, "apt-get", 'echo "ran: apt-get $*"')
    program(bare, "apt-cache", "echo known")
    done = setup(tree, "test", env=bare_env(bare))
    [line] = printed(done.stderr)
    assert line.startswith("apt-get install -y --no-install-recommends ")
    wanted = {"python3", "python3-venv", "python3-dev", "bubblewrap", "gcc", "pkg-config", "libsystemd-dev", "git"}
    assert wanted <= set(line.split())
    if os.geteuid() == 0:
        assert f"ran: {line}" in done.stderr


def test_the_demo_asks_for_less_than_the_tests(tree, bare):
    program(bare, "apt-get", "exit 0")
    program(bare, "apt-cache", "echo known")
    asked = {what: set(setup(tree, what, env=bare_env(bare)).stderr.split()) for what in ["demo", "test"]}
    assert "bubblewrap" in asked["demo"]
    assert {"git", "patch", "systemd"} <= asked["test"] - asked["demo"]


def test_lists_of_packages_are_fetched_only_where_there_are_none(tree, bare):
    if os.geteuid() != 0:
        program(bare, "sudo", 'exec env "$@"')
    log = tree / "log"
    program(bare, "apt-get", f'echo "$1" >> {log}')
    program(bare, "apt-cache", f"[ -e {log} ] && echo known")
    setup(tree, "demo", env=bare_env(bare))
    assert log.read_text().split() == ["-qq", "install"]
    setup(tree, "demo", env=bare_env(bare))
    assert log.read_text().split() == ["-qq", "install", "install"]


def test_no_apt_forbids_apt_and_the_lack_is_named(tree, bare):
    program(bare, "apt-get", f"touch {tree}/ran")
    done = setup(tree, "demo", env=bare_env(bare, NO_APT="1"))
    assert done.returncode == os.EX_UNAVAILABLE
    assert "no Python 3.11 or newer" in done.stderr
    assert "bubblewrap" in done.stderr
    assert not (tree / "ran").exists()
    assert not (tree / ".venv").exists()


def test_without_root_sudo_is_used_if_it_obeys(tree, bare):
    program(bare, "id", "echo 1000")
    program(bare, "sudo", '[ "$1" = -n ] || echo "sudo ran: $*"')
    program(bare, "apt-get", "exit 0")
    program(bare, "apt-cache", "echo known")
    assert (
        "sudo ran: env DEBIAN_FRONTEND=noninteractive apt-get install" in setup(tree, "demo", env=bare_env(bare)).stderr
    )


def test_without_root_and_sudo_the_line_is_left_to_somebody_who_may(tree, bare):
    program(bare, "id", "echo 1000")
    program(bare, "sudo", "exit 1")
    program(bare, "apt-get", f"touch {tree}/ran")
    program(bare, "apt-cache", "echo known")
    done = setup(tree, "demo", env=bare_env(bare), stdin=subprocess.DEVNULL)
    assert "to have them, run as root: apt-get install -y --no-install-recommends python3" in done.stderr
    assert not (tree / "ran").exists()


def test_a_distribution_with_an_old_python_gets_its_newer_one(tree, bare):
    program(bare, "apt-get", "exit 0")
    program(
        bare, "apt-cache", 'case "$*" in "policy python3") echo "  Candidate: 3.10.6-1";; *3.11*) echo known;; esac'
    )
    [line] = printed(setup(tree, "demo", env=bare_env(bare)).stderr)[-1:]
    assert {"python3.11", "python3.11-venv", "python3.11-dev"} <= set(line.split())


def test_an_interpreter_that_is_too_old_or_broken_is_passed_over(made):
    assert "shims" not in (made / ".venv/pyvenv.cfg").read_text()


def test_an_environment_is_made_and_runs_this_trees_sources(made):
    assert where_from(made) == str(made / "src/repairlab/__init__.py")


@pytest.mark.skipif(shutil.which("uv") is None, reason="the environment of the other tests was made by pip already")
def test_pip_serves_where_uv_is_there_and_not_wanted(tree, outer_environment):
    done = setup(tree, "venv", env=outer_environment | {"NO_APT": "1", "NO_UV": "1"}, cwd="/")
    assert done.returncode == 0, done.stderr
    assert where_from(tree) == str(tree / "src/repairlab/__init__.py")


def where_from(tree: Path) -> str:
    argv = [tree / ".venv/bin/python", "-c", "import repairlab, pluggy; print(repairlab.__file__)"]
    return subprocess.run(argv, capture_output=True, text=True, check=True, cwd="/").stdout.strip()


def test_a_second_run_is_quick_and_silent_and_a_new_lock_is_noticed(made, real):
    marker = made / ".venv/marker"
    marker.touch()
    again = setup(made, "venv", env=real)
    assert (again.returncode, again.stdout) == (0, "")
    assert "installing" not in again.stderr  # half a second; what must not happen takes far longer
    assert setup(made, "venv", env=real | {"NO_UV": "1"}).stderr == again.stderr
    with (made / "deploy/lock/dev.txt").open("a") as lock:
        lock.write("\n# newer\n")
    changed = setup(made, "venv", env=real)
    assert changed.returncode == 0, changed.stderr
    assert "installing deploy/lock/dev.txt" in changed.stderr
    assert marker.exists(), "an environment that fits is brought up to date, not made again"


def test_a_copied_tree_does_not_run_the_code_of_the_original(made, real, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(made, copy, symlinks=True)
    assert setup(copy, "venv", env=real).returncode == 0
    assert where_from(copy) == str(copy / "src/repairlab/__init__.py")
    assert where_from(made) == str(made / "src/repairlab/__init__.py")


def test_a_package_that_does_not_match_its_hash_is_refused(tree, outer_environment):
    lock = tree / "deploy/lock/dev.txt"
    lock.write_text(re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", lock.read_text()))
    done = setup(tree, "venv", env=outer_environment | {"NO_APT": "1", "NO_UV": "1"})
    assert done.returncode == os.EX_UNAVAILABLE
    assert not list((tree / ".venv").glob(".stamp-*"))


@pytest.mark.root
def test_a_person_without_any_rights_can_set_up(tree, outer_environment):
    # Not below pytest's own directory: every run of pytest, also a neighbour's, closes that to others again.
    with tempfile.TemporaryDirectory(prefix="repairlab-") as base:
        theirs, home = Path(base, "tree"), Path(base, "home")
        shutil.copytree(tree, theirs)
        home.mkdir()
        for path in [Path(base), home, theirs, *theirs.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        env = outer_environment | {"NO_APT": "1", "HOME": str(home), "USER": "nobody"}
        done = setup(theirs, "venv", env=env, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/")
        assert done.returncode == 0, done.stderr
        assert where_from(theirs) == str(theirs / "src/repairlab/__init__.py")


def test_a_wrong_command_is_refused_with_64_and_help_is_not(tree):
    assert setup(tree, "nonsense", env=os.environ).returncode == os.EX_USAGE
    done = setup(tree, "--help", env=os.environ)
    assert done.returncode == 0
    assert "./setup.sh demo" in done.stdout


def test_the_system_interpreters_packages_are_never_touched():
    scripts = [ROOT / "setup.sh", *(path for path in (ROOT / "deploy").rglob("*") if path.is_file())]
    text = "\n".join(path.read_text() for path in scripts if path.suffix != ".txt")
    assert "break-system" not in text
    assert "pip install --user" not in text
