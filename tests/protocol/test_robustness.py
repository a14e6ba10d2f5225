"""On inputs near those of the tests a patch is held against that raises where the code before it did not."""

import shutil

import pytest

from repairlab import config
from repairlab.evaluate.robustness import edits_of, robustness
from repairlab.sandbox import SandboxLimits, open_sandbox
from repairlab.sandbox.tree import BundleLimits
from repairlab.trial.bundle import Bundle
from repairlab.trial.validation import Setup

SOURCE = """\
class Basket:
    kept = 3

    def __init__(self, prices):
        self.prices = prices

    def dearest(self, count):
        return sorted(self.prices)[-count:]

    @classmethod
    def most(cls, count):
        return min(cls.kept, count)

    @staticmethod
    def rounded(price):
        return round(price, 1)


def cheapest(prices):
    return min(prices, default=0)


LIMIT = 3
"""
TESTS = """\
from mod import LIMIT, Basket, cheapest


def test_all():
    assert Basket([3, 1, 2]).dearest(2) == [2, 3]
    assert Basket.most(2) == 2
    assert Basket.rounded(1.25) == 1.2
    assert cheapest([2, 1]) == 1
    assert LIMIT > 0
"""
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
]


def judged(path, old, new, source=SOURCE, tests=TESTS):
    (path / "mod.py").write_text(source)
    (path / "test_mod.py").write_text(tests)
    settings = config.load()
    bundle = Bundle.read(path, tests=[], editable=[], limits=BundleLimits())
    edits = list(edits_of(bundle.sources["mod.py"], source.replace(old, new).encode()))
    assert edits
    limits = SandboxLimits.from_settings(settings.sandbox, wall_s=30)
    return robustness(Setup(open_sandbox(settings.sandbox), limits, bundle, None, {}), edits)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sorted(self.prices)[-count:]", "[sorted(self.prices)[-n] for n in range(count, 0, -1)]"),
        ("min(cls.kept, count)", "[0, 1, 2, 3][count]"),
        ("round(price, 1)", "round(price, 1) * price / price"),
        ("min(prices, default=0)", "min(prices)"),
    ],
    ids=["method", "class method", "static method", "function"],
)
def test_a_patch_that_raises_where_nothing_raised_loses_robustness(tmp_path, old, new):
    share, inputs = judged(tmp_path, old, new)
    assert inputs >= 5
    assert share < 1


OBJECTS = """\
import dataclasses


class Stack:
    def __init__(self, *items, limit=3):
        self.items = list(items)
        self.limit = limit

    def push(self, item):
        self.items.append(item)
        return len(self.items)

    @property
    def top(self):
        return self.items[-1] if self.items else None

    def drop(self):
        if self.items:
            self.items.pop()


@dataclasses.dataclass
class Span:
    low: int
    high: int

    def share(self, part):
        return part / (1 + abs(self.high - self.low))
"""
PLAYED = """\
from mod import Span, Stack


def test_stack():
    stack = Stack(7, limit=2)
    assert stack.push(8) == 2
    stack.drop()
    assert stack.top == 7


def test_span():
    assert Span(1, 3).share(6) == 2
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return len(self.items)", "return len(self.items) * self.limit // self.limit"),
        ("        if self.items:\n            self.items.pop()", "        self.items.pop()\n        self.items[0]"),
        ("self.items[-1] if self.items else None", "self.items[-1]"),
        ("(1 + abs(self.high - self.low))", "(1 + self.high - self.low)"),
    ],
    ids=["what it is made of", "order of calls", "property", "field"],
)
def test_objects_are_varied_by_what_they_are_made_of_and_what_is_done_with_them(tmp_path, old, new):
    share, inputs = judged(tmp_path, old, new, OBJECTS, PLAYED)
    assert inputs >= 5
    assert share < 1


def test_a_patch_that_raises_nowhere_else_is_robust(tmp_path):
    share, inputs = judged(tmp_path, "sorted(self.prices)[-count:]", "sorted(list(self.prices))[-count:]")
    assert share == 1
    assert inputs >= 5


def test_a_patch_of_code_outside_of_functions_has_no_inputs(tmp_path):
    assert judged(tmp_path, "LIMIT = 3", "LIMIT = 4") == (1.0, 0)
