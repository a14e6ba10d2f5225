"""What the search for an expression may build, and that it stays within it."""

import itertools
import time
import tracemalloc

import pytest

from repairlab.toolgen import enumeration
from repairlab.toolgen.enumeration import EXPECTED, Enumeration
from repairlab.toolgen.operations import LARGE, OPERATIONS, bounded

WORST = {
    "text": ("a" * LARGE, "", "a"),
    "number": (LARGE, 1 << 62, 0, -1),
    "list": ([""] * LARGE, list(range(LARGE)), ["a" * LARGE] * 9),
    "dict": ({n: n for n in range(LARGE)},),
    "bool": (True,),
}
WORST["any"] = (WORST["text"][0], LARGE, WORST["list"][0])


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: f"{each.template} {'-'.join(each.kinds)}")
def test_an_operation_builds_nothing_larger_than_its_bound_by_much(operation):
    for operands in itertools.product(*(WORST[kind] for kind in operation.kinds)):
        tracemalloc.start()
        try:
            bounded(operation.apply(*operands))
        except EXPECTED:
            pass
        finally:
            peak_bytes = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak_bytes < 8 << 20


def test_a_search_ends_when_its_values_fill_the_room_that_they_may_take(monkeypatch):
    monkeypatch.setattr(enumeration, "MAX_TOTAL", 100_000)
    text = tuple(f"{n} some words and more of them" * 9 for n in range(3))
    search = Enumeration({"text": text}, [0, 1, " "], deadline=time.monotonic() + 30, limit=60_000)
    assert search.run(lambda _: False) is None
    assert sum(len(repr(term.values)) for term in search.terms) < 100_000 + enumeration.MAX_VALUES
    assert len(search.terms) < 1000
