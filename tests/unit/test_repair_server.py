"""The parts of the program in the sandbox that need no sandbox: swapping code, and putting back what a call left."""

import errno
import os
import resource
import sys
import types
from pathlib import Path

import pytest

from repairlab.trial import server


@pytest.fixture(scope="module")
def parts():
    module = types.ModuleType("parts")
    for name in server.PARTS:
        path = Path(server.__file__).with_name(f"{name}.py")
        exec(compile(path.read_text(), path.name, "exec"), module.__dict__)
    return module


CODE = """\
import functools
SIZE = 3

@functools.lru_cache
def cached(x):
    return x + SIZE

class Box:
    top = SIZE + 1
    def get(self, x=1):
        inner = lambda y: y * x
        return inner(self.top)
    @property
    def size(self):
        return len("abc")
    def __hidden(self):
        return 1
    class Inner:
        def seen(self):
            return self.__own()
        def __own(self):
            return 1
class Big(Box):
    def get(self, x=1):
        return super().get(x) + self._Box__hidden()

def outer(x, *, k=2):
    def nested(y):
        return x + y + k
    return nested(1)
"""


def live(parts, tmp_path, text=CODE):
    path = str(tmp_path / "live.py")
    module = types.ModuleType("live")
    exec(compile(text, path, "exec"), module.__dict__)
    file = parts.LiveFile(path, text)
    parts.index_functions({path: file})
    return module, file


def swapped(parts, tmp_path, old, new, text=CODE):
    module, file = live(parts, tmp_path, text)
    at = text.index(old)
    swaps = [(file, *pair) for pair in file.pairs([(at, at + len(old), new)])]
    return module, parts.put(swaps, [])


IMPORTING = """
import math
try:
    import operator as op
except ImportError:
    op = None
from os import path

def both(x):
    return op.add(math.floor(x), len(path.join("a", "b")))
"""


def test_functions_that_call_what_a_module_imports_are_swapped_alive(parts, tmp_path):
    # `math.floor()` is other code where the compiler sees the import: compiled alone, the function would not be found.
    module, count = swapped(parts, tmp_path, "op.add", "op.sub", IMPORTING)
    assert count == 1
    assert module.both(7.5) == 4


@pytest.mark.parametrize(
    ("old", "new", "probe", "value"),
    [
        ("x + SIZE", "x - SIZE", "cached(5)", 2),
        ("y * x", "y + x", "Box().get(1)", 5),
        ('len("abc")', "0", "Box().size", 0),
        ("super().get(x)", "super().get(x + 1)", "Big().get(1)", 9),
        ("self.__own()", "-self.__own()", "Box.Inner().seen()", -1),
        ("return 1", "return 2", "Big().get(1)", 6),
        ("x + y + k", "x - y", "outer(5)", 4),
        ("    return nested(1)\n", "    if x:\n        return 0\n    return nested(1)\n", "outer(5)", 0),
    ],
)  # fmt: skip
def test_live_functions_behave_as_a_fresh_import_of_the_change(parts, tmp_path, old, new, probe, value):
    module, count = swapped(parts, tmp_path, old, new)
    assert count > 0
    assert eval(probe, module.__dict__) == value
    fresh = types.ModuleType("fresh")
    exec(CODE.replace(old, new, 1), fresh.__dict__)
    assert eval(probe, fresh.__dict__) == value


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SIZE = 3", "SIZE = 4"), ("SIZE + 1", "SIZE + 2"), ("x=1", "x=2"), ("k=2", "k=3"),
        ("@functools.lru_cache\n", ""), ("@property\n    ", ""),
    ],
)  # fmt: skip
def test_what_swapping_cannot_show_needs_a_fresh_import(parts, tmp_path, old, new):
    with pytest.raises(parts.NeedsFresh):
        swapped(parts, tmp_path, old, new)


def test_a_function_that_ran_during_collection_needs_a_fresh_import(parts, tmp_path):
    module, file = live(parts, tmp_path)
    file.ran.add(("outer", module.outer.__code__.co_firstlineno))
    at = CODE.index("nested(1)")
    with pytest.raises(parts.NeedsFresh):
        file.pairs([(at, at + 9, "0")])


@pytest.mark.parametrize(("old", "new"), [("x + SIZE", "(x  +  SIZE)"), ("y * x", "y * x  # as before")])
def test_a_change_that_compiles_to_the_code_that_is_there_swaps_nothing(parts, tmp_path, old, new):
    assert swapped(parts, tmp_path, old, new)[1] == 0


def test_two_texts_of_one_meaning_have_one_digest_and_two_meanings_two(parts, tmp_path):
    _, file = live(parts, tmp_path)
    at = CODE.index("x + y + k")
    digests = [file.pairs([(at, at + 9, new)])[0][2] for new in ("x + y - k", "( x + y )\\\n - k", "x + y - (-k)")]
    assert digests[0] == digests[1] != digests[2]


def test_of_two_equal_functions_on_one_line_neither_is_taken_for_the_other(parts, tmp_path):
    text = "def pair():\n    return [lambda x: x, lambda x: x]\nfirst, second = pair()\n"
    path = str(tmp_path / "live.py")
    module, file = live(parts, tmp_path, text)
    at = text.index("x: x") + 3
    with pytest.raises(parts.NeedsFresh):
        file.pairs([(at, at + 1, "-x")])
    assert (path, module.first(1)) == (file.path, 1)


def test_lines_end_as_python_ends_them(parts):
    assert parts.line_starts("a\r\nb\rc\n\fd\u2028e") == [0, 3, 5, 7]


CLOSED = """
def outer():
    count, seen = 0, []
    def f():
        nonlocal count
        count += 1
        seen.append(count)
    return f
f = outer()
def look():
    return [cell.cell_contents for cell in f.__closure__]
"""
SLOTTED = "class S:\n    __slots__ = ('a', 'b')\n    def __init__(self):\n        self.a = []\ns = S()\n"
COLLECTED = """
import collections as c
o, n, d, q = c.OrderedDict(a=1, b=2), c.Counter('ab'), c.defaultdict(list), c.deque([1], 2)
"""
ENUM = "import enum\nclass E(enum.Enum):\n    A = 1\nclass I(enum.IntEnum):\n    B = 2\n"
FAULT = "import contextlib as c\ne = ValueError('a', [])\n"
FAULT += "def f():\n    with c.suppress(ValueError):\n        raise e from KeyError()\n"
DATA = "import dataclasses as d\n@d.dataclass\nclass P:\n    x: list = d.field(default_factory=list)\np = P()\n"

KEPT = {
    "a_list_of_lists": ("a = [[1], 2]\n", "a[0].append(3); a.clear()", "a"),
    "a_dict": ("d = {'x': {}}\n", "d['x'][1] = 2; d['y'] = 3; del d['x']", "d"),
    "a_global": ("n = 0\ndef f():\n    global n, m\n    n = m = 1\n", "f()", "n, 'm' in globals()"),
    "a_default": ("def f(x, y=[], *, z={}):\n    y.append(x); z[x] = 1\n", "f(1)", "f.__defaults__, f.__kwdefaults__"),
    "a_cache": ("import functools\n@functools.lru_cache\ndef f(x):\n    return x\n", "f(1)", "f.cache_info().currsize"),
    "class_attributes": ("class K:\n    n, s = 0, {}\n", "K.n = 1; K.s[1] = 2; K.m = 3", "K.n, K.s, hasattr(K, 'm')"),
    "an_object": ("class K: ...\nk = K()\nk.x = [1]\n", "k.x.append(2); k.y = 1", "vars(k)"),
    "slots": (SLOTTED, "s.a.append(1); s.b = 2", "s.a, hasattr(s, 'b')"),
    "a_closure": (CLOSED, "f(); f()", "look()"),
    "attributes_of_a_function": ("def f(): ...\nf.seen = []\n", "f.seen.append(1)", "f.seen"),
    "a_function_without_attributes": ("def f(): ...\n", "f.memo = {}", "vars(f)"),
    "collections": (COLLECTED, "o.move_to_end('a'); n['z'] += 1; d[3].append(1); q.append(2)", "list(o), n, d, q"),
    "a_bound_method": ("a = []\nadd = a.append\ndel a\n", "add(1)", "add.__self__"),
    "members_of_an_enum": (ENUM, "E.A.note = 1; I.B.note = 2", "vars(E.A), vars(I.B)"),
    "a_dataclass": (DATA, "p.x.append(1)", "p"),
    "random_numbers": ("import random\n", "random.random()", "random.getstate()"),
    "another_generator_of_random_numbers": ("import random\nr = random.Random(3)\n", "r.random()", "r.getstate()"),
    "what_a_property_of_ones_own_keeps": (
        "class P(property):\n    pass\nclass K:\n    p = P(lambda self: 1)\nvars(K)['p'].seen = [1]\n",
        "vars(K)['p'].seen.append(2)",
        "vars(K)['p'].seen",
    ),
    "what_a_partial_of_ones_own_keeps": (
        "import functools\nclass P(functools.partial):\n    pass\np = P(sorted, key=None)\n",
        "p.keywords['reverse'] = True",
        "p.keywords",
    ),
    "what_a_getter_was_made_with": (
        "import operator\nclass K:\n    x = 0\ng = operator.methodcaller('f', K())\n",
        "g.__reduce__()[1][1].x = 1",
        "g.__reduce__()[1][1].x",
    ),
    "how_decimal_numbers_are_reckoned": (
        "from decimal import Decimal, DivisionByZero, getcontext\n",
        "getcontext().prec = 3; getcontext().traps[DivisionByZero] = False; Decimal(1) / 3",
        "getcontext()",
    ),
    "another_context_of_decimal_numbers": (
        "import decimal\n",
        "decimal.setcontext(decimal.Context(prec=5))",
        "decimal.getcontext()",
    ),
    "the_thread's_own": ("import threading\nt = threading.local()\nt.x = [1]\n", "t.x.append(2); t.y = 1", "vars(t)"),
    "a_time_zone_of_ones_own": (
        "import datetime\nclass Z(datetime.tzinfo):\n    pass\nz = Z()\nz.x = 1\n", "z.x = 2", "vars(z)"
    ),
    "an_exception": (
        FAULT,
        "f(); e.args[1].append(1); e.args = 'b'",
        "e.args, e.__traceback__, e.__cause__, e.__suppress_context__",
    ),
    "a_set_and_bytes": ("s, b = {1, 2}, bytearray(b'ab')\n", "s.add(3); s.discard(1); b.extend(b'c')", "s, b"),
}  # fmt: skip


def kept(text):
    module = types.ModuleType("kept")
    exec(text, module.__dict__)
    return module


@pytest.mark.parametrize("name", KEPT)
def test_what_a_call_changed_is_put_back(parts, monkeypatch, name):
    text, call, look = KEPT[name]
    module = kept(text)
    monkeypatch.setitem(sys.modules, "kept", module)
    state = parts.State([module], [])
    before = repr(eval(look, module.__dict__))
    exec(call, module.__dict__)
    assert repr(eval(look, module.__dict__)) != before
    assert state.sound
    assert state.restored()
    assert repr(eval(look, module.__dict__)) == before


def test_what_a_test_is_given_is_put_back_too(parts):
    given = [3, 1, 2]
    state = parts.State([], [given])
    given.sort()
    assert state.restored()
    assert given == [3, 1, 2]


@pytest.mark.parametrize(
    "text",
    [
        "import itertools\nids = itertools.cycle('ab')\n",
        "import itertools, fractions\nids = itertools.count(fractions.Fraction(1, 2))\n",
        "import operator\nc = operator.methodcaller('f', a=[])\n",
        "import zlib\nz = zlib.compressobj()\n",
        "import sqlite3\nclass C(sqlite3.Connection):\n    pass\nc = C.__new__(C)\n",
        "def g():\n    yield 1\nit = g()\n",
        "f = open('/dev/null')\n",
        "a = [[n] for n in range(9000)]\n",
        "import array\na = array.array('i', [1])\n",
    ],
)
def test_what_cannot_be_seen_or_is_too_much_makes_no_sound_state(parts, text):
    module = kept(text)
    assert not parts.State([module], []).sound
    if "f" in vars(module):
        module.f.close()


def test_looking_at_state_runs_no_code_of_the_bundle(parts):
    text = "class K(dict):\n    __eq__ = __iter__ = __len__ = None\n"
    text += "    def __getattribute__(self, name): raise SystemExit\n"
    module = kept(text + "    def __getattr__(self, name): raise SystemExit\nk = K()\n")
    state = parts.State([module], [module.k])
    dict.__setitem__(module.k, 1, 2)
    assert state.sound
    assert state.restored()
    assert dict.__len__(module.k) == 0


def test_a_full_cache_that_was_there_before_cannot_be_put_back(parts):
    module = kept("import functools\n@functools.lru_cache\ndef f(x):\n    return x\nf(1)\n")
    state = parts.State([module], [])
    assert state.restored()
    module.f(2)
    assert not state.restored()


def test_a_counter_that_has_gone_on_cannot_be_put_back(parts):
    module = kept("import itertools\nids = itertools.count(1)\n")
    state = parts.State([module], [])
    assert state.sound
    assert state.restored()
    next(module.ids)
    assert not state.restored()


@pytest.mark.parametrize("keep", ["{K(): 1}", "collections.OrderedDict({K(): 1})", "{K()}"])
def test_what_no_longer_says_its_hash_cannot_be_put_back(parts, keep):
    text = "import collections\nclosed = []\nclass K:\n    def __hash__(self):\n"
    text += "        if closed: raise RuntimeError('closed')\n        return 1\n"
    module = kept(f"{text}kept = {keep}\n")
    state = parts.State([], [module.kept])
    assert state.sound
    module.kept.clear()
    module.closed.append(1)
    assert not state.restored()


def test_a_change_that_does_not_compile_is_a_syntax_error(parts, tmp_path):
    with pytest.raises(SyntaxError):
        swapped(parts, tmp_path, "return nested(1)", "return nested(1")


RENAMED = """
def less(a, b=1, *, by=0):
    return a - b - by
"""


@pytest.mark.parametrize(
    ("old", "new", "call"),
    [
        ("a, b=1, *, by=0):\n    return a - b", "b, a=1, *, by=0):\n    return a - b", {"b": 5}),
        ("a, b=1, *, by=0):\n    return a", "x, b=1, *, by=0):\n    return x", {"x": 5}),
    ],
)
def test_parameters_take_other_names_alive_and_their_defaults_stay(parts, tmp_path, old, new, call):
    module, count = swapped(parts, tmp_path, old, new, RENAMED)
    space = {}
    exec(RENAMED.replace(old, new), space)
    assert count == 1
    assert module.less(**call) == space["less"](**call)
    with pytest.raises(parts.NeedsFresh):
        swapped(parts, tmp_path, "by", "to", RENAMED)


def test_a_fork_for_which_there_is_no_room_keeps_no_descriptors(parts, monkeypatch):
    def refused():
        raise BlockingIOError(errno.EAGAIN, "no room")

    monkeypatch.setattr(parts, "_fork", refused)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(BlockingIOError):
        parts.Fork(lambda _end: None)
    assert os.listdir("/proc/self/fd") == before


def test_patches_are_sampled_where_the_hard_limit_of_memory_is_below_their_room(parts):
    def body(write_end):
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + parts.SAMPLE_ROOM // 2,) * 2)
        parts.sample_body([], 0, [], 0.1)(write_end)

    fork = parts.Fork(body)
    said = os.read(fork.read_end, 999)  # waits for it
    fork.end(strays=False)
    assert said == fork.last
