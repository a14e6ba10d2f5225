"""Patterns: what is learnt from a repair, and that it repairs the like elsewhere, and nothing else."""

import os

import pytest

from repairlab.documents import (
    EditPattern,
    HoleKind,
    Pattern,
    PatternKind,
    Strategy,
    decode,
    encode,
    pattern_id,
)
from repairlab.patterns import BadTemplate, compiled, edit_patterns, function_pattern, mined
from repairlab.repair.literals import project_of
from repairlab.repair.patterns import Library, applied
from repairlab.trial.source import Source

LAST = """def best(values, known):
    top = 0
    for i in range(len(values) - 1):
        if values[i] > top:
            top = values[i]
    return top
"""


def learnt(before, after):
    return mined({"m.py": before}, {"m.py": after}, origin="spec-7", provenance=["0" * 64])


def written(tmp_path, patterns):
    directory = tmp_path / "patterns"
    directory.mkdir(exist_ok=True)
    for pattern in patterns:
        (directory / f"{pattern.id}.json").write_bytes(encode(pattern))
    return directory


def repaired(tmp_path, patterns, text):
    """The texts that the patterns make of a file whose every line is suspicious."""
    library = Library.read(written(tmp_path, patterns), 100)
    assert library.skipped == {}
    source = Source("other.py", text, "utf-8")
    suspicion = {("other.py", line): 1.0 for line in range(1, len(source.starts) + 1)}
    project = project_of({}, {"other.py": source}, {}, 1)
    changes = applied(library, {"other.py": source}, suspicion, project)
    assert all(change.strategy is Strategy.PATTERN_TRANSPLANT and change.pattern_id for change in changes)
    return [source.edited(change.edits) for change in changes]


REPAIRS = {
    "an inner expression": (
        (LAST, LAST.replace("len(values) - 1", "len(values)")),
        "def f(self, n):\n    for k in range( len(self.rows) - 1 ):  # all of them\n        n += k\n    return n\n",
        "def f(self, n):\n    for k in range( len(self.rows) ):  # all of them\n        n += k\n    return n\n",
    ),
    "another function around": (
        ("def f(a, key):\n    return a[key].price\n", "def f(a, key):\n    return a.get(key, 0).price\n"),
        "def g(self, name):\n    return self.by_name[name + 1].price\n",
        "def g(self, name):\n    return self.by_name.get(name + 1, 0).price\n",
    ),
    "a header, its body to the byte": (
        (LAST, LAST.replace("if values[i] > top", "if values[i] is not None and values[i] > top")),
        "def g(rows, j, low):\n    if rows[j] > low:\n        low  =  rows[j]  # kept\n    return low\n",
        (
            "def g(rows, j, low):\n    if rows[j] is not None and rows[j] > low:\n"
            "        low  =  rows[j]  # kept\n    return low\n"
        ),
    ),
    "a guard before a loop, with a name from the scope": (
        (LAST, LAST.replace("    top = 0\n", "    top = 0\n    if not known:\n        return None\n")),
        "def g(rows, given):\r\n\tlow = 0\r\n\tfor j in range(len(rows) - 1):\r\n\t\tlow = min(low, j)\r\n",
        (
            "def g(rows, given):\r\n\tlow = 0\r\n\tif not given:\r\n\t    return None\r\n"
            "\tfor j in range(len(rows) - 1):\r\n\t\tlow = min(low, j)\r\n"
        ),
    ),
    "statements by others": (
        (
            "def f(xs):\n    out = []\n    for x in xs:\n        out += x\n    return out\n",
            "def f(xs):\n    out = []\n    for x in xs:\n        out.append(x)\n    return out\n",
        ),
        "def g(rows):\n    kept = []\n    for row in rows:\n        kept += row  # one more\n    return kept\n",
        "def g(rows):\n    kept = []\n    for row in rows:\n        kept.append(row)\n    return kept\n",
    ),
}


@pytest.mark.parametrize("name", REPAIRS)
def test_what_one_repair_taught_repairs_the_like_under_other_names(name, tmp_path):
    (before, after), text, wanted = REPAIRS[name]
    edits = [pattern for pattern in learnt(before, after) if pattern.kind is PatternKind.EDIT]
    assert 1 <= len(edits) <= 2
    assert wanted in repaired(tmp_path, edits, text)


def test_a_statement_that_was_taken_away_is_known_by_its_neighbours(tmp_path):
    before, after = LAST.replace("    return top", "    top = 0\n    return top"), LAST
    edits = [pattern for pattern in learnt(before, after) if pattern.kind is PatternKind.EDIT]
    text = "def g(a):\n    n = 0\n    for j in range(len(a) - 1):\n        n += j\n    n = 0\n    return n\n"
    assert text.replace("    n = 0\n    return", "    return") in repaired(tmp_path, edits, text)


def test_a_hole_holds_the_same_wherever_it_stands(tmp_path):
    edits = learnt("def f(x):\n    return x - x[0]\n", "def f(x):\n    return x - x[-1]\n")
    edits = [pattern for pattern in edits if pattern.edit and pattern.edit.before.startswith("return")]
    assert repaired(tmp_path, edits, "def g(a, b):\n    return a - b[0]\n") == []
    assert repaired(tmp_path, edits, "def g(a, b):\n    return b - b[0]\n") != []


def test_a_hole_that_needs_parentheses_gets_them(tmp_path):
    edits = learnt("def f(x):\n    return str(x).strip(x)\n", "def f(x):\n    return x.strip(x)\n")
    text = "def g(a, b):\n    return str(a + b).strip(a + b)\n"
    assert "def g(a, b):\n    return (a + b).strip(a + b)\n" in repaired(tmp_path, edits, text)


def test_names_that_the_second_half_takes_from_its_file_must_be_there(tmp_path):
    before = "import math\n\n\ndef f(x):\n    return int(x / 2 + 1)\n"
    edits = learnt(before, before.replace("int(", "math.floor("))
    text = "def g(a):\n    return int(a / 2 + 1)\n"
    edits = [pattern for pattern in edits if pattern.kind is PatternKind.EDIT]
    assert repaired(tmp_path, edits, text) == []
    assert repaired(tmp_path, edits, "import math\n" + text) != []


def test_a_rewrite_teaches_no_edit():
    body = [f"    x{n} = {n}\n" for n in range(20)]
    before = "def f(a):\n" + "".join(body)
    after = "def f(a):\n" + "".join(line if n % 2 else line.replace("=", "+=") for n, line in enumerate(body))
    assert edit_patterns(before, after) == []


@pytest.mark.parametrize("odd", ["'$a'", "_hole_a_", "'''\n$b'''"])
def test_what_could_be_taken_for_a_hole_teaches_nothing(odd):
    assert edit_patterns(f"def f(x):\n    return g(x, {odd}) - 1\n", f"def f(x):\n    return g(x, {odd}) + 1\n") == []


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("$a", "$a + 1", "matches everything"),
        ("f($a)", "f($a)", "changes nothing"),
        ("f($a)", "f($b)", "without a kind"),
        ("f(", "f($a)", "was never closed"),
        ("f(_hole_a_)", "$a", "a name that holes are parsed as"),
        ("if $a:\n    ...", "while $a:\n    ...", "a body of its own"),
        ("if $a:\n    ...", "if $a:\n    return None", "the body that"),
        ("if $a:\n    ...", "if $a:\n    $a()", "the body that"),
        ("f(" + "(" * 300 + "$a" + ")" * 300 + ")", "$a", "nested"),
        ("f(" + "+".join(["$a"] * 500) + ")", "$a", "nodes"),
    ],
)
def test_templates_that_cannot_be_applied_are_refused(before, after, why):
    with pytest.raises(BadTemplate, match=why):
        compiled(EditPattern(before=before, after=after, holes={"a": HoleKind.EXPRESSION}))


def test_a_place_that_is_nested_too_deep_costs_only_itself(tmp_path):
    edit = EditPattern(before="f($a, $a)", after="len($a)", holes={"a": HoleKind.EXPRESSION})
    pattern = Pattern(id=pattern_id(edit), origin="x", kind=PatternKind.EDIT, edit=edit)
    deep = " + ".join(["x"] * 800)
    text = f"def d(x):\n    return f({deep}, {deep})\n\n\ndef k(x):\n    return f(x, x)\n"
    assert repaired(tmp_path, [pattern], text) == [text.replace("f(x, x)", "len(x)")]


def test_where_no_new_name_is_left_a_pattern_is_not_applied(tmp_path):
    edit = EditPattern(before="f($a)", after="[$b for $b in $a]", holes={"a": HoleKind.NAME, "b": HoleKind.NAME})
    pattern = Pattern(id=pattern_id(edit), origin="x", kind=PatternKind.EDIT, edit=edit)
    taken = ", ".join(f"item{number or ''}" for number in range(99))
    assert repaired(tmp_path, [pattern], f"def g(x):\n    {taken} = x\n    return f(x)\n") == []


def test_damaged_and_hostile_files_of_the_library_are_left_out_counted_and_named(tmp_path):
    good = learnt(LAST, LAST.replace("len(values) - 1", "len(values)"))
    directory = written(tmp_path, good)
    other = EditPattern(before="f($a)", after="$a", holes={"a": HoleKind.EXPRESSION})
    (directory / "claims.json").write_bytes(encode(Pattern(id="0" * 32, origin="x", kind=PatternKind.EDIT, edit=other)))
    wrong = Pattern(id=pattern_id(other), origin="x", kind=PatternKind.FUNCTION, edit=other)
    (directory / "kind.json").write_bytes(encode(wrong))
    (directory / "empty.json").write_bytes(b"")
    (directory / "deep.json").write_bytes(b"[" * 100_000)
    (directory / "huge.json").write_bytes(b'{"x":"' + b"x" * (1 << 20) + b'"}')
    (directory / "link.json").symlink_to("/etc/passwd")
    os.mkfifo(directory / "fifo.json")
    (directory / "directory.json").mkdir()
    (directory / ".staged.json").write_bytes(b"half")
    library = Library.read(directory, 100)
    bad = {"claims", "kind", "empty", "deep", "huge", "link", "fifo", "directory"}
    assert set(library.skipped) == {f"{name}.json" for name in bad}
    assert library.told.startswith("8 patterns left out: ")
    assert len(library.edits) + len(library.functions) == len(good)


def test_of_too_many_files_only_the_first_are_read(tmp_path):
    directory = written(tmp_path, learnt(LAST, LAST.replace("len(values) - 1", "len(values)")))
    library = Library.read(directory, 2)
    assert library.skipped == {"1 more": "only 2 are read"}


def test_a_missing_library_is_empty(tmp_path):
    library = Library.read(tmp_path / "none", 100)
    assert (library.edits, library.functions, library.told) == ([], [], "")


def test_a_pattern_survives_the_wire_and_the_same_content_has_the_same_id():
    one, two = (learnt(LAST, LAST.replace("len(values) - 1", "len(values)")) for _ in range(2))
    assert [decode(encode(pattern), Pattern) for pattern in one] == two
    assert one[0].told == f"spec-7:{one[0].id}"


HELPED = '''"""Doc."""
import math, os
from collections import deque as dq
LIMIT = 3


def half(x):
    return math.floor(x / LIMIT)


def f(xs):
    """Say."""
    return dq(half(x) for x in xs)
'''


def test_a_function_is_taken_with_its_imports_and_helpers_called_ones_first():
    found = function_pattern(HELPED, "f")
    assert found.imports == ["from collections import deque as dq", "import math"]
    assert [text.splitlines()[0] for text in found.helpers] == ["LIMIT = 3", "def half(x):"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("count", "taken"), [(10, True), (14, False)])
def test_functions_that_all_call_each_other_are_each_looked_at_once(count, taken):
    called = ", ".join(f"f{n}(x)" for n in range(count))
    text = "".join(f"def f{n}(x):\n    return {called}\n\n\n" for n in range(count))
    found = function_pattern(text, "f0")
    assert (found is not None) == taken
    assert not found or len(found.helpers) == count - 1


@pytest.mark.parametrize("odd", ["\x0b", "\x1c", "\x85", "\u2028", "\f"])
def test_only_what_ends_a_line_of_python_ends_one_here(odd):
    function = f"def f(x):\n    return '{odd}'\n" if odd != "\f" else "def f(x):\n    return 1\n"
    for end in ("\n", "\r\n", "\r"):
        text = f"#{odd}\nA = 1\n\n\n{function}".replace("\n", end)
        assert function_pattern(text, "f").source == function


def test_code_that_is_nested_too_deep_teaches_nothing_and_ends_nothing():
    before, after = ("def f(x):\n    return x" + f" + {n}" * 900 + "\n" for n in (1, 2))
    assert learnt(before, after) == []


@pytest.mark.parametrize("needs", ["from . import y", "import numpy as y", "from os.path import *", "y: int = 3"])
def test_a_function_that_needs_what_cannot_come_along_is_no_pattern(needs):
    assert function_pattern(f"{needs}\n\n\ndef f(x):\n    return y(x)\n", "f") is None
