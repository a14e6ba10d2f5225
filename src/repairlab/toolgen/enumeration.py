"""enumeration: expressions bottom up, the smallest first, one of each behaviour.

A term is an expression and its value on every example. Two terms with the same values are the same for this purpose,
and the smaller one is kept (observational equivalence: A. Albarghouthi et al., CAV 2013; A. Udupa et al., PLDI 2013).
What an element of a list becomes is an enumeration of its own, over all elements of all examples at once, from which
comprehensions, filters and keys are made. The examples are the oracle: a term with their results is a solution.

Nothing here runs a line from a spec: values are JSON, operations are ours. Bounded by terms, by what their values take
and by time; the order depends on the examples alone.
"""

import hashlib
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from repairlab.toolgen.operations import (
    BOOL,
    DICT,
    LIST,
    NUMBER,
    OPERATIONS,
    TEXT,
    Operation,
    TooLarge,
    bounded,
    kind_of,
)

Values = tuple[Any, ...]
EXPECTED = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, TooLarge, RecursionError)
MAX_SIZE = 9
MAX_VALUES, MAX_TOTAL = 20_000, 128 << 20  # characters of a term's values, of all terms' values
MAX_ELEMENTS = 400
INNER_SIZE, INNER_TERMS = 4, 1500
KEY_SIZE = 3  # of what elements are sorted by; less of what one is chosen by: larger keys fit anything
_X, _NAME = re.compile(r"\bx\b"), re.compile(r"\w+")
CONSTANTS: tuple[Any, ...] = (0, 1, 2, "", " ", [], True, False)


@dataclass(frozen=True, slots=True)
class Term:
    """An expression: its text, whether it stands without parentheses, its size, its value on each example."""

    text: str
    atom: bool
    size: int
    values: Values
    kind: str
    fixed: bool = False  # of constants alone: nothing is made of only such

    @property
    def operand(self) -> str:
        """The text as a part of another expression."""
        return self.text if self.atom else f"({self.text})"


def behaviour(values: Values) -> str:
    """Return what tells values apart: `1`, `1.0` and `True` are three."""
    return repr(values)


class Enumeration:
    """All terms over some variables, level by level."""

    def __init__(
        self,
        variables: dict[str, Values],
        constants: Sequence[Any],
        *,
        deadline: float,
        limit: int,
        nested: bool = True,
    ) -> None:
        self._count = len(next(iter(variables.values())))
        self._deadline, self._limit, self._nested = deadline, limit, nested
        self._seen: set[bytes] = set()
        self._room = MAX_TOTAL
        self.tried = 0
        self.by_size: defaultdict[int, list[Term]] = defaultdict(list)
        self.terms: list[Term] = []
        self._begin = [Term(name, True, 1, values, _kind(values)) for name, values in variables.items()]
        self._begin += [Term(repr(c), True, 1, (c,) * self._count, kind_of(c), fixed=True) for c in constants]

    def run(self, wanted: Callable[[Term], bool], max_size: int = MAX_SIZE) -> Term | None:
        """Return the smallest term that is wanted; None once size, number or time are used up."""
        for term in self._begin:
            if self._admit(term) and wanted(term):
                return term
        for size in range(2, max_size + 1):
            for term in self._of_size(size):
                if self._admit(term) and wanted(term):
                    return term
                if len(self.terms) >= self._limit or self._room < 0 or time.monotonic() > self._deadline:
                    return None
        return None

    def _admit(self, term: Term) -> bool:
        self.tried += 1
        text = behaviour(term.values)
        key = hashlib.blake2b(text.encode(), digest_size=16).digest()
        if not term.kind or len(text) > MAX_VALUES or key in self._seen:
            return False
        self._seen.add(key)
        self._room -= len(text)
        self.by_size[term.size].append(term)
        self.terms.append(term)
        return True

    def _of_size(self, size: int) -> Iterator[Term]:
        for operation in OPERATIONS:
            for sizes in _splits(size - 1, len(operation.kinds)):
                yield from self._applied(operation, sizes, size)
        if self._nested:
            for source in list(self.by_size[size - 2]):
                if source.kind in (LIST, TEXT) and not source.fixed:
                    yield from self._comprehended(source, size)

    def _applied(self, operation: Operation, sizes: tuple[int, ...], size: int) -> Iterator[Term]:
        pools = [
            [term for term in self.by_size[part] if kind in ("any", term.kind)]
            for part, kind in zip(sizes, operation.kinds, strict=True)
        ]
        for number, operands in enumerate(product(*pools)):
            if number % 256 == 255 and time.monotonic() > self._deadline:
                return
            if all(operand.fixed for operand in operands):
                continue
            if operation.commutes and sizes[0] == sizes[1] and operands[0].text > operands[1].text:
                continue
            try:
                rows = zip(*(operand.values for operand in operands), strict=True)
                values = tuple(bounded(operation.apply(*row)) for row in rows)
            except EXPECTED:
                continue
            text = operation.template.format(*(operand.operand for operand in operands))
            yield Term(text, operation.atom, size, values, _kind(values))

    def _comprehended(self, source: Term, size: int) -> Iterator[Term]:
        """Yield what can be made of the elements of a list, or the characters of a text."""
        elements = [list(value) for value in source.values]
        flat = [element for part in elements for element in part]
        if not 0 < len(flat) <= MAX_ELEMENTS or not (kind := _kind(tuple(flat))):
            return
        constants = [c for c in CONSTANTS if kind_of(c) in (kind, NUMBER)]
        constants += sorted({e for e in flat if isinstance(e, str) and len(e) <= 3})[:6] if kind == TEXT else []
        inner = Enumeration(
            {"x": tuple(flat), **self._outer(source, elements)},
            constants,
            deadline=self._deadline,
            limit=INNER_TERMS,
            nested=False,
        )
        inner.run(lambda _: False, INNER_SIZE)
        self.tried += inner.tried
        for term in inner.terms:
            if _X.search(term.text):
                yield from self._of_elements(source, elements, term, size)

    def _outer(self, source: Term, elements: list[list[Any]]) -> dict[str, Values]:
        """Return the parameters that a source is not made of, as each element sees them: texts and numbers."""
        return {
            term.text: tuple(value for value, part in zip(term.values, elements, strict=True) for _ in part)
            for term in self._begin
            if not term.fixed and term.kind in (NUMBER, TEXT) and term.text not in {"x", *_NAME.findall(source.text)}
        }

    def _of_elements(self, source: Term, elements: list[list[Any]], term: Term, size: int) -> Iterator[Term]:
        made = iter(term.values)
        results = [[next(made) for _ in part] for part in elements]
        pairs = list(zip(elements, results, strict=True))
        place, text = f"for x in {source.operand}", term.text
        size += term.size
        if text != "x":
            yield self._term(f"[{text} {place}]", size, [out for _, out in pairs])
            yield self._term(f"{{x: {text} {place}}}", size, [_dict(*pair) for pair in pairs])
            if source.kind == LIST and term.kind in (NUMBER, TEXT) and term.size <= KEY_SIZE:
                by_key = f"sorted({source.operand}, key=lambda x: {text})"
                yield self._term(by_key, size, [_keyed(*pair) for pair in pairs])
                if all(elements) and term.size < KEY_SIZE:
                    keyed = f"{source.operand}, key=lambda x: {text})"
                    yield self._term(f"min({keyed}", size, [_keyed(*pair)[0] for pair in pairs])
                    yield self._term(f"max({keyed}", size, [_largest(*pair) for pair in pairs])
            if term.kind == NUMBER:
                yield self._term(f"sum({text} {place})", size, [sum(out) for _, out in pairs])
        if term.kind == TEXT:
            yield self._term(f"''.join({text} {place})", size, ["".join(out) for _, out in pairs])
        if term.kind == BOOL:
            kept = [[e for e, good in zip(*pair, strict=True) if good] for pair in pairs]
            yield self._term(f"[x {place} if {text}]", size, kept)
            if source.kind == TEXT:
                yield self._term(f"''.join(x {place} if {text})", size, ["".join(part) for part in kept])
            yield self._term(f"all({text} {place})", size, [all(out) for _, out in pairs])
            yield self._term(f"any({text} {place})", size, [any(out) for _, out in pairs])
            yield self._term(f"sum(1 {place} if {text})", size, [len(part) for part in kept])

    @staticmethod
    def _term(text: str, size: int, values: Sequence[Any]) -> Term:
        return Term(text, True, size, tuple(values), _kind(tuple(values)))


def _keyed(elements: list[Any], keys: list[Any]) -> list[Any]:
    """Return the elements sorted by their keys."""
    return [elements[at] for at in sorted(range(len(keys)), key=keys.__getitem__)]


def _largest(elements: list[Any], keys: list[Any]) -> Any:
    """Return the first element with the largest key."""
    return elements[max(range(len(keys)), key=keys.__getitem__)]


def _dict(keys: list[Any], values: list[Any]) -> Any:
    try:
        return dict(zip(keys, values, strict=True))
    except TypeError:  # unhashable: no candidate
        return None


def _kind(values: Values) -> str:
    """Return the one kind of all values; '' where they differ, so that no operation takes them."""
    kinds = {kind_of(value) for value in values}
    return kinds.pop() if len(kinds) == 1 else ""


def _splits(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Yield the ways to share `total` among `parts`, at least 1 each."""
    if parts == 1:
        if total >= 1:
            yield (total,)
        return
    for first in range(1, total - parts + 2):
        for rest in _splits(total - first, parts - 1):
            yield (first, *rest)


__all__ = ["CONSTANTS", "DICT", "Enumeration", "Term", "behaviour"]
