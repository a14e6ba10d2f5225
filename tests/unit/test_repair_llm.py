"""Unified diffs of a model: what they may change, and how they find their place."""

import os
import time
from dataclasses import replace

import pytest

from repairlab.asking import content
from repairlab.config import llm_responses_dir
from repairlab.documents import Strategy, StrategyRun
from repairlab.errors import BadInput
from repairlab.repair.llm import BadAnswer, Exchange, edits_of_diff
from repairlab.trial.source import Source
from repairlab.trial.testrun import TestRun

TEXT = "a = 1\nb = 2\n\n\ndef f():\n    return a\n\n\ndef g():\n    return b"


def diff(body, head="@@ -1,2 +1,2 @@", old="a/m.py", new="b/m.py"):
    return f"--- {old}\n+++ {new}\n{head}\n{body}"


def edited(text, patch):
    source = Source("m.py", text, "utf-8")
    return source.edited(edits_of_diff(patch, {"m.py": source}))


def test_a_diff_is_applied_where_it_says():
    assert edited(TEXT, diff(" a = 1\n-b = 2\n+b = 3\n")) == TEXT.replace("b = 2", "b = 3")


def test_a_hunk_that_counts_wrong_is_put_where_its_old_lines_stand():
    patch = diff("-    return b\n+    return b + 1\n+    # never\n", "@@ -3,1 +3,2 @@")
    assert edited(TEXT, patch) == TEXT.replace("return b", "return b + 1\n    # never")


def test_line_ends_and_the_missing_last_one_are_the_files_own():
    text = TEXT.replace("\n", "\r\n")
    patch = diff(" a = 1\r\n-b = 2\r\n+b = 3\r\n") + "@@ -10 +10,2 @@\n     return b\n+    # end\n"
    assert edited(text, patch.replace(",2 @@\n     ret", ",2 @@\n     ret")) == (
        text.replace("b = 2", "b = 3") + "\r\n    # end"
    )


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        ("", "1 to 20 files"),
        ("nothing like it", "1 to 20 files"),
        (diff(" a = 1\n-b = 2\n+b = 3\n", old="a/../m.py", new="b/../m.py"), "no file that may be edited"),
        (diff(" a = 1\n-b = 2\n+b = 3\n", old="a/t.py", new="b/t.py"), "no file that may be edited"),
        (diff(" a = 1\n-b = 2\n+b = 3\n", old="/dev/null"), "only the text of existing files"),
        (diff(" a = 1\n-b = 2\n+b = 3\n", new="/dev/null"), "only the text of existing files"),
        (diff(" a = 1\n-b = 2\n+b = 3\n", new="b/n.py"), "only the text of existing files"),
        (diff(" a = 1\n-b = 7\n+b = 3\n"), "nowhere"),
        (diff("-\n+# two\n", "@@ -90 +90 @@"), "in 4 places"),
        (diff("+# far\n", "@@ -99,0 +99,1 @@"), "behind the end"),
        (diff(" a = 1\n b = 2\n"), "changes nothing"),
        (diff(" a = 1\n-b = 2\n", "@@ -1,2 +1,9 @@"), "no unified diff"),
        (diff("+x\n" * 20_000, "@@ -1,0 +1,20000 @@"), "10000 lines"),
        ("".join(diff("-a = 1\n+a = 2\n", "@@ -1 +1 @@") for _ in range(2)), "one place twice"),
    ],
)
def test_a_diff_that_breaks_a_rule_is_refused_as_a_whole(patch, why):
    with pytest.raises(BadAnswer, match=why):
        edited(TEXT, patch)


@pytest.mark.parametrize("odd", ["fifo", "link", "directory", "huge"])
def test_an_answer_is_a_regular_file_within_its_bound(odd, tmp_path):
    path = tmp_path / "answer.json"
    if odd == "fifo":
        os.mkfifo(path)
    elif odd == "link":
        path.symlink_to("/etc/passwd")
    elif odd == "directory":
        path.mkdir()
    else:
        with path.open("wb") as stream:
            stream.truncate(5 << 20)
    with pytest.raises(BadInput, match="the answer"):
        content(path)
    assert content(tmp_path / "none.json") is None


def test_a_queue_that_cannot_be_made_is_told_and_ends_nothing(tmp_path):
    (tmp_path / "llm").write_text("a file")
    exchange = Exchange(tmp_path, {}, [], {}, "0" * 64, 1, 5.0)
    assert list(exchange.candidates([], time.monotonic() + 5)) == []
    assert exchange.none == "the model cannot be asked: Not a directory"


def test_a_question_that_still_waits_is_not_asked_again_but_waited_for(tmp_path):
    exchange = Exchange(tmp_path, {}, [], {}, "0" * 64, 1, 0.0)
    for why in ("deadline", "exhausted"):
        run = StrategyRun(strategy=Strategy.MULTI_EDIT, tried=3, plausible=0, wall_s=2.0, why=why, details="")
        assert list(exchange.candidates([run], time.monotonic() + 5)) == []
        assert exchange.none.startswith("no answer within")
    assert len(list((tmp_path / "llm/requests").glob("request-*.json"))) == 1


def test_a_question_is_bounded_and_the_same_one_has_the_same_id(tmp_path):
    text = "".join(f"def f{n}():\n" + "    x = 1\n" * 900 for n in range(12))
    source = Source("m.py", text, "utf-8")
    failing = [TestRun("t" * 9999, "f", message="m" * 9999) for _ in range(99)]
    suspicion = {("m.py", line): 0.5 for line in range(1, len(source.starts) + 1, 7)}
    exchange = Exchange(tmp_path, {"m.py": source}, failing, suspicion, "0" * 64, 1, 5.0)
    request = exchange.request([])
    assert (len(request.functions), len(request.failing)) == (8, 10)
    assert sum(len(function.source) for function in request.functions) == 8 * 8000
    later = StrategyRun(strategy=Strategy.MULTI_EDIT, tried=3, plausible=0, wall_s=2.0, why="deadline", details="")
    assert request.id == replace(exchange, wait_s=9.0).request([later]).id
    assert request.id != replace(exchange, effort=2).request([]).id  # what was tried in vain is not answered again
    assert request.id != replace(exchange, parent_sha256="1" * 64).request([]).id
    assert llm_responses_dir(tmp_path).parent == tmp_path / "llm"
