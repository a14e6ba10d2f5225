"""What is missing altogether (an argument, a statement, an else) is proposed, and early where a trace of it is left."""

import ast

import pytest

from repairlab.repair.candidates import generate
from repairlab.repair.literals import project_of
from repairlab.trial.source import Source

ARGUMENTS = {
    "parameter_of_the_same_name": (
        ("def area(width, height):\n    return width * height\n\ndef f(width, height):\n    print(height)\n"
        "    return area(width)\n"),
        "area(width)\n", "area(width, height)\n"),
    "what_another_call_gives": (
        ("import os\n\ndef g(a):\n    return os.path.relpath(a, os.curdir)\n\ndef f(a, b, c):\n    b = c\n"
        "    return os.path.relpath(b) + a\n"),
        "relpath(b)", "relpath(b, os.curdir)"),
    "what_nothing_reads": ("import m\n\ndef f(a, b, c):\n    print(a)\n    return m.join(a, c)\n",
        "join(a, c)", "join(a, c, b)"),
    "bound_by_the_same_unpacking": (
        ("def put(key, other):\n    return key\n\ndef f(a, b, c):\n    for k, v in a:\n"
        "        b = v + c\n        put(k)\n"),
        "put(k)", "put(k, v)"),
    "keyword_of_the_same_name": (
        ("def show(text, *, width=80):\n    return text[:width]\n\ndef f(text, width):\n    print(width)\n"
        "    return show(text)\n"),
        "show(text)\n", "show(text, width=width)\n"),
    "keywords_passed_on": ("import m\n\ndef f(a, **options):\n    return m.make(a)\n",
        "make(a)", "make(a, **options)"),
    "attribute_that_nothing_reads": (
        ("class C:\n    def __init__(self, rest):\n        self.rest = rest\n\n    def f(self, a, key):\n"
        "        return a.get(key)\n"),
        "get(key)", "get(key, self.rest)"),
    "before_keywords": ("def put(a, b, c=1):\n    return a\n\ndef f(a, b):\n    print(b)\n    return put(a, c=2)\n",
        "put(a, c=2)", "put(a, b, c=2)"),
}  # fmt: skip
STATEMENTS = {
    "bound_elsewhere_in_the_file": (
        ("def g(pos):\n    parent = (pos - 1) >> 1\n    return parent\n\n"
        "def f(a, pos):\n    parent = (pos - 1) >> 1\n    return a[parent]\n"),
        "    parent = (pos - 1) >> 1\n    return a", "    return a"),
    "bound_elsewhere_from_another_name": (
        "def g(data):\n    it = iter(data)\n    return it\n\ndef f(rows):\n    it = iter(rows)\n    return list(it)\n",
        "    it = iter(rows)\n", ""),
    "sibling_with_another_letter": (
        "def f(a, b):\n    na, da = a.top, a.bottom\n    nb, db = b.top, b.bottom\n    return na * db, nb * da\n",
        "    nb, db = b.top, b.bottom\n", ""),
    "first_value_by_its_use": (
        "def f(a):\n    found = []\n    for b in a:\n        found.append(b)\n    return found\n",
        "    found = []\n", ""),
    "first_value_of_what_is_bound_later": (
        "def f(a):\n    total = 0\n    for b in a:\n        total = total + b\n    return total\n",
        "    total = 0\n", ""),
    "parameter_kept": (
        ("class C:\n    def __init__(self, left, right):\n        self.left = left\n        self.right = right\n\n"
        "    def f(self):\n        return self.left + self.right\n"),
        "        self.right = right\n", ""),
    "method_that_nothing_calls": (
        ("class C:\n    def _clean(self, text):\n        return text.strip()\n\n    def f(self, text):\n"
        "        text = self._clean(text)\n        return text.split()\n"),
        "        text = self._clean(text)\n", ""),
    "as_the_neighbour_elsewhere": (
        ("def g(log, x):\n    log.open(x)\n    log.lock()\n    return x\n\n"
        "def h(log, y):\n    log.open(y)\n    log.lock()\n    return y\n\n"
        "def f(trail, z):\n    trail.open(z)\n    trail.lock()\n    return z\n"),
        "    trail.lock()\n", ""),
}  # fmt: skip
BRANCHES = {
    "value_that_nothing_reads": (
        "def f(a, b):\n    if a:\n        c = ''\n    else:\n        c = b\n    return c\n",
        "    else:\n        c = b\n", ""),
    "part_of_the_other_value": (
        "def f(a, b):\n    if a:\n        c = str(b)\n    else:\n        c = b\n    return c, b\n",
        "    else:\n        c = b\n", ""),
    "sibling_of_the_other_value": (
        ("DAY_NAME, DAY_ABBR = [1], [2]\n\ndef f(a):\n    if a > 3:\n        c = DAY_NAME\n    else:\n"
        "        c = DAY_ABBR\n    return c\n"),
        "    else:\n        c = DAY_ABBR\n", ""),
    "another_result": (
        "def f(a, one, two):\n    if a:\n        return one\n    else:\n        return two\n",
        "    else:\n        return two\n", ""),
    "pass_for_a_statement": (
        "def f(a, b):\n    if a:\n        c = None\n    else:\n        c = b\n    return c\n",
        "        c = b\n", "        pass\n"),
}  # fmt: skip
EARLY = 60  # candidates


def rank(before, after):
    """The place of `after` among the candidates for `before`, all lines of the last function being suspicious."""
    source = Source.decode("m.py", before.encode())
    last = max(source.definitions(), key=lambda node: node.lineno)
    owner = source.parents.get(last)
    first = owner.lineno if isinstance(owner, ast.ClassDef) else last.lineno
    suspicion = {("m.py", line): 1.0 for line in range(first, (last.end_lineno or 0) + 1)}
    found = generate({"m.py": source}, suspicion, project_of({"m.py": before.encode()}, {"m.py": source}, {}, 1))
    wanted = ast.dump(ast.parse(after))
    return next((at for at, change in enumerate(found, 1) if dumped(source, change) == wanted), None)


def dumped(source, change):
    try:
        return ast.dump(ast.parse(source.edited(change.edits)))
    except SyntaxError:
        return ""


def assert_early(before, after):
    found = rank(before, after)
    assert found is not None
    assert found <= EARLY


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_missing_argument_is_among_the_first_candidates(name):
    before, old, new = ARGUMENTS[name]
    assert before.count(old) == 1
    assert_early(before, before.replace(old, new))


@pytest.mark.parametrize("name", [*STATEMENTS, *BRANCHES])
def test_a_missing_statement_or_branch_is_among_the_first_candidates(name):
    after, kept, left = (STATEMENTS | BRANCHES)[name]
    assert after.count(kept) == 1
    assert_early(after.replace(kept, left), after)


def notes(text):
    source = Source.decode("m.py", text.encode())
    suspicion = {("m.py", line): 1.0 for line in range(1, len(source.starts) + 1)}
    return list(generate({"m.py": source}, suspicion, project_of({}, {"m.py": source}, {}, 1)))


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    import json\nexcept ImportError:\n    json = None\n\ndef f(a):\n    return json.loads(a)\n",
        "def f(a):\n    return [b for b in a if b]\n",
        "def f(a):\n    def g():\n        return c\n    c = a\n    return g()\n",
        "def f(a):\n    global made\n    made = a\n\ndef g():\n    return made\n",
        "def f(a):\n    try:\n        return a.b\n    except KeyError as error:\n        return error\n",
        "def f(a):\n    for b in a:\n        c = b\n        print(c)\n    return __name__\n",
        "class C:\n    def f(self):\n        return __class__\n",
    ],
)
def test_no_value_is_proposed_for_a_name_that_has_one(text):
    assert "name bound" not in {change.note for change in notes(text)}


def test_an_argument_is_likelier_where_a_failing_test_died_of_a_type_error():
    text = "import m\n\ndef f(a, b):\n    a = m.g(b)\n    a = m.g(b)\n    return a\n"
    source, lines = Source.decode("m.py", text.encode()), {("m.py", 4): 1.0, ("m.py", 5): 1.0}
    project = project_of({}, {"m.py": source}, {}, 1)
    project.raised = {("m.py", 5): "TypeError"}
    found = [c for c in generate({"m.py": source}, lines, project) if c.note == "argument added"]
    best = {line: max(c.score for c in found if c.line[1] == line) for line in (4, 5)}
    assert best[5] > best[4]
