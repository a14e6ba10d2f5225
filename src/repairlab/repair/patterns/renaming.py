"""renaming: give the names in a piece of Python other names, keeping its layout where that is possible.

Tokens are replaced in the text. Where that does not give the syntax that the renamed tree has (names inside f-strings,
a string over several lines that was indented), the tree is written out anew, and only comments and layout are lost.
"""

import ast
import builtins
import io
import textwrap
import tokenize
from collections.abc import Iterable, Mapping, Sequence

from repairlab.patterns.functions import Function
from repairlab.patterns.templates import UNPARSABLE

_BUILTINS = frozenset(dir(builtins))


def names_in(root: ast.AST) -> set[str]:
    """Return every name that a piece of code mentions as a name of its own or its module's."""
    found = {node.id for node in ast.walk(root) if isinstance(node, ast.Name)}
    found |= {node.arg for node in ast.walk(root) if isinstance(node, ast.arg)}
    return found | {node.name for node in ast.walk(root) if isinstance(node, Function | ast.ClassDef)}


def free(name: str, taken: Iterable[str]) -> str:
    """Return `name`, or the first `name_2`, `name_3`, … that is not taken."""
    known = {*taken, *_BUILTINS}
    return next(made for n in range(1, 10_000) if (made := name if n == 1 else f"{name}_{n}") not in known)


class _Renaming(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def visit(self, node: ast.AST) -> ast.AST:
        """Rename what a node binds or uses."""
        for field in ("id", "name", "rest", "arg"):
            value = getattr(node, field, None)
            if isinstance(value, str) and not isinstance(node, ast.keyword | ast.alias):
                setattr(node, field, self.names.get(value, value))
        if isinstance(node, ast.Global | ast.Nonlocal):
            node.names = [self.names.get(name, name) for name in node.names]
        if isinstance(node, ast.alias) and (node.asname or node.name) in self.names:
            node.asname = self.names[node.asname or node.name]
        return self.generic_visit(node)


def renamed(text: str, names: Mapping[str, str]) -> str:
    """Return `text` (statements, not indented) with its names replaced."""
    wanted = _Renaming(names).visit(ast.parse(text))
    made = _by_tokens(text, names)
    return made if _dump(made) == ast.dump(wanted) else ast.unparse(ast.fix_missing_locations(wanted)) + "\n"


def _by_tokens(text: str, names: Mapping[str, str]) -> str:
    keywords = {(k.lineno, k.col_offset) for k in ast.walk(ast.parse(text)) if isinstance(k, ast.keyword)}
    lines, before = text.splitlines(keepends=True), ""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        row, column = token.start
        at = row, len(token.line[:column].encode())
        if token.type == tokenize.NAME and token.string in names and before != "." and at not in keywords:
            found.append((row, column, token.string))
        before = token.string
    for row, column, name in reversed(found):
        line = lines[row - 1]
        lines[row - 1] = line[:column] + names[name] + line[column + len(name) :]
    return "".join(lines)


def _dump(text: str) -> str:
    try:
        return ast.dump(ast.parse(text))
    except UNPARSABLE:
        return ""


def body_of(text: str) -> list[ast.stmt]:
    """Return the statements of the one function in `text`, its docstring left out."""
    (function,) = ast.parse(text).body
    assert isinstance(function, Function)
    return function.body[ast.get_docstring(function, clean=False) is not None :]


def body_text(text: str, indent: str, newline: str, first: Sequence[str]) -> str:
    """Return the body of the one function in `text`, indented anew, after the statements `first`."""
    body = body_of(text)
    wanted = [*ast.parse("\n".join(first)).body, *body] or [ast.Pass()]
    made = _indented("".join(line + "\n" for line in [*first, *_body_lines(text, body)]), indent)
    if _dump(f"if 1:\n{made}" if indent else made) != _dump_of(wanted, nested=bool(indent)):
        made = _indented("".join(ast.unparse(node) + "\n" for node in wanted), indent)
    return made.replace("\n", newline)


def _indented(text: str, indent: str) -> str:
    return textwrap.indent(text, indent, lambda line: bool(line.strip()))


def _body_lines(text: str, body: Sequence[ast.stmt]) -> list[str]:
    if not body:
        return []
    start = min([body[0].lineno, *(d.lineno for d in getattr(body[0], "decorator_list", []))])
    lines = text.split("\n")[start - 1 : body[-1].end_lineno]
    return [] if text.split("\n")[start - 1][: body[0].col_offset].strip() else _dedented(lines)


def _dedented(lines: Sequence[str]) -> list[str]:
    return textwrap.dedent("\n".join(lines)).split("\n")


def _dump_of(body: Sequence[ast.stmt], *, nested: bool) -> str:
    inside: list[ast.stmt] = [ast.If(ast.Constant(1), list(body), [])] if nested else list(body)
    return ast.dump(ast.Module(inside, []))
