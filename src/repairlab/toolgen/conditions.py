"""conditions: two or three expressions, and what tells apart when to use which.

Where no one expression has all results, some have many of them. A set of terms that together cover the examples, and
conditions that are true on just the ones of each, make a chain of `if` (divide and conquer: R. Alur et al., TACAS
2017). Few examples allow many chains, so each branch must hold for two examples or be the last.
"""

from collections.abc import Sequence
from typing import Any

from repairlab.toolgen.enumeration import Term, behaviour
from repairlab.toolgen.operations import BOOL

MAX_COVERS = 60
MAX_BRANCHES = 3
MAX_TESTS = 200


def chained(terms: Sequence[Term], results: Sequence[Any]) -> list[tuple[Term | None, Term]] | None:
    """Return branches (condition or None for the last, value) that give every result; None where none are found."""
    wanted = [behaviour((result,)) for result in results]
    covers = [(term, frozenset(_right(term, wanted))) for term in terms]
    covers = sorted(((t, c) for t, c in covers if c), key=lambda item: (-len(item[1]), item[0].size))[:MAX_COVERS]
    truths = {term.values: term for term in reversed(terms) if term.kind == BOOL}  # the first of equal ones
    tests = sorted(truths.values(), key=lambda term: (term.size, term.text))[:MAX_TESTS]
    return _branches(covers, tests, frozenset(range(len(results))), MAX_BRANCHES)


def _right(term: Term, wanted: Sequence[str]) -> list[int]:
    return [at for at, value in enumerate(term.values) if behaviour((value,)) == wanted[at]]


def _branches(
    covers: Sequence[tuple[Term, frozenset[int]]], tests: Sequence[Term], left: frozenset[int], depth: int
) -> list[tuple[Term | None, Term]] | None:
    for term, right in covers:
        if left <= right:
            return [(None, term)]
    if depth == 1:
        return None
    for term, right in covers:
        inside = left & right
        if len(inside) < 2:
            continue
        for test in tests:
            true = frozenset(at for at in left if test.values[at])
            if not 2 <= len(true) < len(left) or not true <= inside:
                continue
            rest = _branches(covers, tests, left - true, depth - 1)
            if rest is not None:
                return [(test, term), *rest]
    return None


def best(terms: Sequence[Term], results: Sequence[Any]) -> tuple[Term, int] | None:
    """Return the term with the most right results, and how many."""
    wanted = [behaviour((result,)) for result in results]
    scored = [(len(_right(term, wanted)), -term.size, -at, term) for at, term in enumerate(terms)]
    if not scored:
        return None
    count, _, _, term = max(scored, key=lambda item: item[:3])
    return term, count
