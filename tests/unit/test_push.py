"""A promoted patch as a branch of a real repository: it is there, nothing else is, and nobody's code has run."""

import os
import subprocess
from pathlib import Path

import pytest
from test_letter import OUTCOME, pair

from repairlab.evaluate import letter, push
from repairlab.repair.diff import unified


@pytest.fixture
def lab(tmp_path):
    """A bare repository with one commit, and the patches' directory."""
    bare, first = tmp_path / "bare.git", tmp_path / "first"
    run("git", "init", "-q", "--bare", "-b", "main", bare)
    run("git", "clone", "-q", bare, first)
    (first / "m.py").write_bytes(b"x = 1\r\ny = 1\n")
    run("git", "-C", first, "add", ".")
    run("git", "-C", first, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "begin")
    run("git", "-C", first, "push", "-q", "origin", "HEAD:main")
    return bare, tmp_path / "patches"


def run(*argv):
    return subprocess.run([str(part) for part in argv], check=True, capture_output=True, text=True).stdout


def offered(lab, after=b"x = 2\r\ny = 1\n", patch=None, **fields):
    patch = patch or unified({"m.py": (b"x = 1\r\ny = 1\n", after)}).decode()
    champion, challenger = pair(patch, **fields)
    return push.pushed(str(lab[0]), letter.write(lab[1], champion, challenger, OUTCOME), champion)


def branches(bare):
    return run("git", "-C", bare, "for-each-ref", "--format=%(refname:short)").split()


def test_the_patch_is_a_branch_beside_what_was_there_and_pushing_it_again_finds_it(lab):
    bare, _ = lab
    before = run("git", "-C", bare, "rev-parse", "main")
    assert offered(lab)
    branch = f"repairlab/line/{'c' * 24}"
    assert branches(bare) == ["main", branch]
    made = run("git", "-C", bare, "rev-parse", branch)
    assert run("git", "-C", bare, "rev-parse", f"{branch}^", "main").split() == [before.strip()] * 2
    blob = subprocess.run(["git", "-C", bare, "show", f"{branch}:m.py"], check=True, capture_output=True).stdout
    assert blob == b"x = 2\r\ny = 1\n"
    assert offered(lab)
    assert run("git", "-C", bare, "rev-parse", branch) == made, "a branch that is there is left alone"


def test_no_hook_and_no_configured_command_of_the_repository_runs(lab, tmp_path):
    bare, _ = lab
    seen = tmp_path / "seen"
    for hook in ("pre-receive", "update", "post-receive", "post-update", "reference-transaction", "pre-auto-gc",
                 "proc-receive", "push-to-checkout"):  # fmt: skip
        path = bare / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\necho {hook} >> {seen}\n")
        path.chmod(0o755)
    (tmp_path / "other.git").mkdir()
    run("git", "init", "-q", "--bare", tmp_path / "other.git")
    (bare / "objects/info").mkdir(exist_ok=True)
    (bare / "objects/info/alternates").write_text(f"{tmp_path}/other.git/objects\n")
    for key, value in (
        ("core.alternateRefsCommand", f"echo alternate >> {seen}; :"),
        ("core.hooksPath", str(bare / "hooks")),
        ("uploadpack.packObjectsHook", f"echo pack >> {seen}; exec"),
        ("core.fsmonitor", f"echo monitor >> {seen}"),
        ("receive.autogc", "true"),
    ):
        run("git", "-C", bare, "config", key, value)
    assert offered(lab)
    assert not seen.exists(), seen.read_text()
    assert len(branches(bare)) == 2
    run("git", "-C", tmp_path / "first", "push", "-q", "origin", "HEAD:refs/heads/other")
    assert "post-receive" in seen.read_text(), "the hooks would have run"


def test_git_sees_nothing_of_whoever_runs_it(lab, tmp_path, monkeypatch):
    seen, home = tmp_path / "seen", tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f"[core]\n hooksPath = {home}\n[credential]\n helper = !env > {seen}\n[user]\n name = mallory\n"
        f"[commit]\n gpgsign = true\n[gpg]\n program = {home}/post-applypatch\n[init]\n templateDir = {home}\n"
    )
    for hook in ("post-checkout", "pre-push", "applypatch-msg", "post-applypatch"):
        (home / hook).write_text(f"#!/bin/sh\nenv > {seen}\n")
        (home / hook).chmod(0o755)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    monkeypatch.setenv("GIT_SSH_COMMAND", f"env > {seen};")
    monkeypatch.setenv("GIT_DIR", str(home))
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    assert offered(lab)
    assert not seen.exists()
    monkeypatch.undo()
    log = run("git", "-C", lab[0], "log", "-1", "--format=%an %cn%n%B", f"repairlab/line/{'c' * 24}")
    assert log.startswith("RepairLab RepairLab\n")
    assert "hunter2" not in log
    assert set(push._environment("/x")) & set(os.environ) <= {"PATH", "HOME", "LC_ALL"}


HOSTILE = [
    "--- a/../../outside.py\n+++ b/../../outside.py\n@@ -1 +1 @@\n-x\n+y\n",
    "--- /dev/null\n+++ b/../outside.py\n@@ -0,0 +1 @@\n+y\n",
    """diff --git a/.git/hooks/post-applypatch b/.git/hooks/post-applypatch
new file mode 100755
--- /dev/null
+++ b/.git/hooks/post-applypatch
@@ -0,0 +1,2 @@
+#!/bin/sh
+touch ran
""",
    "--- a/link/outside.py\n+++ b/link/outside.py\n@@ -1 +1 @@\n-x\n+y\n",
    "--- a/m.py\n+++ b/m.py\n@@ -1,2 +1,2 @@\n-x = 9\n+x = 2\n y = 1\n",
]


@pytest.mark.parametrize("patch", HOSTILE, ids=range(len(HOSTILE)))
def test_a_patch_that_leads_elsewhere_or_does_not_apply_makes_no_branch(lab, tmp_path, patch):
    outside = tmp_path / "outside.py"
    outside.write_text("x\n")
    (tmp_path / "first/link").symlink_to(tmp_path)
    run("git", "-C", tmp_path / "first", "add", ".")
    run("git", "-C", tmp_path / "first", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "link")
    run("git", "-C", tmp_path / "first", "push", "-q", "origin", "HEAD:main")
    assert not offered(lab, patch=patch)
    assert outside.read_text() == "x\n"
    assert branches(lab[0]) == ["main"]


@pytest.mark.parametrize("lineage", ["a:b", "a..b", "a.lock", "a.", "a@{b".replace("{", ""), "x-y+z_1.2"])
def test_every_lineage_has_a_branch(lab, lineage):
    assert offered(lab, lineage=lineage)
    assert len(branches(lab[0])) == 2


def test_what_is_no_repository_is_told_and_fails_nothing(lab, capfd):
    for place in (lab[1], Path("https://evil.example/x.git"), Path("--upload-pack=touch ran")):
        assert not offered((place, lab[1]))
