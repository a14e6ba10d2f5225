"""Edits of expressions: what each template proposes for the types that the runs have seen, and what it does not."""

import ast

import pytest

from repairlab.repair.candidates import generate
from repairlab.repair.literals import project_of
from repairlab.trial.server.coverage import note_type
from repairlab.trial.source import UNPARSABLE, Source

# name: (before, after, types of the locals)
REPAIRS = {
    "comparison_and_bound": ("return a == 0", "return a <= 1", {"a": "int"}),
    "link_dropped": ("return 0 < a < b", "return a < b", {}),
    "chained": ("return a < b", "return 0 <= a < b", {"a": "int"}),
    "none_check": ("if a:\n        return b", "if a is not None:\n        return b", {}),
    "none_check_negated": ("return not a", "return a is None", {}),
    "truth_for_none_check": ("return a is None", "return not a", {}),
    "regrouped_left": ("return a and b or c", "return a and (b or c)", {}),
    "regrouped_right": ("return a or b and c", "return (a or b) and c", {}),
    "negation_widened": ("return not a and b", "return not (a and b)", {}),
    "negation_narrowed": ("return not (a and b)", "return not a and b", {}),
    "sign_dropped": ("return -a", "return a", {}),
    "power_regrouped": ("return (-1) ** 2 * a", "return (-1) ** a", {}),
    "bounded_by_target": ("c = a + b", "c = max(c, a + b)", {"a": "int", "b": "int"}),
    "bounded_by_zero": ("c = a + b", "c = max(0, a + b)", {"a": "int", "b": "int"}),
    "brackets_added": ("return []", "return [[]]", {}),
    "brackets_taken_away": ("return [a]", "return a", {}),
    "brackets_in_sum": ("return a + b", "return a + [b]", {"a": "list"}),
    "star_added": ("return max(a)", "return max(*a)", {"a": "list"}),
    "attribute_added": ("c = a.name\n    return b", "c = a.name\n    return b.name", {"a": "Box", "b": "Box"}),
    "attribute_dropped": ("return a.name", "return a", {}),
    "index_added": ("return a", "return a[0]", {"a": "list"}),
    "key_added": ("return a", "return a[b]", {"a": "dict", "b": "str"}),
    "index_dropped": ("return a[b]", "return a", {}),
    "whole_for_element": ("return a[b]", "return sum(a)", {"a": "list"}),
    "rounded_up": ("return a // b", "return -(-a // b)", {}),
    "integer_division": ("return int(a / b)", "return a // b", {}),
    "copy": ("c = a.items\n    return c", "c = list(a.items)\n    return c", {"a": "Box", "a.items": "list"}),
    "copy_of_elements": ("return a", "return [list(item) for item in a]", {"a": "list", "a[]": "list"}),
    "a_list_each": ("return [[0] * a] * b", "return [[0] * a for _ in range(b)]", {}),
    "a_list_each_key": ("return dict.fromkeys(a, [])", "return {key: [] for key in a}", {}),
    "empty_set": ("c = []\n    return c", "c = set()\n    return c", {}),
    "lowest": ("c = 0\n    return c", "c = float('-inf')\n    return c", {}),
    "first_element": ("c = 0\n    return c", "c = a[0]\n    return c", {"a": "list"}),
    "negative_number": ("return -2 + a", "return -1 + a", {}),
    "digits": ("return a + 42", "return a + 24", {}),
    "constant_type": ("return a + '7'", "return a + 7", {}),
    "element_added": ("return a in (1, 2, b)", "return a in (1, 2, b, c)", {}),
    "f_string": ("return f'{a} : {b}'", "return f'{a}: {b}'", {}),
    "names_in_condition": ("if a < b + c:\n        return c", "if b < a + c:\n        return c", {}),
    "indices_exchanged": ("return a[b][c]", "return a[c][b]", {}),
    "targets_exchanged": ("b = 1\n    c = a\n    return b", "c = 1\n    b = a\n    return b", {}),
    "text_between": ("c = a + b", "c = a + '.' + b", {"a": "str", "b": "str"}),
    "list_in_front": ("c = [b for b in a]", "c = a + [b for b in a]", {"a": "list"}),
    "distant_arguments": ("return max(a, b, c)", "return max(c, b, a)", {}),
    "keyword_dropped": ("return print(a, end=b)", "return print(a)", {}),
    "optional_argument": ("return enumerate(a)", "return enumerate(a, 1)", {}),
    "missing_argument": ("return f(a, b)", "return f(a, b, c)", {}),
    "receiver": ("return a.startswith(b)", "return b.startswith(a)", {}),
    "keyword_used": ("return f(1, a=b)", "return f(1, c=b)", {}),
    "yield_from": ("yield a", "yield from a", {}),
    "yield_for_return": ("yield a\n    return b", "yield a\n    yield b", {}),
    "exception_of_the_tests": ("raise ValueError(a)", "raise BoxError(a)", {}),
    "exceptions_caught": ("try:\n        a()\n    except KeyError:\n        b()",
                          "try:\n        a()\n    except (KeyError, ValueError):\n        b()", {}),
    "word_of_a_docstring": ("return a == 'Jupyter'", "return a == 'Jupiter'", {}),
    "text_of_a_test": ("return a == 'no results'", "return a == 'no result: x'", {}),
    "digit_missing": ("return a in '012345679'", "return a in '0123456789'", {}),
    "argument_of_a_like_call": ("c = g(a, a[1])\n    return g(b)", "c = g(a, a[1])\n    return g(b, a[1])", {}),
    "keyword_of_a_like_call": ("c = g(a, k=0)\n    return g(b)", "c = g(a, k=0)\n    return g(b, k=0)", {}),
    "needed_argument": ("return isinstance(a)", "return isinstance(a, str)", {}),
    "call_as_elsewhere": ("c = m.g(a)\n    return b", "c = m.g(a)\n    return m.g(b)", {}),
    "method_as_elsewhere": ("c = a.g()\n    return b", "c = a.g()\n    return b.g()", {}),
    "literal_as_elsewhere": ("a.x = 'k'\n    return a.x == 'l'", "a.x = 'l'\n    return a.x == 'l'", {}),
    "unpacking_exchanged": ("b, a = a\n    return a", "a, b = a\n    return a", {}),
}  # fmt: skip


TESTS = b'''\
"""Far beyond Mars there is Jupiter, which holds more than all the others. It shows 'no result: x' when asked."""
import pytest

def test_box():
    with pytest.raises(BoxError):
        f(1, 2)
'''


def function(body):
    return f"def f(a, b, c=None):\n    {body}\n"


def proposed(text, types, files=None):
    source = Source.decode("m.py", text.encode())
    known = {("m.py", 1, name): kind for name, kind in types.items()}
    suspicion = {("m.py", line): 1.0 for line in range(1, len(source.starts) + 1)}
    project = project_of({"m.py": text.encode(), **(files or {})}, {"m.py": source}, known, 1)
    return [source.edited(change.edits) for change in generate({"m.py": source}, suspicion, project)]


def dumped(text):
    try:
        return ast.dump(ast.parse(text))
    except UNPARSABLE:
        return ""


@pytest.mark.parametrize("name", REPAIRS)
def test_template_proposes_the_repair(name):
    before, after, types = REPAIRS[name]
    wanted = dumped(function(after))
    assert any(dumped(text) == wanted for text in proposed(function(before), types, {"test_m.py": TESTS}))


def test_what_types_forbid_is_not_proposed():
    texts = proposed(function("return a + b"), {"a": "str", "b": "str"})
    assert function("return b + a") in texts
    assert not [text for text in texts if " - " in text or "//" in text or "max(0" in text]
    assert function("return a in b") not in proposed(function("return a == b"), {"a": "int", "b": "int"})


def test_types_follow_from_what_the_runs_saw():
    text = function("c = len(a) + 1\n    d = a[0].split()\n    return a[0] + a[b:][0]")
    texts = proposed(text, {"a": "list", "a[]": "str", "b": "int"})
    assert not [text for text in texts if "abs(a[0])" in text or "abs(a[b:]" in text]
    assert [text for text in texts if "abs(len(a) + 1)" in text]


class Unruly(list):
    """A bundle's class that minds being looked at."""

    def __iter__(self):
        raise RuntimeError

    __bool__ = __len__ = __getattribute__ = __iter__


class Slotted:
    __slots__ = ("width",)


class Held:
    def __init__(self):
        self.size, self.items = 1, Unruly()

    def __getattr__(self, name):
        raise RuntimeError


class Forged:
    @property
    def __dict__(self):
        raise RuntimeError


def test_types_are_noted_without_asking_the_bundles_own_classes():
    types = {}
    values = {"a": Unruly([1]), "b": [Unruly()], "c": {"x": 1.0}, "d": Held(), "e": Slotted(), "f": Forged(), "g": None}
    for name, value in values.items():
        note_type(types, ("m.py", 1), name, value)
    note_type(types, ("m.py", 1), "g", "")
    note_type(types, ("m.py", 1), "return", None)
    seen = {name: kind for (_, _, name), kind in types.items()}
    assert seen == {
        "a": "Unruly", "b": "list", "b[]": "Unruly", "c": "dict", "c[]": "str", "c{}": "float", "d": "Held",
        "d.size": "int", "d.items": "Unruly", "e": "Slotted", "f": "Forged", "g": "str",
    }  # fmt: skip


def test_await_is_added_in_coroutines_alone():
    texts = proposed("async def f(a):\n    return a()\n", {})
    assert "async def f(a):\n    return await a()\n" in texts
    assert not [text for text in proposed(function("return a()"), {}) if "await" in text]


def test_pools_are_bounded_and_read_without_running_or_trusting_anything():
    files = {
        "test_a.py": b"x = '\\d'\nraise SystemExit",
        "test_b.py": b"def (",
        "test_c.py": b"\xff\0",
        "d.py": b"(" * 9999,
    }
    files["test_e.py"] = b"\n".join(b"x = %d, 'word%d'" % (n, n) for n in range(2000))
    pools = project_of(files, {}, {}, 1)
    assert len(pools.strings) == len(pools.numbers) == 200
    assert len(pools.words) <= 600
    assert r"\d" in project_of({"test_a.py": files["test_a.py"]}, {}, {}, 1).short_strings


def test_attributes_of_self_come_from_the_class_and_methods_where_one_is_called():
    text = "class A:\n    def f(self):\n        self.size = self.g()\n    def g(self):\n        return self.f\n"
    texts = proposed(text, {})
    assert text.replace("self.f", "self.size") in texts
    assert text.replace("self.g()", "self.f()") in texts
