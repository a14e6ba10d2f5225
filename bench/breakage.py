#!/usr/bin/env python3
"""breakage: broken functions beside their right form, one statement each, from Python's own standard library.

    bench/breakage.py [--seed N] [--each K] [--modules NAME …] > pairs.jsonl

Each line is {"name", "buggy", "fixed"}, for bench/reach.py --pairs: a small module (the imports, one function or its
class) before and after. The breaker shares nothing with the engine's transformations and knows nothing of them: it
undoes what fixes of TSSB-3M, PySStuBs and BugsInPy do to statements (a guard taken away, a return moved into its loop,
an update dropped, …), so what it makes is a measure of reach that no development set has shaped. K of each kind are
drawn by the seed.
"""

import ast
import importlib.util
import itertools
import json
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import program

MODULES = """
    bisect heapq textwrap string fractions statistics difflib calendar colorsys csv configparser functools shlex
    posixpath ntpath fnmatch glob copy random json.decoder json.encoder html.parser urllib.parse urllib.robotparser
    argparse ipaddress zipfile tarfile ast inspect tokenize gettext getopt optparse graphlib queue sched cmd pprint
    reprlib dataclasses mimetypes netrc plistlib quopri base64 cgi http.cookies email.utils email.header imaplib
    _pydecimal datetime collections trace pstats profile timeit filecmp shutil tempfile linecache codeop bdb pdb
    wave sndhdr aifc chunk smtplib poplib telnetlib nntplib ftplib socketserver xmlrpc.client zipapp compileall
"""
LINES = range(4, 45)  # of a function: below there is nothing to break, above no single function is meant
SIMPLE = (ast.Assign, ast.AugAssign, ast.Expr)
LOOPS = (ast.For, ast.While)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def blocks(function: ast.AST) -> Iterator[tuple[ast.AST, list[ast.stmt]]]:
    """Yield (owner, block) of every block below a function."""
    for node in ast.walk(function):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                yield node, block


def edit(block: list, start: int, stop: int, new: list) -> Callable[[], Callable[[], None]]:
    """Return what replaces a slice of a block and returns its own undoing; an empty block gets `pass`."""

    def apply() -> Callable[[], None]:
        old = list(block)
        block[start:stop] = new
        if not block:
            block.append(ast.Pass())
        return lambda: block.__setitem__(slice(None), old)

    return apply


def change(node: ast.AST, name: str, value: object) -> Callable[[], Callable[[], None]]:
    """Return what sets a field and returns its own undoing."""

    def apply() -> Callable[[], None]:
        old = getattr(node, name)
        setattr(node, name, value)
        return lambda: setattr(node, name, old)

    return apply


def leaves(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Return | ast.Raise | ast.Continue | ast.Break)


def is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def statements(function: Function) -> Iterator[tuple[str, Callable[[], Callable[[], None]]]]:
    """Statements lost, doubled, exchanged, moved into or out of a block."""
    for owner, block in blocks(function):
        for at, one in enumerate(block):
            alone = isinstance(one, ast.If) and not one.orelse
            if alone and len(one.body) == 1 and leaves(one.body[0]):
                yield f"guard lost, {type(one.body[0]).__name__.lower()}", edit(block, at, at + 1, [])
            elif alone:
                yield "if block lost", edit(block, at, at + 1, [])
                yield "condition lost", edit(block, at, at + 1, one.body)
            if isinstance(one, SIMPLE) and not is_docstring(one):
                yield f"{type(one).__name__.lower()} lost", edit(block, at, at + 1, [])
                yield "statement doubled", edit(block, at, at, [one])
                if isinstance(owner, ast.While):
                    yield "loop update lost", edit(block, at, at + 1, [])
            if isinstance(one, ast.Return) and at and one.value is not None:
                yield "return lost", edit(block, at, at + 1, [])
            if isinstance(one, ast.Break | ast.Continue):
                yield "loop control lost", edit(block, at, at + 1, [])
            if isinstance(one, ast.With | ast.Try) and not any(h.name for h in getattr(one, "handlers", [])):
                yield f"{type(one).__name__.lower()} lost", edit(block, at, at + 1, one.body)
        for at, (one, two) in enumerate(itertools.pairwise(block)):
            if isinstance(one, SIMPLE) and isinstance(two, SIMPLE) and not is_docstring(one):
                yield "statements exchanged", edit(block, at, at + 2, [two, one])


def placed(function: Function) -> Iterator[tuple[str, Callable[[], Callable[[], None]]]]:
    """Statements at another depth."""
    for _, block in blocks(function):
        for at, (one, two) in enumerate(itertools.pairwise(block)):
            if isinstance(one, (*LOOPS, ast.If, ast.With)) and not getattr(one, "orelse", None):
                kind = "loop" if isinstance(one, LOOPS) else "block"
                name = "return" if isinstance(two, ast.Return) else "statement"
                if isinstance(two, (*SIMPLE, ast.Return)):
                    yield f"{name} moved into {kind}", both(one.body, [*one.body, two], block, at + 1)
            if isinstance(one, (*LOOPS, ast.If, ast.With)) and len(one.body) > 1 and isinstance(one.body[-1], SIMPLE):
                kind = "loop" if isinstance(one, LOOPS) else "block"
                yield f"statement moved out of {kind}", out(one.body, block, at + 1)


def both(inner: list, longer: list, block: list, at: int) -> Callable[[], Callable[[], None]]:
    def apply() -> Callable[[], None]:
        old, outer = list(inner), list(block)
        inner[:] = longer
        del block[at]

        def undo() -> None:
            inner[:], block[:] = old, outer

        return undo

    return apply


def out(inner: list, block: list, at: int) -> Callable[[], Callable[[], None]]:
    def apply() -> Callable[[], None]:
        old, outer = list(inner), list(block)
        block.insert(at, inner.pop())

        def undo() -> None:
            inner[:], block[:] = old, outer

        return undo

    return apply


def branched(function: Function) -> Iterator[tuple[str, Callable[[], Callable[[], None]]]]:
    """Branches lost, exchanged, cut loose; conditions too strong or too weak."""
    for _owner, block in blocks(function):
        for at, one in enumerate(block):
            if isinstance(one, ast.If) and one.orelse:
                chained = len(one.orelse) == 1 and isinstance(one.orelse[0], ast.If)
                if chained:
                    yield "elif lost", change(one, "orelse", one.orelse[0].orelse)
                    yield "if for elif", loose(one, block, at)
                else:
                    yield "else lost", change(one, "orelse", [])
                    yield "else cut loose", loose(one, block, at)
                    yield "branches exchanged", exchange(one)
    for node in ast.walk(function):
        if isinstance(node, ast.If | ast.While | ast.IfExp) and isinstance(node.test, ast.BoolOp):
            kind = "conjunct" if isinstance(node.test.op, ast.And) else "disjunct"
            rest = node.test.values
            for at in range(len(rest)):
                left = [value for place, value in enumerate(rest) if place != at]
                new = left[0] if len(left) == 1 else ast.BoolOp(node.test.op, left)
                yield f"{kind} lost", change(node, "test", new)
        if isinstance(node, ast.If | ast.While) and isinstance(node.test, ast.UnaryOp | ast.Name | ast.Compare):
            bare = isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not)
            yield (
                "condition negated",
                change(node, "test", node.test.operand if bare else ast.UnaryOp(ast.Not(), node.test)),
            )


def loose(one: ast.If, block: list, at: int) -> Callable[[], Callable[[], None]]:
    def apply() -> Callable[[], None]:
        old, outer = one.orelse, list(block)
        block[at + 1 : at + 1] = one.orelse
        one.orelse = []

        def undo() -> None:
            one.orelse, block[:] = old, outer

        return undo

    return apply


def exchange(one: ast.If) -> Callable[[], Callable[[], None]]:
    def apply() -> Callable[[], None]:
        one.body, one.orelse = one.orelse, one.body

        def undo() -> None:
            one.body, one.orelse = one.orelse, one.body

        return undo

    return apply


def valued(function: Function) -> Iterator[tuple[str, Callable[[], Callable[[], None]]]]:
    """Wrong initial values, aliases for copies, a lost self, another value returned, a value dropped."""
    names = sorted({n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)})
    for _owner, block in blocks(function):
        for one in block:
            if isinstance(one, ast.Assign) and isinstance(one.value, ast.Constant | ast.List | ast.Dict):
                for new in (0, 1, None, "", True, False):
                    old = one.value.value if isinstance(one.value, ast.Constant) else one.value
                    if type(old) in (int, bool, str, type(None)) and (old is not new and old != new):
                        if isinstance(old, int) != isinstance(new, int) and old is not None:
                            continue
                        yield "initial value", change(one, "value", ast.Constant(new))
            if isinstance(one, ast.Return) and isinstance(one.value, ast.Name):
                for name in names:
                    if name != one.value.id:
                        yield "another name returned", change(one, "value", ast.Name(name, ast.Load()))
            if isinstance(one, ast.Return) and one.value is not None:
                yield "return for value", change(one, "value", None)
                if isinstance(one.value, ast.Call):
                    yield "return word lost", expr(one, block)
            if isinstance(one, ast.AugAssign):
                yield "= for +=", assigned(one, block)
    for node in ast.walk(function):
        for name, value in ast.iter_fields(node):
            for child, put in children(node, name, value):
                if isinstance(child, ast.Attribute) and isinstance(child.value, ast.Name) and child.value.id == "self":
                    yield "self lost", put(ast.Name(child.attr, child.ctx))
                if isinstance(child, ast.Call) and (core := copied(child)) is not None:
                    yield "copy lost", put(core)
                if isinstance(child, ast.Subscript) and ast.unparse(child.slice) == ":":
                    yield "copy lost", put(child.value)
                if isinstance(child, ast.Await):
                    yield "await lost", put(child.value)
    for handler in (n for n in ast.walk(function) if isinstance(n, ast.ExceptHandler)):
        if isinstance(handler.type, ast.Name):
            for other in ("ValueError", "KeyError", "TypeError", "IndexError", "AttributeError"):
                if other != handler.type.id:
                    yield "exception type", change(handler, "type", ast.Name(other, ast.Load()))


def children(node: ast.AST, name: str, value: object) -> Iterator[tuple]:
    if isinstance(value, ast.expr):
        yield value, lambda new: change(node, name, new)
    elif isinstance(value, list):
        for at, child in enumerate(value):
            if isinstance(child, ast.expr):
                yield child, lambda new, at=at: edit(value, at, at + 1, [new])


def copied(call: ast.Call) -> ast.expr | None:
    if isinstance(call.func, ast.Attribute) and call.func.attr == "copy" and not call.args:
        return call.func.value
    named = isinstance(call.func, ast.Name) and call.func.id in ("list", "dict", "set")
    return call.args[0] if named and len(call.args) == 1 and isinstance(call.args[0], ast.Name) else None


def expr(one: ast.Return, block: list) -> Callable[[], Callable[[], None]]:
    at = block.index(one)
    return edit(block, at, at + 1, [ast.Expr(one.value)])


def assigned(one: ast.AugAssign, block: list) -> Callable[[], Callable[[], None]]:
    at = block.index(one)
    return edit(block, at, at + 1, [ast.Assign([one.target], one.value, lineno=one.lineno)])


def functions(name: str) -> Iterator[tuple[str, ast.Module, Function]]:
    """Yield (where, a small module, the function in it) of a module of the standard library."""
    found = importlib.util.find_spec(name)
    if found is None or not found.origin or not found.origin.endswith(".py"):
        return
    tree = ast.parse(Path(found.origin).read_text())
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        if isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno > 200:
            continue
        for one in inside:
            if isinstance(one, Function) and (one.end_lineno or 0) - one.lineno + 1 in LINES:
                yield f"{name}:{one.name}", ast.Module([*imports, node], []), one


def pairs(names: list[str]) -> dict[str, list[dict]]:
    """Return all broken forms by kind."""
    found = defaultdict(list)
    for name in names:
        for where, module, function in functions(name):
            fixed = ast.unparse(module) + "\n"
            for breaker in (statements, placed, branched, valued):
                for kind, apply in breaker(function):
                    undo = apply()
                    try:
                        buggy = ast.unparse(ast.fix_missing_locations(module)) + "\n"
                        compile(buggy, where, "exec")
                    except (SyntaxError, ValueError):
                        buggy = fixed
                    finally:
                        undo()
                    if buggy != fixed:
                        found[kind].append({"name": f"{kind}: {where}", "buggy": buggy, "fixed": fixed})
    return found


def main() -> int:
    """Draw and print the pairs."""
    parser = program.parser(__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=25)
    parser.add_argument("--modules", nargs="*", default=MODULES.split())
    options = parser.parse_args()
    for kind, found in sorted(pairs(options.modules).items()):
        for pair in random.Random(f"{options.seed} {kind}").sample(found, min(options.each, len(found))):
            print(json.dumps(pair))
    return 0


if __name__ == "__main__":
    sys.exit(main())
