"""What patches do on derived inputs, as the real server in its sandbox tells it."""

import shutil
import time

import pytest

from repairlab import config
from repairlab.repair.clusters import clustered
from repairlab.repair.ranking import Plausible
from repairlab.sandbox import SandboxLimits, open_sandbox
from repairlab.sandbox.tree import BundleLimits
from repairlab.trial.bundle import Bundle
from repairlab.trial.probes import observe
from repairlab.trial.source import Edit
from repairlab.trial.testrun import TestRun
from repairlab.trial.validation import Server, Setup

SOURCE = """\
import os


class Account:
    def __init__(self, balance):
        self.balance = balance

    def pay(self, amount):
        self.balance -= amount
        return self.balance


def countdown(n):
    total = 0
    while n != 0:
        n -= 1
        total += 1
    return total


def least(items):
    items.sort()
    return items[0]


def scaled(x, *more, factor=1, **options):
    return sum([x, *more]) * factor + options.get("offset", 0)


def spelled(word):
    print(word)
    return (letter for letter in word)
"""
TESTS = """\
from mod import Account, countdown, least, scaled, spelled


class Heap(list):
    def __deepcopy__(self, memo):
        while True:
            pass


def test_all():
    assert least(Heap([1] * 9000)) == 1  # too large to be described, hence never copied
    assert Account(10).pay(3) == 7
    assert countdown(4) == 4
    assert least([3, 1, 2]) == 1
    assert scaled(2, 3, factor=4, offset=5) == 25
    assert list(spelled("abc")) == ["a", "b", "c"]
"""
CHANGES = [
    ("total += 1", "total = total + 1"),
    ("items.sort()", "items = sorted(items)"),
    ("-= amount", "-= abs(amount)"),
    ("print(word)", "print(word.upper())"),
    ("* factor", "* abs(factor)"),
    ("return total", "return total if total != 5 else os._exit(0)"),
    ("return items[0]", "return [items[0]] * 10**9"),
    ("items.sort()", "items.sort()\n    while len(items) > 4: pass"),
]
EQUAL, SORTED, ABSOLUTE, UPPER, FACTOR, EXITS, LARGE, ENDLESS, ORIGINAL = range(len(CHANGES) + 1)

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
]


def edits(old, new):
    at = SOURCE.index(old)
    return [Edit("mod.py", at, at + len(old), new)]


def started(path, source, tests):
    """Return a server for a bundle of these."""
    (path / "mod.py").write_text(source)
    (path / "test_mod.py").write_text(tests)
    settings = config.load()
    bundle = Bundle.read(path, tests=[], editable=[], limits=BundleLimits())
    limits = SandboxLimits.from_settings(settings.sandbox, wall_s=60)
    return Server(Setup(open_sandbox(settings.sandbox), limits, bundle, None, {}), 60)


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """Two looks at the same patches."""
    with started(tmp_path_factory.mktemp("bundle"), SOURCE, TESTS) as server:
        assert server.collect(20).ids == ["test_mod.py::test_all"]
        patches = [*(edits(old, new) for old, new in CHANGES), []]
        runs = [TestRun("test_mod.py::test_all", "p", 0.01)]
        return [observe(server, runs, [0], patches, wall_s=20) for _ in range(2)]


def differing(seen, number):
    """The calls on which a patch does something else than the bundle as it came, and what."""
    ours, original = seen.of(number), seen.of(ORIGINAL)
    pairs = zip(seen.inputs, ours, original, strict=True)
    return {given.call: mine.text for given, mine, other in pairs if mine.checksum != other.checksum}


def test_the_calls_of_the_tests_come_first_and_then_others_like_them(observed):
    seen = observed[0]
    calls = [given.call for given in seen.inputs if given.seen]
    assert "Account.pay(Account(balance=10), 3)" in calls
    assert {"countdown(4)", "least([3, 1, 2])", "spelled('abc')", "scaled(2, 3, factor=4, offset=5)"} <= set(calls)
    assert len(seen.inputs) > 4 * len(calls)
    assert [given.seen for given in seen.inputs] == sorted((given.seen for given in seen.inputs), reverse=True)


def test_the_same_patches_on_the_same_bundle_are_seen_to_do_the_same(observed):
    first, second = observed
    assert first.inputs == second.inputs
    assert first.of(ABSOLUTE) == second.of(ABSOLUTE)


def test_what_a_call_gives_prints_and_leaves_is_compared(observed):
    seen = observed[0]
    assert differing(seen, EQUAL) == {}
    assert "leaves [3, 1, 2]" not in differing(seen, SORTED).get("least([3, 1, 2])", "")
    assert all(call.startswith("least(") for call in differing(seen, SORTED))
    assert any(", -" in call for call in differing(seen, ABSOLUTE))
    assert any(call.startswith("scaled(2, 3, factor=-") for call in differing(seen, FACTOR))
    assert differing(seen, UPPER)["spelled('abc')"] == "['a', 'b', 'c'] and prints 'ABC\\n'"


def test_inputs_on_which_nothing_ends_are_left_out(observed):
    calls = [given.call for given in observed[0].inputs]
    assert not any(call.startswith("countdown(-") for call in calls)
    assert any(call.startswith("countdown(") for call in calls if "(4)" not in call)


def test_a_patch_that_ends_its_process_takes_all_memory_or_never_ends_is_told_from_the_others(observed):
    seen = observed[0]
    assert differing(seen, EXITS) == {"countdown(5)": "ends its process"}
    assert "raises MemoryError" in differing(seen, LARGE).values()
    assert "never ends" in differing(seen, ENDLESS).values()
    found = clustered([Plausible((), 1.0, number) for number in range(ORIGINAL)], seen)
    assert [cluster.size for cluster in found] == [1] * ORIGINAL


DOZING = "import time\n\n\ndef doze(n, k=0):\n    time.sleep(0.6)\n    return n\n"
QUICK = """
import time
import pytest
from mod import doze


@pytest.mark.parametrize("n", range(400))
def test_all(n):
    time.sleep(0.02)
    assert n != 399 or doze(1) == 1
"""


def test_the_time_for_a_look_at_behaviour_holds_where_the_calls_sleep(tmp_path):
    tests = "from mod import doze\n\n\ndef test_all():\n    assert doze(1, 'ab') == 1\n"
    with started(tmp_path, DOZING, tests) as server:
        assert server.collect(20).ids
        began = time.monotonic()
        observe(server, [TestRun("test_mod.py::test_all", "p", 0.01)], [0], [[]], wall_s=2)
        assert time.monotonic() - began < 4.5


def test_a_baseline_of_many_quick_tests_ends_in_its_time_and_says_which_had_no_turn(tmp_path):
    with started(tmp_path, DOZING, QUICK) as server:
        count = len(server.collect(20).ids)
        found = server.baseline(range(count), limit_s=5, wall_s=1, trace=False, plain=False)
        assert {test.outcome for test in found.tests} == {"p"}
        assert sorted([*(test.index for test in found.tests), *found.missing]) == list(range(count))
        assert found.missing
