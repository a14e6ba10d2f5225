"""Code that runs at import only: suspicious as far as the code of the failing tests mentions what it makes."""

import ast

import pytest

from repairlab.repair.candidates import generate
from repairlab.repair.idle import IDLE_SHARE, UNUSED_SHARE, Idle
from repairlab.repair.literals import project_of
from repairlab.trial.source import Source

TEXT = """\
BASE = 10
LIMIT = BASE + 5
OTHER = 99


class Box:
    size = 3
    colour = 4

    def fits(self, value, margin=1):
        return value + margin < LIMIT * self.size


def unrelated(value, margin=2):
    return value + margin
"""


@pytest.fixture(scope="module")
def source() -> Source:
    return Source.decode("m.py", TEXT.encode())


@pytest.fixture(scope="module")
def idle(source) -> Idle:
    return Idle({"m.py": source}, {("m.py", 11): 1.0})


@pytest.mark.parametrize(
    ("line", "share"),
    [(1, IDLE_SHARE), (2, IDLE_SHARE), (3, UNUSED_SHARE), (7, IDLE_SHARE), (8, UNUSED_SHARE)],
)
def test_a_statement_counts_by_whether_failing_code_mentions_what_it_binds(source, idle, line, share):
    (statement,) = (s for s in [*source.tree.body, *source.tree.body[3].body] if s.lineno == line)
    assert idle.blame(source, statement) == share


def test_default_values_count_where_the_body_runs(source, idle):
    fits, unrelated = source.tree.body[3].body[2], source.tree.body[4]
    assert (idle.blame(source, fits), idle.blame(source, unrelated)) == (IDLE_SHARE, 0.0)


def test_default_values_of_a_function_that_does_not_run_count_where_it_is_decorated(source, idle, monkeypatch):
    unrelated = source.tree.body[4]
    monkeypatch.setattr(unrelated, "decorator_list", [ast.Name("register", ast.Load())])
    assert idle.blame(source, unrelated) == UNUSED_SHARE


def test_of_two_equal_constants_the_one_in_use_is_tried_first(source):
    sources = {"m.py": source}
    project = project_of({"m.py": TEXT.encode()}, sources, {}, 1)
    found = generate(sources, {("m.py", 11): 1.0}, project)
    first = {number: min(i for i, c in enumerate(found) if c.line == ("m.py", number)) for number in (1, 3)}
    assert first[1] < first[3]
