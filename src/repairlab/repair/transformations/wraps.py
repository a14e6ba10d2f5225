"""wraps: a call, a method, a bound, brackets put around a value or taken away; on both sides of a comparison too.

(TBar FP11; TSSB-3M "add function around expression" 117,000, "add method call" 60,000, "add attribute access" 32,000.)
The value's type chooses what to put around it.
"""

import ast
from collections.abc import Iterator

from repairlab.repair.transformations.infer import BUILT_IN, NUMBERS
from repairlab.repair.transformations.site import Draft, Site

WRAPS: dict[str, dict[str, float]] = {
    "int": {"abs": 0.2, "str": 0.25, "float": 0.1, "-": 0.2},
    "float": {"int": 0.25, "round": 0.3, "abs": 0.2, "-": 0.15},
    "str": {"int": 0.2, ".lower()": 0.2, ".upper()": 0.15, ".strip()": 0.2, ".swapcase()": 0.12, ".title()": 0.06,
        ".capitalize()": 0.06, "len": 0.2, "list": 0.1, "set": 0.12, "sorted": 0.1, ".split()": 0.15},
    "list": {"len": 0.25, "sorted": 0.3, "set": 0.25, "sum": 0.2, "max": 0.15, "min": 0.15, "list": 0.1,
        "tuple": 0.15, "reversed": 0.1},
    "set": {"sorted": 0.35, "list": 0.35, "len": 0.25},
    "tuple": {"list": 0.3, "sorted": 0.2, "len": 0.2},
    "bool": {"not ": 0.5, "int": 0.15},
    "dict": {"len": 0.2, "sorted": 0.2, "list": 0.15, ".values()": 0.2, ".items()": 0.25, ".keys()": 0.1},
    "": {".lower()": 0.06, ".upper()": 0.06, ".swapcase()": 0.04, ".strip()": 0.06, "sum": 0.06, "abs": 0.1,
        "str": 0.12, "int": 0.12, "len": 0.12, "sorted": 0.12, "set": 0.1, "list": 0.1, "not ": 0.1, "round": 0.06},
}  # fmt: skip


def wrap(site: Site) -> Iterator[Draft]:
    """A conversion, negation or built-in put around a value, chosen by the value's type."""
    node = site.node
    if not isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.Subscript | ast.BinOp | ast.ListComp | ast.IfExp):
        return
    if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load) or not _wrappable(site, node):
        return
    text, kind = site.text(node), site.type_of(node)
    place = 1.0 if isinstance(site.parent, ast.Return | ast.Compare | ast.Assign | ast.For | ast.comprehension) else 0.6
    for name, prior in WRAPS.get(kind, WRAPS[""]).items():
        if name.startswith("."):
            wrapped = site.tight(node) + name
        elif name in ("-", "not "):
            wrapped = name + site.tight(node, 13 if name == "-" else 5)
        else:
            wrapped = f"{name}({text})"
        yield from site.put(node, wrapped, prior * place, "wrapped")


def sorts(site: Site) -> Iterator[Draft]:
    """A sort put around an iterable, by a key that the function has at hand."""
    node = site.node
    if not isinstance(node, ast.Name | ast.Call | ast.ListComp | ast.GeneratorExp | ast.Subscript | ast.Attribute):
        return
    wanted = isinstance(site.parent, ast.Return | ast.Assign | ast.For | ast.comprehension | ast.Call)
    if not wanted or not _wrappable(site, node) or site.type_of(node) not in ("", "list", "set", "tuple", "dict"):
        return
    if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
        return
    text = site.text(node)
    tables = [name for name in site.scope.near(node.lineno) if site.kind(name) == "dict"][: 2 * site.width]
    options = ["reverse=True", "key=len", *(f"key=lambda item: {name}[item]" for name in tables), "key=str", "key=abs"]
    for rank, option in enumerate(options):
        yield from site.put(node, f"sorted({text}, {option})", 0.12 / (1 + rank / 4), "sorted")
    for form in ("sorted(set({}))", "list(set({}))", "sorted(list(set({})))", "list(dict.fromkeys({}))"):
        yield from site.put(node, form.format(text), 0.1, "duplicates dropped")


def both_sides(site: Site) -> Iterator[Draft]:
    """The same call put around both sides of a comparison, or taken from both."""
    node = site.node
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        return
    left, right = node.left, node.comparators[0]
    if not isinstance(left, ast.Constant) and not isinstance(right, ast.Constant):
        for name in ("set", "sorted", "len", "abs", "sum", "list", "str", "int"):
            edits = tuple((*site.source.span(side), f"{name}({site.text(side)})") for side in (left, right))
            yield Draft(0.15, edits, "both sides wrapped")
        for method in (".lower()", ".strip()"):
            yield Draft(
                0.1,
                tuple((*site.source.span(side), site.tight(side) + method) for side in (left, right)),
                "both sides wrapped",
            )
    if isinstance(left, ast.Call) and isinstance(right, ast.Call) and len(left.args) == 1 == len(right.args):
        edits = tuple((*site.source.span(side), site.text(side.args[0])) for side in (left, right))
        yield Draft(0.2, edits, "both sides unwrapped")


def unwrap(site: Site) -> Iterator[Draft]:
    """A call replaced by its argument, a method call by its object."""
    node = site.node
    if not isinstance(node, ast.Call):
        return
    if len(node.args) == 1 and not isinstance(node.args[0], ast.Starred | ast.GeneratorExp):
        yield from site.put(node, site.text(node.args[0]), 0.3, "call taken away")
    if isinstance(node.func, ast.Attribute):
        yield from site.put(node, site.text(node.func.value), 0.25 if not node.args else 0.15, "method taken away")
    if isinstance(node.func, ast.Name) and node.args:
        text = site.text(node)
        if node.func.id == "round" and len(node.args) == 1:
            yield from site.put(node, text[:-1] + ", 2)", 0.2, "digits added")
        if node.func.id == "sum":
            yield from site.put(node, f"{text} / len({site.text(node.args[0])})", 0.15, "mean for sum")


def clamp(site: Site) -> Iterator[Draft]:
    """`max(…, e)` and `min(…, e)`: against the variable that is assigned, a number, another number at hand."""
    node, parent = site.node, site.parent
    if not isinstance(node, ast.expr) or isinstance(node, ast.Constant | ast.Starred) or not _value(site, node):
        return
    if not isinstance(parent, ast.Assign | ast.Return | ast.Call) or site.type_of(node) not in ("", *NUMBERS):
        return
    bounds: dict[str, float] = {}
    if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name | ast.Subscript | ast.Attribute):
        bounds[site.text(parent.targets[0])] = 0.25
    numeric = [name for name in site.scope.near(node.lineno) if site.kind(name) in ("int", "float")]
    for rank, name in enumerate(["0", "1", *numeric[: 2 * site.width]]):
        bounds.setdefault(name, 0.1 / (1 + rank / 2))
    text = site.text(node)
    for bound, prior in bounds.items():
        if bound != text:
            for function in ("max", "min"):
                yield from site.put(node, f"{function}({bound}, {text})", prior, "bounded")


def display(site: Site) -> Iterator[Draft]:
    """A value put into a list or tuple of its own, the only element of a list in place of it; a star put or dropped."""
    node, parent = site.node, site.parent
    if isinstance(node, ast.Starred) and isinstance(node.ctx, ast.Load) and isinstance(parent, ast.Call):
        yield from site.put(node, site.text(node.value), 0.2, "star dropped")
    if not isinstance(node, ast.expr) or isinstance(node, ast.Starred) or not _value(site, node):
        return
    if isinstance(node, ast.List | ast.Tuple) and len(node.elts) == 1 and not isinstance(node.elts[0], ast.Starred):
        yield from site.put(node, site.text(node.elts[0]), 0.2, "brackets taken away")
    if isinstance(parent, ast.BinOp) and "list" not in (site.type_of(parent.left), site.type_of(parent.right)):
        return
    if isinstance(parent, ast.Return | ast.Call | ast.BinOp | ast.Assign | ast.AugAssign | ast.List):
        text, usual = site.text(node), isinstance(node, ast.Name | ast.List | ast.Call | ast.Subscript)
        yield from site.put(node, f"[{text}]", 0.12 if usual else 0.06, "brackets added")
        if isinstance(parent, ast.Return | ast.Call) and not isinstance(node, ast.Constant):
            yield from site.put(node, f"({text},)", 0.04, "brackets added")
    spread = isinstance(parent, ast.Call) and node in parent.args
    if spread and site.type_of(node) in ("", "list", "tuple", "generator"):
        start, _ = site.source.span(node)
        yield from site.span_draft(start, start, "*", 0.08, "star added")


def attribute(site: Site) -> Iterator[Draft]:
    """An attribute of a value in place of the value, the value in place of its attribute."""
    node = site.node
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and _value(site, node):
        yield from site.put(node, site.text(node.value), 0.12, "attribute dropped")
    if not isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript) or not _value(site, node):
        return
    if site.type_of(node) in ("", "NoneType") or site.type_of(node) not in BUILT_IN:
        known = site.scope.attributes_of(site.text(node))
        others = [name for name in site.scope.attributes if name not in known]
        for rank, name in enumerate([*known, *others][: 6 * site.width]):
            prior = (0.2 if name in known else 0.08) / (1 + rank / 3)
            yield from site.put(node, f"{site.tight(node)}.{name}", prior, "attribute added")


def element(site: Site) -> Iterator[Draft]:
    """An element of a container in place of the container, the container in place of its element."""
    node = site.node
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and not isinstance(node.slice, ast.Slice):
        yield from site.put(node, site.text(node.value), 0.15, "index dropped")
        if _value(site, node) and site.type_of(node.value) in ("", "list", "tuple"):
            for name in ("len", "sum", "max", "min"):
                yield from site.put(node, f"{name}({site.text(node.value)})", 0.06, "whole for element")
    if not isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript) or not _value(site, node):
        return
    kind, base = site.type_of(node), site.tight(node)
    if kind in ("list", "tuple", "str") or (not kind and not isinstance(node, ast.Name)):
        for index, prior in (("0", 0.12), ("-1", 0.1), ("1", 0.06)):
            yield from site.put(node, f"{base}[{index}]", prior * (1.0 if kind else 0.5), "index added")
    if kind in ("list", "tuple", "str", "dict"):
        names = [name for name in site.scope.near(node.lineno) if name != base]
        keys = [name for name in names if kind == "dict" or site.kind(name) == "int"]
        for rank, name in enumerate(keys[: 3 * site.width]):
            yield from site.put(node, f"{base}[{name}]", 0.12 / (1 + rank / 2), "index added")


def division(site: Site) -> Iterator[Draft]:
    """`a // b`, rounded up, and `int(a / b)` for each other."""
    node = site.node
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.FloorDiv):
        left, right = site.tight(node.left, 12), site.tight(node.right, 13)
        for text in (f"-(-{left} // {right})", f"({site.tight(node.left, 11)} + {right} - 1) // {right}"):
            yield from site.put(node, text, 0.08, "division rounded up")
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("int", "round") and len(node.args) == 1:
        (inner,) = node.args
        if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Div):
            text = f"{site.tight(inner.left, 12)} // {site.tight(inner.right, 13)}"
            yield from site.put(node, text, 0.2, "integer division")


def _value(site: Site, node: ast.expr) -> bool:
    """True for an expression that is read as a value by itself."""
    return isinstance(getattr(node, "ctx", ast.Load()), ast.Load) and _wrappable(site, node)


def _wrappable(site: Site, node: ast.expr) -> bool:
    parent = site.parent
    if (isinstance(parent, ast.Call) and parent.func is node) or isinstance(parent, ast.Attribute | ast.Expr | ast.arg):
        return False
    return not (isinstance(parent, ast.Subscript) and parent.value is node)
