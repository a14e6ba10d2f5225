"""synthesis: the body of a function from its examples: one expression, a chain of conditions, or the nearest there is.

Few examples are met by many expressions; the smallest one is taken, and no constant that only one result has.
"""

import ast
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from repairlab.toolgen.conditions import best, chained
from repairlab.toolgen.enumeration import CONSTANTS, Enumeration, Term, behaviour
from repairlab.toolgen.operations import names_needed
from repairlab.toolgen.wishes import Wish

MAX_TERMS = 60_000
MAX_LITERALS = 12


@dataclass(frozen=True)
class Body:
    """A function's body: its lines, import lines, and the share of the examples that it has right."""

    lines: tuple[str, ...]
    imports: tuple[str, ...]
    share: float
    how: str
    before: tuple[str, ...] = ()  # whole definitions that stand before it
    style: str = "synthesis"
    tried: int = 0  # expressions that were built for it


def synthesised(wish: Wish, seconds: float) -> Body:
    """Return the best body that can be found in that time; `share` is 1.0 where it has all examples right."""
    variables = {name: tuple(args[at] for args, _ in wish.examples) for at, name in enumerate(wish.parameters)}
    results = tuple(result for _, result in wish.examples)
    wanted = behaviour(results)
    constants = literals(wish)
    search = Enumeration(variables, constants, deadline=time.monotonic() + seconds, limit=MAX_TERMS)
    found = search.run(lambda term: behaviour(term.values) == wanted)
    return replace(_made(search, found, results), tried=search.tried)


def _made(search: Enumeration, found: Term | None, results: tuple[Any, ...]) -> Body:
    if found is not None:
        return _body([(None, found)], 1.0, "one expression")
    chain = chained(search.terms, results)
    if chain is not None:
        return _body(chain, 1.0, "conditions")
    nearest = best(search.terms, results)
    if nearest is None or nearest[1] == 0:
        return Body(("raise NotImplementedError",), (), 0.0, "nothing fits")
    return _body([(None, nearest[0])], nearest[1] / len(results), "the nearest expression")


def literals(wish: Wish) -> list[Any]:
    """Return the constants that expressions may use: common ones, and what several results have in common."""
    found: dict[str, Any] = {repr(value): value for value in CONSTANTS}
    for value in _small(result for _, result in wish.examples):
        found.setdefault(repr(value), value)
        if len(found) >= len(CONSTANTS) + MAX_LITERALS:
            break
    return list(found.values())


def _small(values: Any) -> list[Any]:
    """Return the numbers, short texts and separators that more than one result has, the commonest first."""
    counted: dict[str, tuple[int, Any]] = {}
    for value in values:
        separators = sorted({char for char in value if not char.isalnum()}) if isinstance(value, str) else []
        for part in [value, *separators]:
            if (isinstance(part, str) and len(part) <= 12) or (isinstance(part, int | float) and abs(part) < 10_000):
                counted[repr(part)] = (counted.get(repr(part), (0, part))[0] + 1, part)
    ordered = sorted(counted.values(), key=lambda item: (-item[0], repr(item[1])))
    return [part for count, part in ordered if count > 1]


def _body(branches: Sequence[tuple[Term | None, Term]], share: float, how: str) -> Body:
    lines: list[str] = []
    for test, term in branches:
        if test is None:
            lines.append(f"return {_plain(term)}")
        else:
            lines += [f"if {_plain(test)}:", f"    return {_plain(term)}"]
    return Body(tuple(lines), tuple(names_needed("\n".join(lines))), share, how)


def _plain(term: Term) -> str:
    """Return a term's text without parentheses that nobody needs (`unparse` doubles those of generators)."""
    return term.text if " for x in " in term.text else ast.unparse(ast.parse(term.text, mode="eval"))
