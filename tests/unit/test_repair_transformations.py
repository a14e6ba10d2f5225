"""Transformations: what each family proposes, and what all proposals have in common."""

import ast

import pytest

from repairlab.repair import transformations
from repairlab.repair.candidates import generate
from repairlab.repair.literals import project_of
from repairlab.trial.source import Source, overlapping

REPAIRS = {
    "comparison": ("return a < b", "return a <= b"),
    "boolean": ("return a and b", "return a or b"),
    "negation": ("if a:\n        return 1\n    return b", "if not a:\n        return 1\n    return b"),
    "arithmetic": ("return a - b", "return a + b"),
    "precedence_kept": ("return a * b * 2", "return (a + b) * 2"),
    "regrouped": ("return (a + b) * 2", "return a + b * 2"),
    "operand_dropped": ("return a + b * 2", "return a + b"),
    "operands_exchanged": ("return a - b", "return b - a"),
    "augmented": ("a += b\n    return a", "a -= b\n    return a"),
    "number": ("return a[0]", "return a[1]"),
    "flag": ("return True", "return False"),
    "string": ("return a.split(',')", "return a.split(' ')"),
    "range_end": ("return list(range(a))", "return list(range(a + 1))"),
    "range_start": ("return list(range(a))", "return list(range(1, a))"),
    "index": ("return a[b]", "return a[b - 1]"),
    "slice": ("return a[:b]", "return a[b:]"),
    "slice_bound": ("return a[:b]", "return a[:b + 1]"),
    "variable": ("c = a\n    return c + a", "c = a\n    return c + b"),
    "sibling": ("return min(a, b)", "return max(a, b)"),
    "method": ("return a.lower()", "return a.upper()"),
    "arguments": ("return divmod(a, b)", "return divmod(b, a)"),
    "wrapped": ("return a", "return sorted(a)"),
    "unwrapped": ("return list(a)", "return a"),
    "reverse": ("return sorted(a)", "return sorted(a, reverse=True)"),
    "key": ("return max(a)", "return max(a, key=len)"),
    "ternary": ("return a if b else 0", "return 0 if b else a"),
    "filter_added": ("return [c for c in a]", "return [c for c in a if c != b]"),
    "filter_dropped": ("return [c for c in a if c]", "return [c for c in a]"),
    "strengthened": ("if a:\n        a = 1\n    return b == 2", "if a and b == 2:\n        a = 1\n    return b == 2"),
    "deleted": ("a = 0\n    return a", "return a"),
    "moved_out": ("for c in a:\n        b += c\n        return b", "for c in a:\n        b += c\n    return b"),
    "moved_in": ("for c in a:\n        b += c\n    b += 1", "for c in a:\n        b += c\n        b += 1"),
    "exchanged": ("a = b\n    b = a\n    return a", "b = a\n    a = b\n    return a"),
    "break": ("for c in a:\n        break\n    return b", "for c in a:\n        continue\n    return b"),
    "guard": ("return a / b", "if b == 0:\n        return 0\n    return a / b"),
    "return": ("c = a\n    c += b", "c = a\n    c += b\n    return c"),
    "initial": ("c = 1\n    return c + a", "c = 0\n    return c + a"),
    "assignment": ("c = 0\n    c = a\n    return c", "c = 0\n    c += a\n    return c"),
    "branches": ("if a:\n        b = 1\n    else:\n        b = 2", "if a:\n        b = 2\n    else:\n        b = 1"),
    "exception": ("raise ValueError(a)", "raise KeyError(a)"),
    "both_sides": ("return a == b", "return set(a) == set(b)"),
    "get": ("return a['x']", "return a.get('x', 0)"),
    "element": ("return b in (1, 2, 3)", "return b in (1, 3)"),
    "all_places": ("return a[0] + b[0]", "return a[1] + b[1]"),
}  # fmt: skip


def function(body):
    return f"def f(a, b):\n    {body}\n"


def candidates(text, **types):
    source = Source.decode("m.py", text.encode())
    known = {("m.py", 1, name): kind for name, kind in types.items()}
    suspicion = {("m.py", line): 1.0 for line in range(1, len(source.starts) + 1)}
    return source, generate(
        {"m.py": source}, suspicion, project_of({"m.py": text.encode()}, {"m.py": source}, known, 1)
    )


@pytest.mark.parametrize("name", REPAIRS)
def test_family_proposes_the_repair(name):
    before, after = REPAIRS[name]
    source, found = candidates(function(before), a="", b="int" if name == "guard" else "")
    wanted = ast.dump(ast.parse(function(after)))
    assert any(parsed(source, change) == wanted for change in found)


def parsed(source, change):
    try:
        return ast.dump(ast.parse(source.edited(change.edits)))
    except SyntaxError:
        return ""


def parses(source, change):
    try:
        ast.parse(source.edited(change.edits))
    except SyntaxError:
        return False
    return True


MIXED = '''\
"""Module."""
LIMIT = 10


class Box:
    def __init__(self, items=[], *, top=None):
        self.items = items
        self.top = top

    def pick(self, n):  # comment
        if n > len(self.items) or not self.items: return None
        elif n == LIMIT:
            raise ValueError(f"{n!r} of {LIMIT}")
        return [x for i, x in enumerate(self.items) if i < n and x is not None][::2]


async def walk(tree, seen=()):
    total = 0
    while (tree := tree.parent) is not None:
        total += tree.size if tree.ok else -tree.size
        try:
            total = max(total, await tree.count(lambda t: t + 1))
        except (KeyError, IndexError) as error:
            print(error)
            break
    return total ** 2 // 3
'''


@pytest.mark.parametrize(
    "text", [MIXED, MIXED.replace("\n", "\r\n"), MIXED.rstrip("\n"), MIXED.replace("Module", "Mödule ü")]
)
def test_nearly_every_candidate_of_a_mixed_file_parses_and_none_overlaps(text):
    source, found = candidates(text)
    broken = [change for change in found if not parses(source, change)]
    assert len(found) > 300
    assert len(broken) < len(found) / 50, [(c.note, source.edited(c.edits)) for c in broken[:3]]
    assert not any(overlapping(change.edits) for change in found)


def test_every_candidate_changes_the_program_and_none_comes_twice():
    source, found = candidates(MIXED)
    assert len({change.key for change in found}) == len(found)
    assert all(source.edited(change.edits) != source.text for change in found)


def test_inserted_lines_end_as_the_file_does():
    source, found = candidates(function("return a / b").replace("\n", "\r\n"), b="int")
    texts = [source.edited(change.edits) for change in found if change.note == "guard added"]
    assert texts
    assert not any("\n" in text.replace("\r\n", "") for text in texts)


def test_the_order_is_total_and_the_same_each_time():
    _, one = candidates(MIXED)
    _, two = candidates(MIXED)
    assert one == two
    assert [change.score for change in one] == sorted((change.score for change in one), reverse=True)


def test_suspicious_lines_come_first_and_innocent_ones_never():
    text = function("c = a + b\n    return c - 1")
    source = Source.decode("m.py", text.encode())
    project = project_of({}, {"m.py": source}, {}, 1)
    found = generate({"m.py": source}, {("m.py", 3): 0.9, ("m.py", 1): 0.1}, project)
    assert found[0].line == ("m.py", 3)
    assert not [change for change in found if change.line == ("m.py", 2)]


def test_more_effort_widens_the_pools():
    text = "def f(a, b, c, d, e, g, h, i, j, k, l, m):\n    return a\n"
    source = Source.decode("m.py", text.encode())
    counts = [
        len(generate({"m.py": source}, {("m.py", 2): 1.0}, project_of({}, {"m.py": source}, {}, width)))
        for width in (1, 2)
    ]
    assert counts[0] < counts[1]


@pytest.mark.parametrize(
    "test",
    [
        "t / (n := len(xs)) > 2",
        "t / (len(xs)\n        + 1) > 2",
        "t / (1 if xs else 2)",
        "n := len(xs)",
        "xs[(t\n+ 1)]",
    ],
)
def test_conditions_made_of_what_needs_parentheses_parse(test):
    source, found = candidates(function(f"if ({test}):\n        a = t\n    return a").replace("(a, b)", "(t, xs)"))
    guards = [change for change in found if change.note in ("guard added", "condition weakened")]
    assert guards
    assert all(parses(source, change) for change in guards)


def test_a_transformation_that_fails_costs_its_own_drafts_alone(monkeypatch):
    def failing(_site):
        raise ValueError

    _, before = candidates(MIXED)
    monkeypatch.setitem(transformations.FAMILIES, "failing", (failing,))
    _, after = candidates(MIXED)
    assert before == after


def test_numbers_too_long_to_be_written_in_decimal_are_left_alone():
    _, found = candidates(function(f"return a + 0x{'f' * 4000}"))
    assert found


def test_a_file_that_does_not_parse_gives_no_candidate():
    source = Source.decode("m.py", b"def f(:\n")
    assert generate({"m.py": source}, {("m.py", 1): 1.0}, project_of({}, {}, {}, 1)) == []


@pytest.mark.timeout(20)
def test_an_expression_of_a_thousand_terms_is_left_as_it_is_and_its_parts_are_not():
    terms = " + ".join(f"x{number}" for number in range(500))
    source, found = candidates(f"def f(x0, x1):\n    if x0 < x1:\n        return {terms}\n    return 0\n")
    assert any("x0 <= x1" in source.edited(change.edits) for change in found)
    assert len(found) < 50_000
