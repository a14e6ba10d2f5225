"""copies: a copy for an alias, containers of their own for one container many times; another empty container.

(BugsInPy and the classic aliasing mistakes of Python: a shared default, `[[]] * n`, `dict.fromkeys(keys, [])`.)
"""

import ast
from collections.abc import Iterator

from repairlab.repair.transformations.site import Draft, Site

EMPTY = ("[]", "{}", "set()", "''", "0", "None", "()")
LIMITS = ("float('inf')", "float('-inf')", "-1", "None")


def copied(site: Site) -> Iterator[Draft]:
    """A copy of a list, dictionary or set, of its elements too where they are such; the alias for a copy."""
    node, parent = site.node, site.parent
    if not isinstance(node, ast.Name | ast.Attribute | ast.Subscript) or not isinstance(node.ctx, ast.Load):
        return
    kind = site.type_of(node)
    if kind not in ("list", "dict", "set") or (isinstance(parent, ast.Call) and parent.func is node):
        return
    if isinstance(
        parent, ast.Assign | ast.AnnAssign | ast.Return | ast.Call | ast.For | ast.List | ast.Tuple | ast.Dict
    ):
        text = site.text(node)
        yield from site.put(node, f"{kind}({text})", 0.15, "copy for alias")
        if kind == "list" and site.element_of(node) in ("list", "dict", "set"):
            inner = site.element_of(node)
            yield from site.put(node, f"[{inner}(item) for item in {text}]", 0.12, "copy of elements")


def repeated(site: Site) -> Iterator[Draft]:
    """`[[] for _ in range(n)]` for `[[]] * n`, a comprehension for `dict.fromkeys` with a container."""
    node = site.node
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and isinstance(node.left, ast.List):
        held = node.left.elts[0] if len(node.left.elts) == 1 else None
        if isinstance(held, ast.List | ast.Dict | ast.Set | ast.BinOp | ast.Call):
            text = f"[{site.text(held)} for _ in range({site.text(node.right)})]"
            yield from site.put(node, text, 0.5, "a container each")
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "fromkeys" and len(node.args) == 2:
        keys, value = (site.text(arg) for arg in node.args)
        if not isinstance(node.args[1], ast.Constant):
            yield from site.put(node, f"{{key: {value} for key in {keys}}}", 0.5, "a container each")


def initial(site: Site) -> Iterator[Draft]:
    """Another empty container or limit as the first value of a variable."""
    node, parent = site.node, site.parent
    if not isinstance(parent, ast.Assign | ast.AnnAssign) or not isinstance(node, ast.expr) or node is not parent.value:
        return
    text = site.text(node)
    empty = text in EMPTY or (isinstance(node, ast.Call) and not node.args and not node.keywords)
    if empty:
        for rank, other in enumerate(EMPTY):
            yield from site.put(node, other, 0.15 / (1 + rank / 3), "initial value")
    number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
    if number or isinstance(node, ast.UnaryOp) or text == "None" or text.startswith("float("):
        listed = [name for name in site.scope.near(node.lineno) if site.kind(name) in ("list", "tuple")]
        for rank, other in enumerate([*LIMITS, *(f"{name}[0]" for name in listed[: 2 * site.width])]):
            yield from site.put(node, other, 0.12 / (1 + rank / 3), "initial value")


def ordered(site: Site) -> Iterator[Draft]:
    """Two elements of a list, tuple or unpacking exchanged; an element put in front instead of behind."""
    node = site.node
    if isinstance(node, ast.List | ast.Tuple) and 2 <= len(node.elts) <= 6:
        weight = 1.0 if isinstance(node.ctx, ast.Load) else 0.7
        for at, (one, two) in enumerate(zip(node.elts, node.elts[1:], strict=False)):
            edits = ((*site.source.span(one), site.text(two)), (*site.source.span(two), site.text(one)))
            yield Draft(weight * (0.3 if at == 0 else 0.15), edits, "elements exchanged")
    elif isinstance(node, ast.Call) and len(node.args) == 1 and getattr(node.func, "attr", "") == "append":
        base = site.text(node.func).removesuffix(".append")
        yield from site.put(node, f"{base}.insert(0, {site.text(node.args[0])})", 0.2, "prepend for append")
