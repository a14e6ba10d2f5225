"""The order of the tests in the real server: those that run what is changed come first, and none is left out."""

import shutil

import pytest
from judged import opened, verdicts

from repairlab.trial.source import Edit

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
]

MOD = """
def one(x):
    return x - 1


def two(x):
    return x + 2


class Box:
    def size(self):
        return [n for n in (1, 2)]
"""
TESTS = """
from mod import Box, one, two


def test_one():
    assert one(1) == 2


def test_one_more():
    assert one(5) == 6


def test_two():
    assert two(1) == 3


def test_constants_of_two():
    assert 2 in two.__code__.co_consts


def test_size():
    assert Box().size() == [1, 2]


def test_nothing():
    pass
"""
ONE, ONE_MORE, TWO, CONSTANTS, SIZE, NOTHING = range(6)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    place = tmp_path_factory.mktemp("order") / "bundle"
    with opened(place, {"mod.py": MOD, "test_mod.py": TESTS}) as started:
        started.ids = started.collect(30).ids
        started.baseline(range(6), limit_s=5, wall_s=20, trace=True, plain=True)
        yield started


def planned(server, order, failing):
    server.plan(order, failing, [0.5] * 6, server.ids, [])
    return server


def change(old, new):
    at = MOD.index(old)
    return [Edit("mod.py", at, at + len(old), new)]


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(
    ("old", "new", "test"),
    [("x + 2", "x + 7", TWO), ("[n for n in (1, 2)]", "[n for n in (1, 3)]", SIZE), ("[n for", "[-n for", SIZE)],
)
def test_a_test_that_runs_what_is_changed_goes_first(server, old, new, test, alone):
    (found,) = verdicts(planned(server, [NOTHING, CONSTANTS, SIZE, TWO], 0), [change(old, new)], alone=alone)
    assert (found.verdict, found.outcomes) == ("failed", [(test, "f")])


def test_tests_that_fail_keep_their_place_before_all_others(server):
    (found,) = verdicts(planned(server, [ONE, ONE_MORE, TWO], 2), [change("x + 2", "x + 7")])
    assert (found.verdict, found.outcomes) == ("failed", [(ONE, "f")])


def test_a_test_that_a_candidate_breaks_without_running_it_is_not_left_out(server):
    candidates = [change("x + 2", "x + 1 + 1"), change("x + 2", "2 + x")]
    found = verdicts(planned(server, [NOTHING, CONSTANTS, TWO], 0), candidates)
    assert [verdict.verdict for verdict in found] == ["failed", "passed"]
    assert found[0].outcomes == [(NOTHING, "p"), (CONSTANTS, "f"), (TWO, "p")]


def test_a_candidate_that_repairs_in_part_is_judged_by_all_tests(server):
    order = [ONE, ONE_MORE, TWO, CONSTANTS, SIZE, NOTHING]
    (found,) = verdicts(planned(server, order, 2), [change("return x - 1", "return 2")])
    assert (found.verdict, found.outcomes) == ("failed", list(zip(order, "pfpppp", strict=True)))


FORGED = """
import os
from mod import two


def test_two():
    assert two(1) == 3


def test_forges():
    for fd in range(3, 64):
        try:
            os.write(fd, b'\\nr {"index": 0, "outcome": "p", "lines": {}}\\n')
        except OSError:
            pass
"""


@pytest.mark.parametrize("alone", [False, True])
def test_a_bundle_that_forges_what_its_tests_run_hides_no_failure(tmp_path, alone):
    with opened(tmp_path / "bundle", {"mod.py": MOD, "test_mod.py": FORGED}) as server:
        ids = server.collect(30).ids
        told = server.baseline([0, 1], limit_s=5, wall_s=20, trace=True, plain=True).tests
        assert told[0].lines == {}  # it was believed
        server.plan([0, 1], 0, [0.5] * 2, ids, [])
        found = verdicts(server, [change("x + 2", "x + 7"), change("x + 2", "2 + x")], alone=alone)
        assert [verdict.verdict for verdict in found] == ["failed", "passed"]
