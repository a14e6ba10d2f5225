"""Which of the champion's tests a challenger is asked, where its handoff retires some."""

import pytest

from repairlab.evaluate.contest import Standing
from repairlab.evaluate.sides import Side
from repairlab.trial.bundle import Bundle


def asked(files, told=(), retired=()):
    held = {path: b"" for path in files if path not in retired}
    side = Side({}, {}, Bundle({}, frozenset(), {}, tests=list(told)))
    return Standing(None, side, held, {}, list(retired)).named


@pytest.mark.parametrize(
    ("files", "told", "retired", "left"),
    [
        (["tests/check_m.py"], [], [], []),
        (["pytest.ini", "docs.txt"], [], [], []),
        (["tests/check_m.py", "tests/check_n.py"], [], ["tests/check_n.py"], []),
        (["setup.py", "bench.py", "tests/conftest.py", "tests/test_m.py"], [], ["tests/test_m.py"], None),
        (["checks/check_m.py"], ["checks"], [], ["checks"]),
        (["checks/a.py", "checks/b.py"], ["checks"], ["checks/b.py"], ["checks"]),
        (["checks/a.py", "test_m.py"], ["checks"], ["checks/a.py"], None),
        (["checks/a.py", "checks/__init__.py", "test_m.py"], ["checks", "."], ["checks/a.py"], ["."]),
        (["test_m.py", "test_n.py"], ["test_m.py::test_a", "test_n.py"], ["test_n.py"], ["test_m.py::test_a"]),
        (["test_m.py", "test_n.py"], ["test_m.py"], ["test_m.py"], None),
    ],
)
def test_all_that_is_not_retired_is_asked_and_nothing_where_nothing_is_left(files, told, retired, left):
    assert asked(files, told, retired) == left
