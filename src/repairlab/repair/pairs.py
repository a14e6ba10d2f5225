"""pairs: two single edits tried together, those first that look like parts of one thought.

A fix of two places mostly makes the same kind of change at both, close to each other. Related pairs go first by that
much; a plain square of the likeliest edits puts most of them beyond any budget.
"""

from collections.abc import Iterable
from itertools import combinations

from repairlab.repair.candidates import Change

SINGLES = 300  # the likeliest, that pairs are made of
MOST = 20_000
SAME_KIND, CLOSE, CLOSE_LINES = 4.0, 2.0, 3
ELSEWHERE = 0.5  # in another file


def relation(one: Change, two: Change) -> float:
    """Return how much likelier than by chance two edits belong together."""
    kind = SAME_KIND if (one.family, one.note) == (two.family, two.note) else 1.0
    if one.line[0] != two.line[0]:
        return kind * ELSEWHERE
    return kind * (CLOSE if abs(one.line[1] - two.line[1]) <= CLOSE_LINES else 1.0)


def pairs(singles: Iterable[tuple[float, Change]], width: int) -> list[tuple[float, Change, Change]]:
    """Return (score, one, other) of the likeliest pairs, best first; an order that depends on the edits alone."""
    best = sorted(singles, key=lambda item: (-item[0], item[1].line, item[1].key))[: SINGLES * width]
    numbered = [(score, number, change) for number, (score, change) in enumerate(best)]
    found = [
        (one * two * relation(first, second), -a, -b)
        for (one, a, first), (two, b, second) in combinations(numbered, 2)
        if first.key != second.key
    ]
    found.sort(reverse=True)
    return [(score, best[-a][1], best[-b][1]) for score, a, b in found[: MOST * width]]
