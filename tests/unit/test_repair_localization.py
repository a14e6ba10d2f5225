"""Localization: what a run says about lines, and which pairs of edits are tried first."""

import linecache
import random

import pytest

from repairlab.repair.candidates import Change, generate
from repairlab.repair.literals import project_of
from repairlab.repair.localization import suspicious
from repairlab.repair.pairs import pairs, relation
from repairlab.trial.server import coverage, worker
from repairlab.trial.source import Edit, Source
from repairlab.trial.testrun import TestRun

BOX = """\
def even(n):
    if n == 0:
        return True
    return odd(n - 1)

def odd(n):
    return n == 1 or even(n - 1)

def items(n):
    for each in range(n):
        yield each
"""


@pytest.fixture
def traced(tmp_path, monkeypatch):
    monkeypatch.setattr(coverage, "shared_counters", worker.shared_counters, raising=False)
    monkeypatch.setattr(coverage, "note_type", lambda *_: None)
    path = tmp_path / "box.py"
    path.write_text(BOX)
    space = {}
    exec(compile(BOX, str(path), "exec"), space)

    def run(test):
        tracer = coverage.Coverage({str(path): BOX.count("\n")})
        tracer.start()
        try:
            test(space)
        except AssertionError:
            pass
        finally:
            tracer.stop()
        return {line: tuple(seen) for line, *seen in tracer.earlier().get(str(path), [])}

    yield run
    linecache.clearcache()


def test_lines_of_the_last_call_are_told_from_those_of_calls_that_came_back(traced):
    def test(space):
        assert space["even"](0)
        assert space["even"](0)
        assert not space["even"](2)

    seen = traced(test)
    assert seen[2] == (1, 2)  # run by the last call and by both before it
    assert seen[3] == (0, 2)
    assert seen[7] == (1, 0)


def test_inner_calls_and_suspended_generators_are_no_calls_of_the_test(traced):
    assert traced(lambda space: space["even"](4)) == {}
    seen = traced(lambda space: [space["odd"](1), list(space["items"](2))])
    assert seen[7] == (0, 1)
    assert seen[11] == (1, 0)


HILL = """
def hill(x):
    if x > 30:
        x = 30
    for _ in range(3):
        x += 1
    return x
"""


def brief(tmp_path, monkeypatch, test):
    """Return the lines of HILL that `test` runs, by a whole trace and a brief one, and the events of the latter."""
    monkeypatch.setattr(coverage, "shared_counters", worker.shared_counters, raising=False)
    path = tmp_path / "hill.py"
    space = {}
    exec(compile(HILL, str(path), "exec"), space)
    found = []
    for few in (False, True):
        tracer = coverage.Coverage({str(path): HILL.count("\n")})
        types = []
        monkeypatch.setattr(coverage, "note_type", lambda *told, types=types: types.append(told))
        tracer.start(few)
        try:
            test(space["hill"])
        finally:
            tracer.stop()
        found.append(({line for line, _ in tracer.lines()[str(path)]}, types))
        tracer.clear()
        assert not tracer.left
    return found


def test_a_brief_trace_ends_once_nothing_new_comes(tmp_path, monkeypatch):
    (lines, every), (few, some) = brief(tmp_path, monkeypatch, lambda hill: [hill(n) for n in range(200)])
    assert lines == {2, 3, 4, 5, 6, 7}
    assert few == lines - {4}  # its price: that one comes after thirty calls like each other
    assert len(every) == 3 * 200
    assert len(some) == 3 * (1 + coverage.BRIEF_CALLS)


def test_a_brief_trace_goes_on_while_lines_are_new(tmp_path, monkeypatch):
    calls = [*range(coverage.BRIEF_CALLS - 1), 31, *range(30)]
    (lines, _), (few, _) = brief(tmp_path, monkeypatch, lambda hill: [hill(n) for n in calls])
    assert lines == few


def test_a_line_that_only_the_disappointing_call_ran_is_the_most_suspicious():
    lines = {("m.py", n): 1 for n in range(1, 5)}
    earlier = {("m.py", 1): (True, 9), ("m.py", 2): (False, 9), ("m.py", 3): (True, 0), ("m.py", 4): (False, 1)}
    plain, known = (suspicious([TestRun("t", "f", lines=lines, earlier=seen)], []) for seen in ({}, earlier))
    assert set(plain.values()) == {1.0}
    assert max(known, key=known.__getitem__) == ("m.py", 3)
    assert known["m.py", 2] < known["m.py", 4] < known["m.py", 1] < known["m.py", 3] == 1.0


def test_a_name_is_exchanged_in_all_functions_and_files_at_once():
    texts = {
        "m.py": "def f(a):\n    return a.item\n\n\ndef g(a):\n    return 1 + a.item\n",
        "n.py": "def h(a, b):\n    a.items = b\n    return a.item\n",
    }
    sources = {path: Source.decode(path, text.encode()) for path, text in texts.items()}
    lines = {(path, number): 1.0 for path in texts for number in range(1, 8)}
    found = generate(sources, lines, project_of({}, sources, {}, 1))
    wanted = {path: text.replace("a.item\n", "a.items\n") for path, text in texts.items()}
    made = [{p: s.edited(e for e in c.edits if e.path == p) for p, s in sources.items()} for c in found]
    assert found[made.index(wanted)].note.endswith(", everywhere")
    assert len({each.key for each in found}) == len(found)


def change(line, note="number", path="m.py", score=0.1):
    return Change((Edit(path, line * 10, line * 10 + 1, note),), (path, line), "constants", note, score)


def test_two_edits_of_one_kind_close_together_are_tried_before_likelier_strangers():
    near, same, stranger = change(1), change(2), change(40, "guard added", score=0.3)
    found = pairs([(each.score, each) for each in (near, same, stranger)], 1)
    assert found[0][1:] in ((near, same), (same, near))
    assert relation(near, same) > relation(near, change(30)) > relation(near, change(2, path="other.py")) > 1
    assert relation(near, stranger) == 1


def test_the_order_of_pairs_does_not_depend_on_the_order_of_verdicts():
    singles = [(change(n).score, change(n, note)) for n in range(20) for note in ("number", "flag")]
    shuffled = random.Random(1).sample(singles, len(singles))
    assert pairs(singles, 1) == pairs(shuffled, 1)
    assert len(pairs(singles, 1)) == 40 * 39 // 2
