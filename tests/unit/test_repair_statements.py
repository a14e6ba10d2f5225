"""Transformations on statements: each class of missing, misplaced or misled statement has its repair proposed."""

import ast

import pytest

from repairlab.repair.candidates import generate
from repairlab.repair.literals import project_of
from repairlab.repair.localization import raised
from repairlab.repair.transformations import ingredients
from repairlab.repair.transformations.site import Project, Scope
from repairlab.trial.source import Source
from repairlab.trial.testrun import TestRun

LOOP = "for c in a:\n        "
REPAIRS = {
    "update_of_while": ("while b < a:\n        a += b", "while b < a:\n        a += b\n        b += 1"),
    "twin_statement": ("b1 = a.x1\n    return b1, b2, a.x2", "b1 = a.x1\n    b2 = a.x2\n    return b1, b2, a.x2"),
    "copy_before_change": ("a.append(b)\n    return a", "a = list(a)\n    a.append(b)\n    return a"),
    "return_of_flag": (LOOP + "if c:\n            return True",
        LOOP + "if c:\n            return True\n    return False"),
    "return_in_branch": ("if a:\n        b = 1\n    else:\n        return 2",
        "if a:\n        b = 1\n        return b\n    else:\n        return 2"),
    "value_of_bare_return": ("if a:\n        return\n    return b", "if a:\n        return b\n    return b"),
    "else_for_rest": ("if a:\n        b = 1\n    b = 2\n    return b",
        "if a:\n        b = 1\n    else:\n        b = 2\n    return b"),
    "else_added": ("if a:\n        b += 1\n    return b",
        "if a:\n        b += 1\n    else:\n        b -= 1\n    return b"),
    "elif_added": ("c = d = 0\n    if a == 'c':\n        c += 1\n    return c + d + 'd'",
        "c = d = 0\n    if a == 'c':\n        c += 1\n    elif a == 'd':\n        d += 1\n    return c + d + 'd'"),
    "else_narrowed": ("if a > 0:\n        b = 1\n    else:\n        b = 2\n    return b < 0 or b == 0",
        "if a > 0:\n        b = 1\n    elif b < 0:\n        b = 2\n    return b < 0 or b == 0"),
    "twin_block": ("if a.left:\n        b += a.left\n    return b, 'right'.right",
        "if a.left:\n        b += a.left\n    if a.right:\n        b += a.right\n    return b, 'right'.right"),
    "guard_none": (LOOP + "b += c.x\n    return b",
        LOOP + "if c is None:\n            continue\n        b += c.x\n    return b"),
    "guard_missing_key": (LOOP + "b = a[c]\n    return b",
        LOOP + "if c not in a:\n            continue\n        b = a[c]\n    return b"),
    "guarded_rest": ("if b == 1:\n        a = 1\n    a += 1\n    b += 2\n    return a",
        "if b == 1:\n        a = 1\n    if b == 1:\n        a += 1\n        b += 2\n    return a"),
    "none_first": ("if a.x:\n        return b", "if a is not None and a.x:\n        return b"),
    "also_for": ("if a == 'x':\n        return b\n    return 'y'",
        "if a == 'x' or a == 'y':\n        return b\n    return 'y'"),
    "into_first_branch": ("if a:\n        b = 1\n    else:\n        b = 2\n    b += 1\n    return b",
        "if a:\n        b = 1\n        b += 1\n    else:\n        b = 2\n    return b"),
    "out_of_loop_start": (LOOP + "b = 0\n        b += c\n    return b", "b = 0\n    " + LOOP + "b += c\n    return b"),
    "into_loop_start": ("b = 0\n    " + LOOP + "b += c\n    return b", LOOP + "b = 0\n        b += c\n    return b"),
}  # fmt: skip
BOX = """\
class Box(Base):
    def __init__(self, items, top):
        {init}

    def show(self):
        return self.items, self.top, {call}(1)

    def size(self, n):
        return n
"""
OBJECTS = {
    "self_assigned": (("self.items = items\n        top = top", "self.size"),
        ("self.items = items\n        self.top = top", "self.size")),
    "self_called": (("self.items = self.top = 1", "size"), ("self.items = self.top = 1", "self.size")),
    "attribute_kept": (("self.items = items", "self.size"),
        ("self.items = items\n        self.top = top", "self.size")),
    "attribute_begun": (("self.top = top", "self.size"), ("self.top = top\n        self.items = []", "self.size")),
    "constructor_called": (("self.items = self.top = 1", "self.size"),
        ("super().__init__()\n        self.items = self.top = 1", "self.size")),
}  # fmt: skip


def proposed(before, after, **types):
    source = Source.decode("m.py", before.encode())
    known = {("m.py", 1, name): kind for name, kind in types.items()}
    lines = {("m.py", line): 1.0 for line in range(1, len(source.starts) + 1)}
    found = generate({"m.py": source}, lines, project_of({"m.py": before.encode()}, {"m.py": source}, known, 1))
    wanted = ast.dump(ast.parse(after))
    return any(parsed(source.edited(change.edits)) == wanted for change in found)


def parsed(text):
    try:
        return ast.dump(ast.parse(text))
    except SyntaxError:
        return ""


@pytest.mark.parametrize("name", REPAIRS)
def test_repair_of_a_statement_is_proposed(name):
    before, after = (f"def f(a, b):\n    {body}\n" for body in REPAIRS[name])
    assert proposed(before, after, **({"a": "list"} if name == "copy_before_change" else {}))


@pytest.mark.parametrize("name", OBJECTS)
def test_repair_of_an_object_is_proposed(name):
    before, after = (BOX.format(init=init, call=call) for init, call in OBJECTS[name])
    assert proposed(before, after)


def test_words_that_go_together_are_exchanged_only_where_the_file_knows_the_result():
    source = Source.decode("m.py", b"def f(left1, right1):\n    return left1.min, right1.max\n")
    pool = ingredients.Pool(Scope(source, next(iter(source.definitions()))), Project())
    assert "right1.max" in pool.mirrored("left1.max")
    assert pool.mirrored("left3.other") == []


@pytest.mark.parametrize(
    ("message", "name"),
    [("KeyError: 'x'", "KeyError"), ("AssertionError: no", None), ("Own: no", None), ("exit(): no", None), ("", None)],
)
def test_only_a_built_in_exception_is_taken_from_what_a_test_reports(message, name):
    run = TestRun("t", "f", message=message, crash=(("m.py", 1), ("m.py", 3)))
    assert raised([run]) == ({("m.py", 1): name, ("m.py", 3): name} if name else {})
    assert raised([TestRun("t", "p", message=message, crash=run.crash)]) == {}


def test_guards_go_first_at_the_line_that_a_failing_test_raised_through():
    source = Source.decode("m.py", b"def f(a, b):\n    b = a\n    return b / a\n")
    lines = {("m.py", 2): 1.0, ("m.py", 3): 1.0}
    best = {}
    for raised_at in (None, 2, 3):
        project = project_of({}, {"m.py": source}, {}, 1)
        project.raised = {("m.py", raised_at): "ZeroDivisionError"} if raised_at else {}
        found = [
            c for c in generate({"m.py": source}, lines, project) if c.note == "guard added" and c.family == "guards"
        ]
        best[raised_at] = {number: max(c.score for c in found if c.line[1] == number) for number in (2, 3)}
    assert best[3][3] > best[None][3]
    assert best[2] == {2: best[3][3], 3: best[None][3]}


def test_statement_that_raised_may_be_put_under_try():
    before = "def f(a):\n    return int(a)\n"
    source = Source.decode("m.py", before.encode())
    project = project_of({}, {"m.py": source}, {}, 1)
    texts = [source.edited(c.edits) for c in generate({"m.py": source}, {("m.py", 2): 1.0}, project)]
    assert not any("try:" in text for text in texts)
    project.raised = {("m.py", 2): "ValueError"}
    texts = [source.edited(c.edits) for c in generate({"m.py": source}, {("m.py", 2): 1.0}, project)]
    assert any(
        "    try:\n        return int(a)\n    except ValueError:\n        return None\n" in text for text in texts
    )
