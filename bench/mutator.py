"""bench/mutator: puts one bug of a named class into correct Python code, shaped as bugs of people are shaped.

Nothing here is taken from, or imports, the engine's transformations: a bench whose bugs were made by the repairer's own
rules would only say that rules can be run backwards. The classes follow the single-statement patterns of PySStuBs and
TSSB-3M (wrong operator, operand, number, identifier, attribute, function name, swapped, missing or surplus arguments, a
condition too weak or too strong, a call that is missing around a value) and what BugsInPy has beside them (a missing
guard, else, return or statement, a wrong exception).

A mutant is one replacement of bytes. Text outside of it is untouched, so that its reverse is as small as it can be.
"""

import ast
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, order=True)
class Mutant:
    """One bug: the bytes `start` to `end` replaced by `text`."""

    start: int
    end: int
    text: str
    kind: str
    line: int

    def applied(self, source: bytes) -> bytes:
        """Return the source with the bug in it."""
        return source[: self.start] + self.text.encode() + source[self.end :]


class Code:
    """A file's bytes with its syntax tree, and where each node stands in them."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.tree = ast.parse(source)
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Return the byte span of a node."""
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.AST) -> str:
        """Return the text of a node."""
        start, end = self.span(node)
        return self.source[start:end].decode()

    def functions(self) -> Iterator[Function]:
        """Yield the functions that have something to run."""
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node


@dataclass(frozen=True)
class Place:
    """A node to spoil, with the function that it stands in, its parent there, and its parent's field."""

    code: Code
    function: Function
    node: ast.AST
    parent: ast.AST
    field: str

    def swap(self, node: ast.AST, text: str) -> tuple[int, int, str]:
        """Return the replacement of a node by other text."""
        return (*self.code.span(node), text)

    def gap(self, before: ast.AST, after: ast.AST, old: str, new: str) -> Iterator[tuple[int, int, str]]:
        """Yield the replacement of the one operator between two operands."""
        start, end = self.code.span(before)[1], self.code.span(after)[0]
        between = self.code.source[start:end].decode()
        if between.count(old) == 1:
            at = start + len(between[: between.index(old)].encode())
            yield at, at + len(old.encode()), new


Spoiler = Callable[[Place, random.Random], Iterator[tuple[int, int, str]]]
SPOILERS: dict[str, Spoiler] = {}


def bug(name: str) -> Callable[[Spoiler], Spoiler]:
    """Register the maker of one class of bugs."""

    def register(spoiler: Spoiler) -> Spoiler:
        SPOILERS[name] = spoiler
        return spoiler

    return register


def mutants(source: bytes, seed: str) -> dict[str, list[Mutant]]:
    """Return, by class, the bugs that could be put into a file; `changes` tells whether one of them is any."""
    code, found = Code(source), defaultdict(set)
    random_ = random.Random(seed)
    for function in code.functions():
        for place in places(code, function):
            for kind, spoiler in SPOILERS.items():
                for start, end, text in spoiler(place, random_):
                    found[kind].add(Mutant(start, end, text, kind, getattr(place.node, "lineno", function.lineno)))
    return {kind: sorted(mutant for mutant in those if sound(code, mutant)) for kind, those in sorted(found.items())}


def sound(code: Code, mutant: Mutant) -> bool:
    """True where the bug changes bytes; whether it parses is asked by `changes`, of those that are drawn."""
    return code.source[mutant.start : mutant.end].decode() != mutant.text


def places(code: Code, function: Function) -> Iterator[Place]:
    """Yield the nodes of a function's body, nested functions left to themselves; no docstring, no annotation."""
    stack = [(function, "body", node) for node in body_of(function)]
    while stack:
        parent, field, node = stack.pop()
        yield Place(code, function, node, parent, field)
        if isinstance(node, Function | ast.ClassDef):
            continue
        for name, value in ast.iter_fields(node):
            if name not in ("annotation", "ctx"):
                children = value if isinstance(value, list) else [value]
                stack += [(node, name, child) for child in children if isinstance(child, ast.AST)]


def body_of(function: Function) -> list[ast.stmt]:
    """Return the statements of a function, its docstring left out."""
    return function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body


def changes(source: bytes, mutant: Mutant) -> bool:
    """True where the mutant parses into another tree than the original."""
    try:
        return ast.dump(ast.parse(mutant.applied(source))) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False
