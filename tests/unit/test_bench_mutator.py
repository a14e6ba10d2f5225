"""bench/mutator puts bugs into code: those of each class, repeatably, and without the repairer's own rules."""

import ast
from pathlib import Path

import bugs
import injected
import mutator
import pytest
from mutants import named

from repairlab.trial.validation import Verdict

BENCH = Path(bugs.__file__).parent
CODE = b'''
def tail(items, count, default=None):
    """Return the last `count` items; 10 is nothing special."""
    if not items:
        return default
    if count < 0 or count > len(items):
        raise ValueError("count")
    else:
        start = len(items) - count
    found = []
    for index in range(start, len(items)):
        found.append(items[index])
        start += 1
    return list(found)


class \xc3\x84rger:
    def both(self):
        try:
            return tail(self.left, 1) + self.right
        except KeyError:
            return None
'''
FOUND = mutator.mutants(CODE, "0")


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("wrong comparison", "count < 0", "count <= 0"),
        ("wrong boolean operator", "count < 0 or", "count < 0 and"),
        ("condition too weak or strong", "if count < 0 or count > len(items):", "if count > len(items):"),
        ("wrong operator", "len(items) - count", "len(items) + count"),
        ("off by one", "start += 1", "start += 2"),
        ("negated condition", "if not items:", "if items:"),
        ("wrong function", "found.append", "found.extend"),
        ("swapped arguments", "range(start, len(items))", "range(len(items), start)"),
        ("missing argument", "range(start, len(items))", "range(start)"),
        ("missing call", "return list(found)", "return found"),
        ("missing statement", "        start += 1\n", ""),
        ("missing guard", "    if not items:\n        return default\n", ""),
        ("missing return", "return default", "default"),
        ("wrong attribute", "self.right", "self.left"),
        ("wrong constant", '"count"', "'coun'"),
        ("statement one level off", "        start += 1\n", "    start += 1\n"),
    ],
)
def test_each_class_of_bugs_is_put_where_it_belongs(kind, old, new):
    expected = CODE.decode().replace(old, new).encode()
    assert any(bug.applied(CODE) == expected for bug in FOUND[kind])


def test_an_else_and_an_exception_can_be_wrong_too():
    assert any(b"else" not in bug.applied(CODE) for bug in FOUND["missing else"])
    assert {bug.line for bug in FOUND["wrong exception"]} == {7, 21}


def test_bugs_are_the_same_for_the_same_seed():
    assert mutator.mutants(CODE, "0") == FOUND


def test_no_bug_touches_a_docstring_and_most_of_them_parse():
    every = [bug for those in FOUND.values() for bug in those]
    assert all(b"10 is nothing special" in bug.applied(CODE) for bug in every)
    assert sum(mutator.changes(CODE, bug) for bug in every) > 0.9 * len(every)


def test_the_mutator_shares_nothing_with_the_engine():
    for file in ("mutator.py", "bugs.py"):
        imported = {
            name
            for node in ast.walk(ast.parse((BENCH / file).read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
        }
        assert not any(name.startswith("repairlab") for name in imported)


def test_a_verdict_that_says_nothing_of_a_mutant_does_not_kill_it():
    told = {name: named(Verdict(verdict=name)) for name in ("passed", "failed", "died", "ids", "hang", "fresh")}
    assert told == {
        "passed": "survived",
        "failed": "killed",
        "died": "killed",
        "ids": "killed",
        "hang": "timed out",
        "fresh": "fresh",
    }
    assert named(Verdict()) == "lost"


def test_a_drawn_case_is_kept_whole_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "m.py").write_bytes(CODE)
    monkeypatch.setattr(injected, "targets", lambda *_: ["m.py"])
    monkeypatch.setattr(injected, "seen", lambda *_: ["tests::test_it"])
    options = injected.arguments().parse_args(["--store", str(tmp_path), "--libraries", "toolz"])
    monkeypatch.setattr(Path, "write_text", lambda path, text: path.write_bytes(text[:9].encode()) and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        injected.drawn(0, {"toolz": tmp_path}, options)
    monkeypatch.undo()
    assert list(tmp_path.glob("toolz-*.json")) == []
