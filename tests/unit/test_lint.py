"""Linters are tests: what they would say in review, they say here."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(sys.executable).parent


def lint(project: Path, *argv: str) -> None:
    """Run a tool of this interpreter's environment and fail with its words."""
    tool = TOOLS / argv[0]
    command = [str(tool) if tool.exists() else shutil.which(argv[0]) or argv[0], *argv[1:]]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}{done.stderr}"


def test_ruff_finds_nothing(project):
    lint(project, "ruff", "check", "--output-format", "concise")


def test_every_file_is_formatted(project):
    lint(project, "ruff", "format", "--check")


@pytest.mark.timeout(300)
def test_types_hold_under_mypy_strict(project):
    lint(project, "mypy")


def test_every_module_imports_only_what_its_floor_allows(project):
    lint(project, "lint-imports", "--no-cache")


def test_a_linter_that_finds_something_fails_the_test(project, tmp_path):
    (tmp_path / "bad.py").write_text("import os\n")
    with pytest.raises(AssertionError, match="F401"):
        lint(project, "ruff", "check", "--output-format", "concise", str(tmp_path))
