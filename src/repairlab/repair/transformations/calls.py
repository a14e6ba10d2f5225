"""calls: arguments exchanged, dropped or added; a call put around a value or taken away; `key=` and `reverse=`.

(PAR "parameter replacer/adder/remover", TBar FP10, PySStuBs "swap arguments", "less/more specific".)
"""

import ast
from collections.abc import Iterator
from itertools import pairwise

from repairlab.repair.transformations.site import Draft, Function, Site

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
KEYS = (
    "key=len",
    "key=abs",
    "key=str",
    "key=lambda item: item[1]",
    "key=lambda item: item[0]",
    "key=lambda item: -item[1]",
)


def arguments(site: Site) -> Iterator[Draft]:
    """Two arguments exchanged, one dropped, one added."""
    node = site.node
    if not isinstance(node, ast.Call):
        return
    args = [arg for arg in node.args if not isinstance(arg, ast.Starred)]
    for at, (one, two) in enumerate(pairwise(args)):
        edits = ((*site.source.span(one), site.text(two)), (*site.source.span(two), site.text(one)))
        yield Draft(0.5 if at == 0 else 0.35, edits, "arguments exchanged")
    if len(args) == len(node.args) and not node.keywords:
        yield from _dropped(site, node, args)
    yield from _added(site, node)


def _dropped(site: Site, node: ast.Call, args: list[ast.expr]) -> Iterator[Draft]:
    function = site.tight(node.func)
    for at in range(len(args)):
        rest = ", ".join(site.text(arg) for place, arg in enumerate(args) if place != at)
        yield from site.put(node, f"{function}({rest})", 0.3 if len(args) > 1 else 0.15, "argument dropped")


def _added(site: Site, node: ast.Call) -> Iterator[Draft]:
    """Add an argument that the called function of this module has a parameter for."""
    definition = _definition(site, node)
    if definition is None:
        return
    given = {keyword.arg for keyword in node.keywords}
    named = [arg.arg for arg in definition.args.args if arg.arg not in ("self", "cls")]
    missing = [
        name for name in (*named[len(node.args) :], *(a.arg for a in definition.args.kwonlyargs)) if name not in given
    ]
    for rank, name in enumerate(missing[:3]):
        pool = [name, *site.scope.near(node.lineno)] if name in site.scope.locals else site.scope.near(node.lineno)
        for order, value in enumerate(list(dict.fromkeys([*pool[: 3 * site.width], "True", "False"]))):
            yield from _with(site, node, f"{name}={value}", 0.35 / (1 + rank + order), "argument added")


def _definition(site: Site, node: ast.Call) -> Function | None:
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    return next((found for found in site.source.definitions() if found.name == name), None)


def ordering(site: Site) -> Iterator[Draft]:
    """`key=` and `reverse=` of sorted, sort, min and max: added, dropped, turned round."""
    node = site.node
    if not isinstance(node, ast.Call):
        return
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    if name not in ("sorted", "sort", "min", "max"):
        return
    given = {keyword.arg for keyword in node.keywords}
    if name in ("sorted", "sort") and "reverse" not in given:
        yield from _with(site, node, "reverse=True", 0.4, "reverse added")
    if "key" not in given:
        own = [f"key={f.name}" for f in site.source.definitions() if len(f.args.args) == 1][:2]
        for rank, key in enumerate([*KEYS, *own][: 4 + 2 * site.width]):
            yield from _with(site, node, key, 0.25 / (1 + rank / 3), "key added")
    for keyword in node.keywords:
        args = [site.text(arg) for arg in node.args]
        rest = [f"{k.arg}={site.text(k.value)}" for k in node.keywords if k is not keyword and k.arg]
        yield from site.put(node, f"{site.text(node.func)}({', '.join([*args, *rest])})", 0.4, "keyword dropped")


def _with(site: Site, node: ast.Call, argument: str, prior: float, note: str) -> Iterator[Draft]:
    end = site.source.span(node)[1] - 1
    inside = site.source.text[:end].rstrip()
    comma = "" if inside.endswith(("(", ",")) else ", "
    if len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp) and not inside.endswith("))"):
        start, stop = site.source.span(node.args[0])
        if site.source.text[start] != "(":
            return  # a bare generator must be the only argument
        end = stop
    yield Draft(prior, ((end, end, comma + argument),), note)


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
    tables = [n for n in site.scope.near(node.lineno) if site.type_of(ast.Name(n, ast.Load())) == "dict"][
        : 2 * site.width
    ]
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


def _wrappable(site: Site, node: ast.expr) -> bool:
    parent = site.parent
    if (isinstance(parent, ast.Call) and parent.func is node) or isinstance(parent, ast.Attribute | ast.Expr | ast.arg):
        return False
    return not (isinstance(parent, ast.Subscript) and parent.value is node)


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


def subscripts(site: Site) -> Iterator[Draft]:
    """`get` with a default for a subscript of a dictionary."""
    node = site.node
    if not isinstance(node, ast.Subscript) or not isinstance(node.ctx, ast.Load) or isinstance(node.slice, ast.Slice):
        return
    if site.type_of(node.value) in ("", "dict"):
        base, key = site.tight(node.value), site.text(node.slice)
        for rank, default in enumerate(("0", "None", "[]", "''")):
            call = f"{base}.get({key})" if default == "None" else f"{base}.get({key}, {default})"
            yield from site.put(node, call, 0.2 / (1 + rank / 2), "get for subscript")


def containers(site: Site) -> Iterator[Draft]:
    """A copy for an alias, elements exchanged, an element put in front instead of behind."""
    node, parent = site.node, site.parent
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        kind = site.type_of(node)
        called = isinstance(parent, ast.Call) and parent.func is node
        if kind in ("list", "dict", "set") and isinstance(parent, ast.Assign | ast.Return | ast.Call) and not called:
            yield from site.put(node, f"{kind}({node.id})", 0.2, "copy for alias")
    elif isinstance(node, ast.List | ast.Tuple) and isinstance(node.ctx, ast.Load) and 2 <= len(node.elts) <= 6:
        one, two = node.elts[0], node.elts[1]
        edits = ((*site.source.span(one), site.text(two)), (*site.source.span(two), site.text(one)))
        yield Draft(0.3, edits, "elements exchanged")
    elif isinstance(node, ast.Call) and len(node.args) == 1 and getattr(node.func, "attr", "") == "append":
        base = site.text(node.func).removesuffix(".append")
        yield from site.put(node, f"{base}.insert(0, {site.text(node.args[0])})", 0.2, "prepend for append")


def exceptions(site: Site) -> Iterator[Draft]:
    """Another exception type raised or caught."""
    node = site.node
    parent = site.parent
    raised = isinstance(parent, ast.Raise) or (
        isinstance(parent, ast.Call) and isinstance(site.source.parents.get(parent), ast.Raise)
    )
    if isinstance(node, ast.Name) and (raised or isinstance(parent, ast.ExceptHandler)):
        for rank, name in enumerate(
            (
                "ValueError",
                "KeyError",
                "TypeError",
                "IndexError",
                "Exception",
                "AttributeError",
                "ZeroDivisionError",
                "StopIteration",
                "RuntimeError",
                "OSError",
            )
        ):
            yield from site.put(node, name, 0.5 / (1 + rank / 3), "exception type")
