"""The first command that anybody types: setup.sh demo, down to the patch on stdout."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(300)


PARTS = ["setup.sh", "pyproject.toml", "README.md", "src", "bin", "deploy", "examples"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A fresh checkout."""
    copy = tmp_path_factory.mktemp("checkout")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(ROOT / part, copy / part)
    return copy


@pytest.fixture(scope="module")
def state(tmp_path_factory) -> Path:
    """Where this person's own queue would be."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def shown(tree, state, tmp_path_factory, outer_environment) -> subprocess.CompletedProcess:
    """The demo as a newcomer sees it, with what the locks name for running and nothing for testing."""
    rooms = {"TMPDIR": str(tmp_path_factory.mktemp("tmp")), "XDG_STATE_HOME": str(state)}
    argv = ["/bin/sh", tree / "setup.sh", "demo"]
    env = outer_environment | rooms | {"NO_APT": "1"}
    return subprocess.run(argv, env=env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def test_the_demo_repairs_a_failing_project(shown):
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert re.search(r"^--- a/\S+$", shown.stdout, re.MULTILINE)


def test_the_demo_checks_itself_first(shown):
    assert re.search(r"^ok\s+sandbox", shown.stdout, re.MULTILINE), shown.stdout + shown.stderr
    assert shown.stdout.index("sandbox") < shown.stdout.index("--- a/")


def test_the_demo_says_where_the_patch_and_the_report_lie_and_they_do(shown):
    said = shown.stdout + shown.stderr
    found = {Path(path) for path in re.findall(r"/\S+\.(?:diff|md)\b", said)}
    assert {path.suffix for path in found} == {".diff", ".md"}, said
    assert all(path.is_file() for path in found)


def test_the_patch_of_the_demo_applies_to_an_example(shown, tree):
    [diff] = {Path(path) for path in re.findall(r"/\S+\.diff\b", shown.stdout + shown.stderr)}
    argv = ["patch", "-p1", "--dry-run", "--force", "-i", diff]
    examples = [example for example in (tree / "examples").iterdir() if example.is_dir()]
    codes = [subprocess.run(argv, cwd=example, capture_output=True, check=False).returncode for example in examples]
    assert codes.count(0) == 1, diff.read_text()


def test_off_a_terminal_lines_are_plain(shown):
    assert "\x1b" not in shown.stdout + shown.stderr
    assert not re.search(r"[┌│└━╭╰]", shown.stdout + shown.stderr)


def test_the_demo_leaves_the_example_and_the_users_state_alone(shown, tree, state):
    def sources(root: Path) -> dict[str, bytes]:
        files = [path for path in (root / "examples").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        return {str(path.relative_to(root)): path.read_bytes() for path in files}

    assert sources(tree) == sources(ROOT)
    assert not list((tree / "examples").rglob("__pycache__"))
    assert not list(state.iterdir())


def test_the_readme_shows_the_patch_that_the_demo_prints(shown):
    readme = (ROOT / "README.md").read_text()
    patch = readme[readme.index("--- a/") : readme.index("repaired: all tests pass")]
    # A line of context that is empty ends in a space in a patch, and in none in a README.
    printed = [line.rstrip() for line in shown.stdout.splitlines()]
    assert [line for line in patch.splitlines() if line.rstrip() not in printed] == []


def test_the_demo_needs_nothing_that_is_only_for_testing(shown, tree):
    installed = {path.name.partition("-")[0] for path in tree.glob(".venv/lib/*/site-packages/*.dist-info")}
    assert {"pytest", "orjson"} <= installed
    assert installed.isdisjoint({"hypothesis", "mypy", "ruff", "pytest_randomly"})
