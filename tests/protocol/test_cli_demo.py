"""`repairlab demo`: the real watcher, agent and sandbox on a small failing project, in a state directory of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(__file__).resolve().parents[2] / "bin"


def demo(*argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, str(BIN / "repairlab"), "demo", *argv]
    return subprocess.run(program, capture_output=True, text=True, env={**os.environ, **environ}, timeout=100)


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    where = tmp_path / "failing"
    where.mkdir()
    (where / "m.py").write_text("def largest(items):\n    return min(items)\n")
    (where / "test_m.py").write_text(
        "from m import largest\n\n\ndef test_largest():\n"
        "    assert largest([1, 3, 2]) == 3\n    assert largest([5]) == 5\n"
    )
    return where


@pytest.mark.timeout(120)
def test_the_demo_repairs_a_project_and_says_where_patch_and_report_lie(failing, tmp_path):
    before = {path.name: path.read_bytes() for path in failing.iterdir()}
    done = demo(str(failing), "--json", REPAIRLAB_ROOT=str(tmp_path / "state"))
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)["data"]
    assert data["state"] == "ok"
    assert Path(data["patch_path"]).read_text() == data["patch"]
    assert "# Repair of" in Path(data["report_path"]).read_text()
    assert [line.split()[-2:] for line in done.stderr.splitlines() if "started" in line] == [["effort", "1"]]
    assert {path.name: path.read_bytes() for path in failing.iterdir()} == before
    apply = ["git", "apply", "--check", data["patch_path"]]
    alone = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)}
    assert subprocess.run(apply, cwd=failing, env=alone).returncode == 0


def test_the_demo_lists_its_examples_and_refuses_what_is_none():
    assert "invoices" in demo("--list").stdout.splitlines()
    done = demo("nothing-of-the-kind")
    assert done.returncode == os.EX_USAGE
    assert "repairlab demo --list" in done.stderr
