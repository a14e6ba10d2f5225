"""What the search for an expression may build, and that it stays within it."""

import itertools
import time
import tracemalloc

import pytest

from repairlab.documents import Example, Spec
from repairlab.toolgen import enumeration
from repairlab.toolgen.enumeration import EXPECTED, Enumeration
from repairlab.toolgen.operations import LARGE, OPERATIONS, bounded
from repairlab.toolgen.synthesis import synthesised
from repairlab.toolgen.wishes import wish

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


def made(signature, *pairs):
    told = [Example(input=given, output=result) for given, result in pairs]
    body = synthesised(wish(Spec(id="made", task="x", signature=signature, examples=told)), 30)
    assert body.share == 1
    return body.lines[-1]


@pytest.mark.parametrize(
    ("signature", "pairs", "line"),
    [
        ("f(xs: list[int])", (([[1, 2]], 5), ([[]], 0), ([[-4, 1, 1]], 18)), "return sum(x * x for x in xs)"),
        (
            "f(xs: list[int], n: int)",
            (([[4, 1, 5], 3], [4, 5]), ([[9], 9], []), ([[2, 8, 3, 7], 2], [8, 3, 7]), ([[0, 6, 1], 0], [6, 1])),
            "return [x for x in xs if n < x]",
        ),
        (
            "f(words: list[str])",
            ((["a", "bbb", "cc"], "bbb"), (["xy", "q"], "xy"), (["q", "rs", "tuvw", "x"], "tuvw"), (["b", "ca"], "ca")),
            "return max(words, key=lambda x: len(x))",
        ),
    ],
)
def test_what_is_made_of_elements_may_look_at_other_parameters_add_up_and_choose(signature, pairs, line):
    assert made(signature, *pairs) == line


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("list[int]", [[[1, 2]], [[]]], [[1, 2], []]),
        ("list[int]", [[1, 2], []], [[1, 2], []]),
        ("list[int]", [[1], [7]], [[1], [7]]),
        ("list[list[int]]", [[[1]], [[2]]], [[[1]], [[2]]]),
        ("list[list[int]]", [[[[1]]], [[[2], [3]]]], [[[1]], [[2], [3]]]),
        ("list", [[[1]], [[2]]], [[[1]], [[2]]]),
        ("int", [[1], [2]], [1, 2]),
    ],
)
def test_the_list_of_the_arguments_is_told_from_an_argument_that_is_a_list(kind, given, expected):
    told = [Example(input=each, output=0) for each in given]
    found = wish(Spec(id="made", task="x", signature=f"f(xs: {kind})", examples=told))
    assert [arguments for arguments, _ in found.examples] == [(each,) for each in expected]
