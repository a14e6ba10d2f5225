"""patch: compared with what `git apply` and difflib do, and attacked."""

import contextlib
import difflib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repairlab.sandbox.patch import BadPatch, applied, parse

HEAD = b"--- a/m.py\n+++ b/m.py\n"


def diff(old: bytes, new: bytes, name: str = "m.py") -> bytes:
    """Return the unified diff of two contents, as an agent would write it."""
    names = (b"a/" + name.encode(), b"b/" + name.encode())
    lines = difflib.diff_bytes(difflib.unified_diff, _lines(old), _lines(new), *names)
    return b"".join(line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n" for line in lines)


def _lines(content: bytes) -> list[bytes]:
    parts = content.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


UGLY = [b"a\n", b"b\n", b"\xff\r\n", b"\r\n", b"\n", b"-- x\n", b"\x0cb\n", b"\\ n\n"]
LINES = st.lists(st.sampled_from(UGLY), max_size=12)
CONTENT = st.builds(lambda lines, tail: b"".join(lines) + tail, LINES, st.sampled_from([b"", b"tail", b"\r"]))


@given(old=CONTENT, new=CONTENT)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_diff_of_two_contents_leads_from_one_to_the_other(tmp_path: Path, old: bytes, new: bytes) -> None:
    (tmp_path / "m.py").write_bytes(old)
    if old == new:
        with pytest.raises(BadPatch, match="empty"):
            applied(diff(old, new), tmp_path)
        return
    assert applied(diff(old, new), tmp_path) == {"m.py": new}
    assert (tmp_path / "m.py").read_bytes() == old


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@given(old=CONTENT.filter(bool), new=CONTENT.filter(bool))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15)
def test_git_apply_agrees(tmp_path: Path, old: bytes, new: bytes) -> None:
    if old == new:
        return
    (tmp_path / "m.py").write_bytes(old)
    expected = applied(diff(old, new), tmp_path)["m.py"]
    done = subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=diff(old, new), capture_output=True)
    assert (done.returncode, (tmp_path / "m.py").read_bytes()) == (0, expected), done.stderr


def test_several_files_and_quoted_names_are_understood(tmp_path: Path) -> None:
    (tmp_path / "ä b.py").write_bytes(b"1\n")
    (tmp_path / "c.py").write_bytes(b"2\n")
    text = (
        b'diff --git "a/\\303\\244 b.py" "b/\\303\\244 b.py"\nindex 1..2 100644\n--- "a/\\303\\244 b.py"\n'
        b'+++ "b/\\303\\244 b.py"\n@@ -1 +1 @@\n-1\n+one\n' + diff(b"2\n", b"two\n", "c.py")
    )
    assert applied(text, tmp_path) == {"ä b.py": b"one\n", "c.py": b"two\n"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "empty"),
        (b"diff --git a/m.py b/m.py\n", "no file"),
        (b"garbage\n", "not a line"),
        (b"--- a/m.py\n", r"starts with \+\+\+"),
        (HEAD, "no hunk"),
        (HEAD + b"@@ nonsense @@\n", "not a hunk header"),
        (HEAD + b"@@ -1,2 +1 @@\n-a\n", "ends early"),
        (HEAD + b"@@ -1 +1 @@\n-a\n+b\n+c\n", "not a line"),
        (HEAD + b"@@ -1,1 +1,2 @@\n-a\n a\n+c\n", "more lines than"),
        (HEAD + b"@@ -2 +2 @@\n-a\n+b\n", "does not apply"),
        (HEAD + b"@@ -1 +1 @@\n-other\n+b\n", "does not apply"),
        (HEAD + b"@@ -0,1 +1 @@\n-a\n+b\n", "no line 0"),
        (HEAD + b"@@ -1 +1 @@\n\\ No newline\n-a\n+b\n", "told of no line"),
        (HEAD + b"@@ -1 +1 @@\n-a\n+b\n@@ -1 +1 @@\n-a\n+b\n", "does not apply"),
        (2 * (HEAD + b"@@ -1 +1 @@\n-a\n+b\n"), "changed twice"),
        (b"--- /dev/null\n+++ b/new.py\n@@ -0,0 +1 @@\n+x\n", "starts with a/"),
        (b"--- a/m.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n", "starts with b/"),
        (b"--- a/m.py\n+++ b/n.py\n@@ -1 +1 @@\n-a\n+b\n", "may not create"),
        (b"diff --git a/m.py b/m.py\nold mode 100644\nnew mode 100755\n", "only the text"),
        (b"diff --git a/m.py b/n.py\nrename from m.py\nrename to n.py\n", "only the text"),
        (b"--- a/../out\n+++ b/../out\n@@ -1 +1 @@\n-a\n+b\n", "not a plain path"),
        (b"--- a//etc/passwd\n+++ b//etc/passwd\n@@ -1 +1 @@\n-a\n+b\n", "not a plain path"),
        (b"--- a/./m.py\n+++ b/./m.py\n@@ -1 +1 @@\n-a\n+b\n", "not a plain path"),
        (b"--- a/none.py\n+++ b/none.py\n@@ -1 +1 @@\n-a\n+b\n", "No such file"),
        (b"--- a/link.py\n+++ b/link.py\n@@ -1 +1 @@\n-a\n+b\n", "not a regular file"),
        (b"--- a/sub/m.py\n+++ b/sub/m.py\n@@ -1 +1 @@\n-a\n+b\n", "not a regular file"),
        (b"--- a/dir\n+++ b/dir\n@@ -1 +1 @@\n-a\n+b\n", "not a regular file"),
    ],
)
def test_a_patch_that_breaks_a_rule_is_refused_by_name(tmp_path: Path, text: bytes, reason: str) -> None:
    (tmp_path / "m.py").write_bytes(b"a\n")
    (tmp_path / "link.py").symlink_to("m.py")
    (tmp_path / "dir").mkdir()
    (tmp_path / "sub").symlink_to(".")
    with pytest.raises(BadPatch, match=reason):
        applied(text, tmp_path)


@pytest.mark.parametrize(
    ("hunk", "reason"),
    [
        (b"@@ -1,3 +2,3 @@\n-a\n+A\n b\n c\n", "not at line 2"),
        (b"@@ -9,0 +10 @@\n+d\n", "does not apply"),
        (b"@@ -2 +2 @@\n-b\n+B\n", "no context after"),
        (b"@@ -1,0 +1,0 @@\n", "an empty hunk"),
        (b"@@ -1,3 +1,3 @@\n a\n-b\n+B\n\\ No newline at end of file\n c\n", "is not the last"),
        (b"@@ -3 +3,3 @@\n c\n+d\n\\ No newline at end of file\n+e\n", "is not the last"),
        (b"@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\ndiff --git a/z.py b/z.py\n", "no hunk follows"),
        (b"@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\ndiff --git a/z.py b/z.py\nindex 12..34 120000\n", "not a line"),
    ],
)
def test_a_hunk_that_git_or_patch_would_read_otherwise_is_refused(tmp_path: Path, hunk: bytes, reason: str) -> None:
    (tmp_path / "m.py").write_bytes(b"a\nb\nc\n")
    with pytest.raises(BadPatch, match=reason):
        applied(HEAD + hunk, tmp_path)


PIECES = [*HEAD.splitlines(keepends=True), b"@@ -1 +1 @@\n", b"-a\n", b"+b\n", b"\\\n"]


@given(st.binary(max_size=200) | st.lists(st.sampled_from(PIECES)).map(b"".join))
def test_no_bytes_do_anything_but_parse_or_be_refused(text: bytes) -> None:
    with contextlib.suppress(BadPatch):
        parse(text)


def test_a_flood_of_files_is_bounded() -> None:
    text = b"".join(b"--- a/%d\n+++ b/%d\n@@ -1 +1 @@\n-a\n+b\n" % (i, i) for i in range(1001))
    with pytest.raises(BadPatch, match="more than 1000"):
        parse(text)
