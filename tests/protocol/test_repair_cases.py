"""Classes of unittest in the real sandbox: called directly they come out as under pytest, and batches hold them."""

import json
import shutil

import pytest
from judged import opened, verdicts

from repairlab.trial.source import Edit

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
]

MOD = "import os, sys\n\n\ndef inc(x, seen):\n    return x - 1\n"
DIRECT = """
    def test_direct(self):
        self.assertNotIn("call_plainly", {frame.function for frame in inspect.stack()})
"""
CASES = """
import inspect, unittest, warnings
import pytest


class TestCommon(unittest.TestCase):
    def setUp(self):
        self.x = [1]

    def tearDown(self):
        self.x.clear()

    def test_passes(self):
        self.assertEqual(self.x, [1])

    def test_fails(self):
        self.assertEqual(self.x, [2])

    def test_raises(self):
        raise ValueError

    def test_exits(self):
        raise SystemExit(0)

    def test_skips(self):
        self.skipTest("no")

    def test_skips_by_pytest(self):
        pytest.skip("no")

    def test_fails_as_expected_by_pytest(self):
        pytest.xfail("no")

    def test_fails_by_pytest(self):
        pytest.fail("no")

    @unittest.skip("no")
    def test_is_skipped(self):
        raise ValueError

    @unittest.expectedFailure
    def test_fails_as_expected(self):
        self.fail("no")

    @unittest.expectedFailure
    def test_passes_unexpectedly(self):
        pass

    def test_parts_pass(self):
        for x in range(3):
            with self.subTest(x=x):
                pass

    def test_a_part_fails(self):
        for x in range(3):
            with self.subTest(x=x):
                self.assertNotEqual(x, 1)

    def test_a_part_is_skipped(self):
        for x in range(3):
            with self.subTest(x=x):
                x and self.skipTest("no")

    def test_cleans_up(self):
        self.addCleanup(lambda: 1)

    def test_does_not_clean_up(self):
        self.addCleanup(lambda: 1 / 0)

    def test_skips_and_does_not_clean_up(self):
        self.addCleanup(lambda: 1 / 0)
        self.skipTest("no")

    def test_warns(self):
        with self.assertWarns(UserWarning):
            warnings.warn("no")
DIRECT

class TestSetUpFails(unittest.TestCase):
    def setUp(self):
        raise KeyError

    def test_passes(self):
        pass


class TestSetUpSkips(TestSetUpFails):
    def setUp(self):
        raise unittest.SkipTest("no")


class TestTearDownFails(unittest.TestCase):
    def tearDown(self):
        raise KeyError

    def test_passes(self):
        pass

    def test_fails(self):
        self.fail()


class TestBare(unittest.TestCase):
    def runTest(self):
        pass
"""
# What only pytest's protocol does: these are never called directly.
WHOLE = {
    "class_set_up": ("unittest.TestCase", "    @classmethod\n    def setUpClass(cls):\n        cls.x = 1\n"),
    "class_torn_down": ("unittest.TestCase", "    @classmethod\n    def tearDownClass(cls):\n        cls.x = 1\n"),
    "by_pytest_for_the_class": (
        "unittest.TestCase",
        "    @classmethod\n    def setup_class(cls):\n        cls.x = 1\n",
    ),
    "by_pytest_for_a_method": ("unittest.TestCase", "    def setup_method(self, method):\n        self.x = 1\n"),
    "a_fixture": ("unittest.TestCase", "    @pytest.fixture(autouse=True)\n    def x(self):\n        return 1\n"),
    "a_loop": ("unittest.IsolatedAsyncioTestCase", "    async def test_waits(self):\n        pass\n"),
}


def outcomes(path, tests):
    """Return {test: (letter under the whole protocol, letter called directly where it may be)}."""
    with opened(path / "bundle", {"mod.py": MOD, "test_mod.py": tests}) as server:
        ids = server.collect(30).ids
        found = [
            server.baseline(range(len(ids)), limit_s=5, wall_s=20, trace=True, plain=plain).tests
            for plain in (False, True)
        ]
    return {ids[one.index].partition("::")[2]: (one.outcome, other.outcome) for one, other in zip(*found, strict=True)}


def test_methods_of_test_cases_called_directly_come_out_as_under_pytest(tmp_path):
    found = outcomes(tmp_path, CASES.replace("DIRECT", DIRECT))
    assert found.pop("TestCommon::test_direct") == ("p", "f")
    assert len(found) == 23
    bad = {test: pair for test, pair in found.items() if (pair[0] in "psx") != (pair[1] in "psx")}
    assert not bad, json.dumps(bad)


@pytest.mark.parametrize("name", WHOLE)
def test_test_cases_with_more_around_them_are_run_whole(tmp_path, name):
    base, more = WHOLE[name]
    tests = f"import inspect, unittest\nimport pytest\n\n\nclass TestMore({base}):\n{more}{DIRECT}"
    found = outcomes(tmp_path, tests)
    assert set(found.values()) == {("p", "p")}
    assert "TestMore::test_direct" in found


BATCHED = """
import unittest
from mod import inc


class TestInc(unittest.TestCase):
    kept = []

    def test_inc(self):
        self.assertEqual((inc(1, self.kept), self.kept, hasattr(self, "mark")), (2, [], False))
        self.mark = 1

    def test_type(self):
        self.assertIsInstance(inc(1, []), int)
"""


def change(new):
    at = MOD.index("return x - 1")
    return [Edit("mod.py", at, at + len("return x - 1"), new)]


@pytest.fixture
def planned(tmp_path):
    with opened(tmp_path / "bundle", {"mod.py": MOD, "test_mod.py": BATCHED}) as server:
        ids = server.collect(30).ids
        server.plan([0, 1], 1, [0.5] * 2, ids, [])
        yield server


def test_what_a_candidate_leaves_in_a_class_of_tests_spoils_none_behind_it(planned):
    candidates = [
        change("seen.append(x); return x - 1"),
        change("return x + 1"),
        change("seen.append(x); return x + 1"),
    ]
    found = [verdict.verdict for verdict in verdicts(planned, candidates)]
    assert found == ["failed", "passed", "failed"]


def test_candidates_whose_tests_are_methods_of_test_cases_share_forks(planned):
    """What nobody looks at, an attribute of another's module, is how one may tell."""
    seen = "return x + 1 + hasattr(sys, 'left') + {n} - {n}"
    candidates = [change("sys.left = 1; return x - 1"), change(seen.format(n=1))]
    assert [verdict.verdict for verdict in verdicts(planned, candidates)] == ["failed", "failed"]
    assert [verdict.verdict for verdict in verdicts(planned, [change(seen.format(n=2))], alone=True)] == ["passed"]


def test_what_is_collected_anew_is_called_directly_too_but_for_what_is_to_be_run_whole(tmp_path):
    tests = f"import inspect, unittest\nimport mod\n\n\nclass TestIt(unittest.TestCase):{DIRECT}"
    with opened(tmp_path / "bundle", {"mod.py": MOD, "test_mod.py": tests}) as server:
        ids = server.collect(30).ids
        for whole, verdict in (([], "failed"), ([0], "passed")):
            server.plan([0], 0, [0.5], ids, whole)
            (found,) = verdicts(server, [[Edit("mod.py", 0, len("import os, sys"), "import os, sys, re")]])
            assert (found.verdict, found.fresh) == (verdict, True)
