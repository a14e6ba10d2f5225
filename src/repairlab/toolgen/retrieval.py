"""retrieval: functions that won before, called as a spec wants them.

The library's functions are ranked by the words that they share with the spec, among those that can be called with as
many arguments. A candidate is the function with all it needs, and one call to it; the arguments go by name where names
agree, else in order. What the wanted function or its parameters would hide gets another name. Whether it is right, the
tests say.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from repairlab.documents import FunctionPattern, ParameterKind, Pattern, decode
from repairlab.errors import BadInput
from repairlab.patterns.functions import bound_by
from repairlab.spool import read_file
from repairlab.toolgen.synthesis import Body
from repairlab.toolgen.wishes import Wish
from repairlab.trial.source import UNPARSABLE

MAX_FILES, MAX_FILE = 10_000, 256 << 10
TRIED = 5
VARIADIC = (ParameterKind.VAR_POSITIONAL, ParameterKind.VAR_KEYWORD)
_WORD = re.compile(r"[a-z]+|\d+")


def retrieved(wish: Wish, directory: Path) -> list[tuple[str, Body]]:
    """Return (the pattern's name, body) of the likeliest, best first."""
    wanted, names = _words(f"{wish.name} {wish.spec.task}"), list(wish.parameters)
    scored = []
    for pattern in _patterns(directory):
        assert pattern.function is not None  # `_patterns` yields no others
        shared = wanted & _words(f"{pattern.function.name} {_docstring(pattern.function)}")
        if shared and _call(pattern.function, names):
            scored.append((-len(shared) / len(wanted), -pattern.quality.wins, pattern.id, pattern))
    return [
        (pattern.told, _body(_apart(pattern.function, wish), names))
        for *_, pattern in sorted(scored)[:TRIED]
        if pattern.function
    ]


def _patterns(directory: Path) -> Iterator[Pattern]:
    """Yield the functions of the library; what is damaged is left out (the agent names it)."""
    for path in sorted(directory.glob("*.json"))[:MAX_FILES]:
        try:
            pattern = decode(read_file(path, MAX_FILE), Pattern, max_bytes=MAX_FILE)
        except (BadInput, OSError):
            continue
        if pattern.function is not None and not pattern.function.name.startswith("__"):
            yield pattern


def _call(function: FunctionPattern, names: list[str]) -> str | None:
    """Return the call that passes `names`, or None where it cannot."""
    known = [p for p in function.parameters if p.kind not in VARIADIC]
    if known and known[0].name in ("self", "cls"):
        return None
    needed = [p for p in known if p.default is None]
    if {p.name for p in needed} <= set(names) <= {p.name for p in known}:
        return f"{function.name}({', '.join(f'{name}={name}' for name in names)})"
    positional = [p for p in known if p.kind is not ParameterKind.KEYWORD_ONLY]
    if len(needed) <= len(names) <= len(positional) and all(p in positional for p in needed):
        return f"{function.name}({', '.join(names)})"
    return None


def _body(function: FunctionPattern, names: list[str]) -> Body:
    lines = (f"return {_call(function, names)}",)
    return Body(lines, tuple(function.imports), 0.0, "retrieved", (*function.helpers, function.source))


def _apart(function: FunctionPattern, wish: Wish) -> FunctionPattern:
    """Return the function with no name that the wanted one would hide; as it is where it cannot be read."""
    try:
        trees = {text: ast.parse(text) for text in (*function.imports, *function.helpers, function.source)}
        bound = {name for tree in trees.values() for node in tree.body for name in bound_by(node)}
        renamed = _Renamed({wish.name} & bound | {function.name} & wish.parameters.keys())
        if not renamed.names:
            return function
        new = {text: ast.unparse(renamed.visit(tree)) for text, tree in trees.items()}
    except UNPARSABLE:
        return function
    return msgspec.structs.replace(
        function, name=renamed.told(function.name), source=new[function.source],
        imports=[new[text] for text in function.imports], helpers=[new[text] for text in function.helpers],
    )  # fmt: skip


class _Renamed(ast.NodeTransformer):
    """Gives names others, wherever they stand; attributes have theirs from elsewhere."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def told(self, name: str) -> str:
        return f"{name}_that_won" if name in self.names else name

    def visit(self, node: ast.AST) -> ast.AST:
        for field in ("id", "arg", "name"):  # of names, parameters and keywords, definitions and handlers
            if not isinstance(node, ast.alias) and isinstance(known := getattr(node, field, None), str):
                setattr(node, field, self.told(known))
        if isinstance(node, ast.Global | ast.Nonlocal):
            node.names = [self.told(name) for name in node.names]
        if isinstance(node, ast.alias) and (node.asname or node.name) in self.names:
            node.asname = self.told(node.asname or node.name)
        return self.generic_visit(node)


def _docstring(function: FunctionPattern) -> str:
    found = re.search(r'"""(.*?)"""', function.source, re.DOTALL)
    return found[1] if found else ""


def _words(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.lower().replace("_", " ")) if len(word) > 2}
