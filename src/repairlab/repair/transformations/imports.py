"""imports: a name that nothing binds, and an attribute that a module does not have.

BugsInPy's import changes; PyTER's and PyFixer's missing name and missing attribute. Both are seen in the text alone, so
these drafts appear only where the code is wrong for certain, and therefore first.
"""

import ast
import builtins
from collections.abc import Iterator

from repairlab.repair import stdlib
from repairlab.repair.transformations.site import Draft, Site
from repairlab.trial.source import Source, once

CERTAIN = 2.0  # of these drafts: beside them, an ordinary edit is a guess
MAX_PROVIDERS = 4
MAX_UNBOUND = 100  # names without a binding in one file
_BUILTINS = frozenset(dir(builtins)) | {"__file__", "__path__", "__builtins__"}


def undefined(site: Site) -> Iterator[Draft]:
    """An import, or a name spelt like it, for a name that nothing in the file binds."""
    node, source = site.node, site.source
    if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Load):
        return
    bound = bound_names(source)
    if node.id in bound or node.id in _BUILTINS or "*" in bound or not _among_the_first(source, node.id):
        return
    start, end = source.span(node)
    for prior, statement in _imports(site, node.id):
        at, text = insertion(source, statement)
        yield Draft(CERTAIN * prior, ((at, at, text),), statement[:80])
    for rank, other in enumerate(stdlib.close(node.id, bound | _BUILTINS)):
        yield Draft(CERTAIN * (0.8 - 0.1 * rank), ((start, end, other),), f"{node.id[:30]} to {other[:30]}")


def _among_the_first(source: Source, name: str) -> bool:
    """True for the first names without a binding: in a file with hundreds of them, something else is wrong."""
    first: set[str] = source.__dict__.setdefault("_unbound", set())
    if len(first) < MAX_UNBOUND:
        first.add(name)
    return name in first


def _imports(site: Site, name: str) -> Iterator[tuple[float, str]]:
    for module in site.project.definitions.get(name, ()):
        if module != site.source.module:
            yield 1.0, f"from {module} import {name}"
    if stdlib.is_module(name):
        yield 1.0, f"import {name}"
    if name in stdlib.ALIASES:
        yield 0.9, f"import {stdlib.ALIASES[name]} as {name}"
    for rank, module in enumerate(stdlib.providers(name)[:MAX_PROVIDERS]):
        yield 0.95 - 0.05 * rank, f"from {module} import {name}"


def attribute(site: Site) -> Iterator[Draft]:
    """Another attribute for one that a module of the standard library does not have."""
    node, source = site.node, site.source
    if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
        return
    imported = imported_modules(source).get(node.value.id)
    known = stdlib.names_of(imported) if imported else frozenset[str]()
    if imported is None or not known or node.attr in known:
        return
    start, end = source.span(node)
    local = node.value.id
    if imported == "collections" and node.attr in stdlib.names_of("collections.abc"):
        yield Draft(CERTAIN, ((start, end, f"{local}.abc.{node.attr}"),), "moved to collections.abc")
    if (imported, node.attr) in stdlib.MOVED:
        module, new = stdlib.MOVED[imported, node.attr]
        text = new if module == "builtins" else f"{local}.{new}" if module == imported else ""
        if text:
            yield Draft(CERTAIN, ((start, end, text),), f"{node.attr} to {new}")
    if imported in known:  # datetime.datetime, copy.copy, …: the class where the module is meant to be
        yield Draft(CERTAIN * 0.9, ((start, end, f"{local}.{imported}.{node.attr}"),), f"{imported}.{imported}")
    for rank, other in enumerate(stdlib.close(node.attr, known)):
        yield Draft(CERTAIN * (0.9 - 0.1 * rank), ((start, end, f"{local}.{other}"),), f"{node.attr[:30]} to {other}")


@once
def bound_names(source: Source) -> frozenset[str]:
    """Return every name that anything in a file binds; '*' where it imports all of a module."""
    return frozenset(_bound(source.tree))


def _bound(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.alias(name=name, asname=asname):
                yield asname or name.partition(".")[0]
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                yield from names


@once
def imported_modules(source: Source) -> dict[str, str]:
    """Return local name → module of the plain imports of a file; names that something else binds too are left out."""
    nodes = [node for node in source.nodes if isinstance(node, ast.Import)]
    aliases = [alias for node in nodes for alias in node.names]
    found = {a.asname or a.name: a.name for a in aliases if a.asname or "." not in a.name}
    rebound = {n.id for n in source.nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    rebound |= {n.arg for n in source.nodes if isinstance(n, ast.arg)}
    return {name: module for name, module in found.items() if name not in rebound}


def insertion(source: Source, statement: str) -> tuple[int, str]:
    """Return where an import statement goes and with which text: after the imports that a file begins with."""
    body = source.tree.body
    head = body[1:] if body and ast.get_docstring(source.tree, clean=False) is not None else body
    leading: list[ast.stmt] = []
    for node in head:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            break
        leading.append(node)
    if leading:
        last = leading[-1]
        newline = source.newline(last.lineno)
        _, at = source.line_span(last.lineno, last.end_lineno or last.lineno)
        return at, f"{statement}{newline}" if source.text[:at].endswith(("\n", "\r")) else f"{newline}{statement}"
    if not head:
        return len(source.text), f"{source.newline(1)}{statement}{source.newline(1)}"
    first = min([head[0].lineno, *(d.lineno for d in getattr(head[0], "decorator_list", []))])
    newline = source.newline(first)
    gap = 2 if isinstance(head[0], ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else 1
    return source.line_span(first, first)[0], statement + newline * (gap + 1)
