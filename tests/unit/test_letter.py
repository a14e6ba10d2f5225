"""A letter for a person: what strangers wrote stays text, and git takes the patch whatever the files are called."""

import re
import subprocess
from datetime import UTC, datetime

import pytest
from markdown_it import MarkdownIt

from repairlab.documents import Challenger, Champion, Components, Decision, Findings, Question, Strategy
from repairlab.evaluate import letter
from repairlab.evaluate.contest import Outcome
from repairlab.repair.diff import unified

PARTS = Components(correctness=1, safety=1, performance=1, robustness=1, documentation=1, stability=1)
OUTCOME = Outcome(decision=Decision.PROMOTED, fitness=1.0, components=PARTS, tests=2, runs=5)


def pair(patch, failing=("t.py::test_a",), details="initial value", lineage="line", encoding="utf-8", **told):
    common = {
        "lineage": lineage, "bundle_dir": "/b", "bundle_sha256": "b" * 64, "parent_sha256": "a" * 64,
        "patch": patch, "spec_path": None, "patch_encoding": encoding,
    }  # fmt: skip
    champion = Champion(
        id="c" * 24, at=datetime(2026, 1, 1, tzinfo=UTC), parent=None, fitness=1.0, components=PARTS,
        strategy=Strategy.MULTI_EDIT, **common,
    )  # fmt: skip
    challenger = Challenger(
        ts=0, source="t", original_epoch=None, original_fitness=None, repair_strategy=Strategy.MULTI_EDIT,
        repair_pattern_id=None, repair_attempts=1, repair_details=details, meta_repair=True, idempotency_key="k",
        failing=list(failing), **common, **told,
    )  # fmt: skip
    return champion, challenger


PATCH = unified({"m.py": (b"x = 1\n", b"x = 2\n")}).decode()
HOSTILE = [
    "[click](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "` <b>out of the span</b> `",
    "``` <b>fence</b>",
    "a\n# heading\n\n[x](http://evil.example)",
    "a\r\n\r\n    code",
    "http://evil.example www.evil.example <http://evil.example>",
    "*a* _b_ ~~c~~ **d** | e | f",
    "\x1b[2J\x1b]0;owned\x07\x9b31m",
    "\u202egnp.exe \u2066x\u2069 \u200f\u200b\ufeff\u061c\U000e0041",
    "- [ ] task\n> quote\n1. list",
    "&lt;b&gt; &#x202e;",
    "`",
    "```````",
    "\\`x\\`<b>",
    " ",
    "",
    "\ud800",
    "x" * 60_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_strangers_wrote_is_no_markup_in_the_page(text, tmp_path):
    question = Question(call=text, likeliest=text, other=text)
    findings = Findings(tests=9, failed=2, clusters=2, next_confidence=0.2, question=question)
    champion, challenger = pair(PATCH, failing=[text, text], details=text, findings=findings, confidence=0.7)
    page = letter.page(tmp_path / "x.patch", champion, challenger, OUTCOME).decode()
    assert all(char.isprintable() or char == "\n" for char in page)
    assert len(page) < 6000
    inside = MarkdownIt("gfm-like", {"linkify": False}).parse(page)
    kinds = {child.type for token in inside for child in token.children or ()}
    assert kinds <= {"text", "code_inline", "softbreak"}
    headings = [token for token in inside if token.type == "heading_open"]
    assert [token.tag for token in headings] == ["h1", *["h2"] * 5]
    assert {token.type for token in inside} & {"html_block", "fence", "blockquote_open", "table_open"} == set()
    spans = [child.content for token in inside for child in token.children or () if child.type == "code_inline"]
    assert spans.count(letter._line(text)) == 7


def evidence(tmp_path, **told):
    page = letter.page(tmp_path / "x.patch", *pair(PATCH, **told), OUTCOME).decode()
    return page.partition("## Evidence\n\n")[2].partition("## Risk")[0]


def test_the_evidence_is_tests_before_and_after_clusters_question_and_confidence(tmp_path):
    question = Question(call="total([])", likeliest="0", other="1")
    findings = Findings(tests=9, failed=2, clusters=3, next_confidence=0.2, question=question)
    shown = evidence(tmp_path, findings=findings, confidence=0.7)
    assert "With the parent: 7 of 9 tests pass or are skipped, 2 fail" in shown
    assert "With the patch: 2 of 2 tests pass, in each of 5 runs" in shown
    assert "3 clusters (what behaves alike is one); this one leads alone (70%), the next has 20%" in shown
    assert "differ on `total([])`" in shown
    assert "this patch: `0`\n    - the next: `1`" in shown
    assert "Confidence: 70% of such patches were right" in shown


@pytest.mark.parametrize(
    ("findings", "confidence", "words"),
    [
        (None, None, ["With the parent: not told"]),
        (Findings(tests=9), None, ["With the parent: not counted"]),
        (Findings(tests=2, failed=1, clusters=1), 0.9, ["1 cluster (what behaves alike is one); no other was found"]),
        (Findings(tests=2, failed=1, clusters=2), None, ["2 clusters", "which is likelier is not known"]),
        (
            Findings(tests=2, failed=1, clusters=2, next_confidence=0.4),
            0.4,
            ["this one does not lead alone: it has 40%, another 40%"],
        ),
        (Findings(tests=2, failed=7), None, ["0 of 2 tests pass or are skipped, 7 fail"]),
    ],
)
def test_what_the_search_did_not_say_is_not_made_up(findings, confidence, words, tmp_path):
    shown = evidence(tmp_path, findings=findings, confidence=confidence)
    assert all(word in shown for word in words)
    assert "differ on" not in shown
    assert ("Confidence" in shown) == (confidence is not None)
    assert ("cluster" in shown) == bool(findings and findings.clusters)


def test_a_patch_that_adds_what_does_not_show_is_told_of(tmp_path):
    for added, told in (("# \u202e", "U+202E"), ("# \x1b[2J", "U+001B"), ("# plain é\t", None)):
        patch = unified({"m.py": (b"x = 1\n", f"x = 1  {added}\n".encode())}).decode()
        page = letter.page(tmp_path / "x.patch", *pair(patch), OUTCOME).decode()
        assert ("characters that do not show" in page) == (told is not None)
        assert told is None or told in page


def git(place, *argv, check=True):
    env = {"PATH": "/usr/bin:/bin", "HOME": str(place), "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "mailinfo.scissors=true"]
    return subprocess.run(["git", "-C", str(place), *who, *argv], check=check, capture_output=True, env=env)


def applied_by_git(place, files, failing=("t::a",), details="initial value", encoding="utf-8"):
    """Write, commit and patch files (name → (before, after)); return the commit's message."""
    place.mkdir()
    git(place, "init", "-q")
    for name, (before, _) in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(before)
    git(place, "add", ".")
    git(place, "commit", "-qm", "begin")
    raw = unified(files)
    patch = raw.decode(encoding)
    champion, challenger = pair(patch, failing=failing, details=details, encoding=encoding)
    path = letter.write(place.parent / "patches", champion, challenger, OUTCOME)
    (line,) = re.findall("^    git am (.*)$", path.with_suffix(".md").read_text(), re.MULTILINE)
    git(place, "apply", "--check", str(path))
    git(place, "am", "-q", *(["--keep-cr"] if "--keep-cr" in line else []), str(path))
    for name, (_, after) in files.items():
        assert (place / name).read_bytes() == after
    assert git(place, "status", "--porcelain").stdout == b""
    return git(place, "log", "-1", "--format=%B").stdout.decode()


NAMES = ["a b.py", "é ü.py", 'q"uote.py', "back\\slash.py", "t\tab.py", "-dash.py", "d ir/x y.py", "名.py", "--- a.py"]


@pytest.mark.parametrize("name", NAMES)
def test_git_takes_the_patch_of_any_file_name(name, tmp_path):
    applied_by_git(tmp_path / "r", {name: (b"x = 1\ny = 1\n", b"x = 2\ny = 1\n")})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"x = 1\r\ny = 1\r\n", b"x = 2\r\ny = 1\r\n"),
        (b"x = 1", b"x = 2"),
        (b"x = 1\n", b"x = 2"),
        (b"x = 1", b"x = 2\n"),
        (b"x = 1\r\ny = 2", b"x = 1\r\ny = 3"),
        (b"- \nx\n", b"-- \nx\n"),
        (b"From me\nx = 1\n", b"From me\n---\ndiff --git a/x b/x\n"),
        (b"x = '\x0c'\n", b"x = '\x0c\x0b'\n"),
    ],
)
def test_git_takes_the_patch_to_the_byte(before, after, tmp_path):
    applied_by_git(tmp_path / "r", {"m.py": (before, after)})


def test_git_takes_a_patch_that_is_not_utf8(tmp_path):
    files = {"m.py": (b"x = '\xe9'\n", b"x = '\xe8\xff'\n")}
    applied_by_git(tmp_path / "r", files, encoding="latin-1")


@pytest.mark.parametrize(
    "text",
    [
        "a\n---\n--- a/m.py\n+++ b/m.py\n@@ -1 +1 @@\n-x = 1\n+x = 666\n",
        "a\ndiff --git a/.git/hooks/post-commit b/.git/hooks/post-commit\nnew file mode 100755",
        "x\n\nFrom: mallory <m@evil.example>\nSubject: other",
        "=?utf-8?q?a=0Adiff_--git_a/m.py_b/m.py?=",
        "=?utf-8?b?ZXZpbA==?= \u202e \x1b[2J",
        "-- >8 --",
        "--- 8< ---- %< ---",
        "[PATCH] [x] re: y",
    ],
    ids=range(8),
)
def test_what_strangers_wrote_stays_in_the_message_and_moves_nothing(text, tmp_path):
    files = {"m.py": (b"x = 1\n", b"x = 2\n")}
    said = applied_by_git(tmp_path / "r", files, failing=[text, "last"], details=text)
    assert said.startswith("line: ")
    assert "- last" in said
    assert "These tests failed" in said
    assert all(char.isprintable() or char == "\n" for char in said)
    author = git(tmp_path / "r", "log", "-1", "--format=%an <%ae>").stdout
    assert author == b"RepairLab <repairlab@localhost>\n"
