"""placement: a statement at the wrong depth or in the wrong branch; what an exception must not end.

(GenProg's and TBar FP14's moves; in Python a move is often mere indentation. Guarding by `try` is PAR's "exception
handler" template.)
"""

import ast
from collections.abc import Iterator

from repairlab.repair.transformations.ingredients import is_docstring, pool
from repairlab.repair.transformations.site import LOOPS, Draft, Site

HEADED = (*LOOPS, ast.If, ast.With)
MOVED = (ast.Assign, ast.AugAssign, ast.Expr, ast.Return, ast.Break, ast.Continue)


def into_body(site: Site) -> Iterator[Draft]:
    """A statement behind an `if` with other branches moved to the end of one of them, or copied into it."""
    node = site.node
    if not isinstance(node, MOVED) or is_docstring(node) or not site.alone_on_lines(node):
        return
    block = site.block(node)
    at = block.index(node)
    before = block[at - 1] if at else None
    if not isinstance(before, ast.If | ast.Try) or not (before.orelse or isinstance(before, ast.Try)):
        return
    start, end = site.lines(node)
    text = site.source.text[start:end]
    bodies = [before.body, *(handler.body for handler in getattr(before, "handlers", []))]
    chain = before.orelse
    while isinstance(before, ast.If) and len(chain) == 1 and isinstance(chain[0], ast.If):
        bodies.append(chain[0].body)
        chain = chain[0].orelse
    for body in bodies[:4]:
        last = body[-1]
        place = site.lines(last)[1]
        if last.lineno > before.lineno and site.source.text[:place].endswith(("\n", "\r")) and place <= start:
            moved = site.source.indent(last.lineno) + text[len(site.source.indent(node.lineno)) :]
            if not moved.endswith(("\n", "\r")):
                moved += site.source.newline(node.lineno)
            if place == start:
                yield Draft(0.25, ((start, end, moved),), "statement moved in")
            else:
                yield Draft(0.25, ((place, place, moved), (start, end, "")), "statement moved in")


def in_front(site: Site) -> Iterator[Draft]:
    """The first statement of a loop or block moved in front of it, as an initial value is; an outer one moved in."""
    node, parent = site.node, site.parent
    if not isinstance(node, ast.Assign | ast.AugAssign | ast.Expr) or is_docstring(node):
        return
    if not site.alone_on_lines(node) or not site.source.text[: site.lines(node)[1]].endswith(("\n", "\r")):
        return
    block = site.block(node)
    first = isinstance(parent, HEADED) and block is parent.body and block[0] is node and len(block) > 1
    if first and isinstance(parent, HEADED) and site.alone_on_lines(parent) and not _is_elif(site, parent):
        yield _moved(site, node, parent, "statement moved out")
    at = block.index(node)
    after = block[at + 1] if at + 1 < len(block) else None
    if isinstance(after, HEADED) and after.body[0].lineno > after.lineno:
        yield _moved(site, node, after.body[0], "statement moved in")


def _moved(site: Site, node: ast.stmt, place: ast.stmt, note: str) -> Draft:
    """Return the draft that puts `node` in front of `place`."""
    start, end = site.lines(node)
    before = site.lines(place)[0]
    text = site.source.indent(place.lineno) + site.source.text[start:end][len(site.source.indent(node.lineno)) :]
    return Draft(0.3, ((before, before, text), (start, end, "")), note)


def _is_elif(site: Site, node: ast.stmt) -> bool:
    return site.source.text.startswith("elif", site.source.span(node)[0])


def protected(site: Site) -> Iterator[Draft]:
    """A statement put under `try`, with what siblings do otherwise; only where failing tests raise through it."""
    node = site.node
    if not isinstance(node, ast.Assign | ast.AugAssign | ast.Expr | ast.Return) or is_docstring(node):
        return
    if not site.alone_on_lines(node) or site.scope.function is None:
        return
    raised = site.project.raised.get((site.source.path, node.lineno), "")
    if not raised:
        return
    start, end = site.lines(node)
    indent, newline = site.source.indent(node.lineno), site.source.newline(node.lineno)
    lines = site.source.text[start:end].splitlines(keepends=True)
    body = "".join(site.indent_unit + line if line.strip() else line for line in lines)
    inside = any(isinstance(outer, LOOPS) for outer in site.ancestors())
    ways = [*(["continue", "break"] if inside else []), "pass", *(f"return {v}" for v in pool(site).results[:4])]
    for rank, way in enumerate(ways):
        tail = f"{indent}except {raised}:{newline}{indent}{site.indent_unit}{way}{newline}"
        yield Draft(0.2 / (1 + rank / 3), ((start, end, f"{indent}try:{newline}{body}{tail}"),), "exception caught")
