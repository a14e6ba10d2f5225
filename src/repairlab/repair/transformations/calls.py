"""calls: arguments exchanged, dropped or added; `key=` and `reverse=`; receivers, exception types, `await`.

(PAR "parameter replacer/adder/remover", TBar FP10, PySStuBs "same function more/less/swap args", "wrong caller".)
TSSB-3M counts 150,000 calls given more arguments, 50,000 given less, 8,000 given them in another order. An argument to
add has many values, so each one of them is unlikely.
"""

import ast
from collections.abc import Iterator
from itertools import pairwise

from repairlab.repair.transformations.site import Draft, Function, Site

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
