"""Source and diff: edits keep every other byte, and patches apply with git and with patch."""

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repairlab.repair.diff import unified
from repairlab.trial.source import BOM, Edit, Source, Undecodable, overlapping


def apply(tool, directory, patch):
    command = {"git": ["git", "apply", "-p1", "-"], "patch": ["patch", "-p1", "--no-backup-if-mismatch"]}[tool]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    environment = {"PATH": "/usr/bin:/bin", "GIT_DIR": "/nonexistent", "HOME": str(directory)}
    return subprocess.run(command, cwd=directory, input=patch, capture_output=True, env=environment, check=False)


def check_applies(tmp_path, changes):
    patch = unified(changes)
    for tool in ("git", "patch"):
        directory = tmp_path / tool
        for path, (old, _) in changes.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(old)
        done = apply(tool, directory, patch)
        assert done.returncode == 0, (tool, done.stderr, done.stdout, patch)
        assert {path: (directory / path).read_bytes() for path in changes} == {
            p: new for p, (_, new) in changes.items()
        }


FORMS = {
    "plain": b"a = 1\nb = 2\nc = 3\n",
    "no_last_newline": b"a = 1\nb = 2\nc = 3",
    "crlf": b"a = 1\r\nb = 2\r\nc = 3\r\n",
    "crlf_no_last_newline": b"a = 1\r\nb = 2\r\nc = 3",
    "bom": BOM + b"a = 1\nb = 2\nc = 3\n",
    "latin_1": b"# -*- coding: latin-1 -*-\na = '\xe4\xf6'\nb = 2\n",
    "form_feed_and_odd_separators": b"a = '\x0c\x1c'\n\x0cb = 2  # \xe2\x80\xa8 here\nc = 3\n",
    "cr_only_inside": b"a = 1\nb = 2\rc = 3\nd = 4\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_patch_of_each_form_of_file_applies_to_the_byte(tmp_path, form):
    old = FORMS[form]
    source = Source.decode("pkg/mod.py", old)
    at = source.text.index("2") if form != "latin_1" else source.text.index("b = 2") + 4
    new = source.patched([Edit("pkg/mod.py", at, at + 1, "22")])
    assert new == old.replace(b"2", b"22")
    check_applies(tmp_path, {"pkg/mod.py": (old, new)})


@pytest.mark.parametrize("form", FORMS)
def test_an_edit_of_the_last_line_applies_to_the_byte(tmp_path, form):
    old = FORMS[form]
    source = Source.decode("mod.py", old)
    end = len(source.text.rstrip("\r\n"))
    new = source.patched([Edit("mod.py", end, end, "  # last")])
    check_applies(tmp_path, {"mod.py": (old, new)})


def test_names_that_need_quotes_are_quoted_as_git_does(tmp_path):
    names = ["with blank.py", "umlaut_ä.py", 'quote".py', "tab\there.py", "back\\slash.py"]
    check_applies(tmp_path, dict.fromkeys(names, (b"x = 1\n", b"x = 2\n")))


def test_two_distant_edits_make_two_hunks_and_two_close_ones_one():
    lines = [b"line %d\n" % number for number in range(60)]
    far, near = list(lines), list(lines)
    far[5] = far[50] = near[5] = near[9] = b"changed\n"
    assert unified({"f": (b"".join(lines), b"".join(far))}).count(b"\n@@ ") == 2
    assert unified({"f": (b"".join(lines), b"".join(near))}).count(b"\n@@ ") == 1


def test_unchanged_files_do_not_appear():
    assert unified({"f": (b"same", b"same")}) == b""


lines = st.lists(st.sampled_from([b"a", b"b", b"", b"c\r", b"\xff"]), max_size=14)


@settings(max_examples=40, deadline=None)
@given(lines, lines, st.booleans(), st.booleans())
def test_any_two_texts_give_a_patch_that_git_applies(tmp_path_factory, before, after, ended, ended_after):
    old = b"\n".join(before) + (b"\n" if ended and before else b"")
    new = b"\n".join(after) + (b"\n" if ended_after and after else b"")
    if not old or not new or old == new:
        return  # creation and deletion are not edits
    check_applies(tmp_path_factory.mktemp("any"), {"f": (old, new)})


def test_a_file_that_lies_about_its_encoding_is_not_editable():
    for raw in (
        b"# coding: utf-8\nx = '\xff'\n",
        b"# coding: no-such\n",
        b"x = '\x00'\n",
        b"# coding: utf-7\nx = '+AGE-'\n",
    ):
        with pytest.raises(Undecodable):
            Source.decode("x.py", raw)


def test_text_that_the_encoding_cannot_hold_is_refused():
    source = Source.decode("x.py", b"# coding: ascii\nx = 1\n")
    with pytest.raises(Undecodable):
        source.patched([Edit("x.py", 0, 0, "€")])


def test_spans_count_characters_where_the_parser_counts_bytes():
    source = Source.decode("x.py", "x = 'äöü' + name\r\ny = 'é' * 3\r\n".encode())
    first, second = source.tree.body
    assert source.segment(first.value.right) == "name"
    assert source.segment(second.value.right) == "3"


def test_lines_end_where_python_says_and_nowhere_else():
    source = Source.decode("x.py", b"a = 1\r\nb = '\x0c'\rc = 3\n")
    assert [source.line_text(line) for line in (1, 2, 3)] == ["a = 1", "b = '\x0c'", "c = 3"]
    assert [source.newline(line) for line in (1, 2, 3)] == ["\r\n", "\r", "\n"]


def test_edits_at_one_place_overlap_and_neighbours_do_not():
    assert overlapping([Edit("a", 1, 3, ""), Edit("a", 2, 4, "")])
    assert overlapping([Edit("a", 1, 1, "x"), Edit("a", 1, 1, "y")])
    assert not overlapping([Edit("a", 1, 3, ""), Edit("a", 3, 4, "")])
    assert not overlapping([Edit("a", 1, 3, ""), Edit("b", 2, 4, "")])
