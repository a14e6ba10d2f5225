"""Linters are tests: what they would say in review, they say here."""

import ast
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


def in_sandbox(project: Path) -> str:
    """What runs under the bundle's interpreter: the boot's functions and the server's parts, as one text."""
    from repairlab.trial import server

    return (project / "src/repairlab/sandbox/inside.py").read_text() + "\n" + server.search() + server.program()


def test_the_program_inside_the_sandbox_knows_all_its_names(project, tmp_path):
    # Its parts share one name space, so only the whole can be searched for a name that nobody defines.
    (tmp_path / "whole.py").write_text(in_sandbox(project))
    options = ["--isolated", "--target-version", "py38", "--select", "F,E9,PLE", "--ignore", "F811,F841"]
    lint(project, "ruff", "check", "--output-format", "concise", *options, str(tmp_path / "whole.py"))


def test_the_program_inside_the_sandbox_is_python_3_8(project):
    ast.parse(in_sandbox(project), feature_version=(3, 8))
    with pytest.raises(SyntaxError):
        ast.parse("match x:\n    case _: pass", feature_version=(3, 8))


def test_a_linter_that_finds_something_fails_the_test(project, tmp_path):
    (tmp_path / "bad.py").write_text("import os\n")
    with pytest.raises(AssertionError, match="F401"):
        lint(project, "ruff", "check", "--output-format", "concise", str(tmp_path))
