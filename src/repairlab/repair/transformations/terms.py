"""terms: a term or factor added to an expression, a value in place of an expression.

(TBar FP11, TSSB-3M "change binary operand", and the "missing logic" of one-line fixes.) Wide and seldom right: the
lowest priors. Types seen in runs say which names can be added to what.
"""

import ast
from collections.abc import Iterator

from repairlab.repair.transformations.site import Draft, Site

LISTED = ast.List | ast.ListComp


def added(site: Site) -> Iterator[Draft]:
    """`e + n`, `e * n`, `e // 2`, `e % n`, `-e`, with names and numbers at hand."""
    node = site.node
    if not isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.BinOp | ast.Subscript | ast.IfExp | LISTED):
        return
    if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load) or not _wanted(site, node):
        return
    kind = site.type_of(node)
    if kind in ("", "int", "float"):
        yield from _arithmetic(site, node)
    joined = isinstance(site.parent, ast.BinOp) and isinstance(site.parent.op, ast.Add) and kind
    if kind in ("", "str", "list") and (
        joined or isinstance(site.parent, ast.Return | ast.Assign | ast.Call | ast.AugAssign)
    ):
        yield from _concatenated(site, node, kind)


def _wanted(site: Site, node: ast.expr) -> bool:
    parent = site.parent
    if isinstance(parent, ast.Call):
        return node in parent.args
    return isinstance(parent, ast.Return | ast.Assign | ast.AugAssign | ast.BinOp | ast.Compare | ast.Tuple | ast.List)


def _arithmetic(site: Site, node: ast.expr) -> Iterator[Draft]:
    tight = site.tight(node, 13)
    for text, prior in (
        (f"{tight} * 2", 0.1),
        (f"{tight} // 2", 0.1),
        (f"{tight} / 2", 0.08),
        (f"{tight} ** 2", 0.1),
        (f"{tight} % 10", 0.06),
        (f"{tight} ** 0.5", 0.04),
    ):
        yield from site.put(node, text, prior, "factor added")
    names = [name for name in site.scope.near(node.lineno) if site.kind(name) in ("int", "float")]
    others = [name for name in names if name != site.text(node)]
    for rank, name in enumerate([*others[: 3 * site.width], *site.scope.numbers[: 2 * site.width]]):
        for symbol, prior in (("+", 0.15), ("-", 0.12), ("*", 0.12), ("//", 0.06), ("/", 0.06), ("%", 0.08)):
            yield from site.put(node, f"{tight} {symbol} {name}", prior / (1 + rank / 3), "term added")


def _concatenated(site: Site, node: ast.expr, kind: str) -> Iterator[Draft]:
    names = [name for name in site.scope.near(node.lineno) if site.kind(name) == (kind or "str")]
    if not kind or not names:
        names += [name for name in site.scope.near(node.lineno) if not site.kind(name)]
    common = ["'.'", "' '", "'-'", "'_'", "','", "'\\n'", "':'", "'0'"]
    literals = [*site.scope.texts[: 2 * site.width], *common] if kind != "list" else []
    for rank, name in enumerate([*[n for n in names if n != site.text(node)][: 3 * site.width], *literals]):
        tight = site.tight(node, 11)
        yield from site.put(node, f"{tight} + {name}", 0.15 / (1 + rank / 3), "term added")
        yield from site.put(node, f"{name} + {tight}", 0.15 / (1 + rank / 3), "term added")


def borrowed(site: Site) -> Iterator[Draft]:
    """Another expression of the function in place of one: an operand, an index, an argument used elsewhere."""
    node = site.node
    if not isinstance(
        node, ast.Name | ast.Call | ast.BinOp | ast.Subscript | ast.Attribute | ast.Constant | ast.Compare
    ):
        return
    if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load) or not _borrows(site, node):
        return
    own, kind = site.text(node), site.type_of(node)
    index = isinstance(site.parent, ast.Subscript)
    fitting = []
    for text, other in site.scope.expressions:
        if text != own and (not kind or not other or other == kind):
            fitting.append(text)
    for rank, text in enumerate(fitting[: 12 * site.width]):
        yield from site.put(node, text, 0.12 / (1 + rank / 6), "expression of the function")
        if index:
            for sign in ("+", "-"):
                yield from site.put(node, f"{text} {sign} 1", 0.08 / (1 + rank / 6), "expression of the function")


def _borrows(site: Site, node: ast.expr) -> bool:
    parent = site.parent
    if isinstance(parent, ast.Call):
        return node in parent.args
    if isinstance(parent, ast.Subscript):
        return node is parent.slice
    return isinstance(parent, ast.Compare | ast.BinOp | ast.Return | ast.Assign | ast.AugAssign | ast.IfExp | ast.Slice)


def value(site: Site) -> Iterator[Draft]:
    """A name, a default or `len(name)` in place of a whole expression."""
    node = site.node
    if not isinstance(
        node, ast.Call | ast.BinOp | ast.Subscript | ast.Attribute | ast.IfExp | ast.Compare | ast.BoolOp
    ):
        return
    if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load) or not _wanted(site, node):
        return
    kind = site.type_of(node)
    names = site.scope.near(node.lineno)
    for rank, name in enumerate(names[: 4 * site.width]):
        other = site.kind(name)
        fits = 1.0 if not kind or not other or kind == other else 0.3
        yield from site.put(node, name, 0.2 * fits / (1 + rank / 3), "name for expression")
        if other in ("list", "str", "dict", "tuple", "set") and kind in ("", "int"):
            yield from site.put(node, f"len({name})", 0.12 / (1 + rank / 3), "length for expression")
