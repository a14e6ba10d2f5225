"""calls: arguments exchanged or dropped; `key=` and `reverse=`; receivers, exception types, `await`.

(PAR "parameter replacer/remover", TBar FP10, PySStuBs "same function less/swap args", "wrong caller".) TSSB-3M counts
50,000 calls given less arguments, 8,000 given them in another order. What is added is in `arguments`.
"""

import ast
from collections.abc import Iterator
from itertools import combinations

from repairlab.repair.transformations.arguments import put_last
from repairlab.repair.transformations.site import Draft, Site

KEYS = (
    "key=len",
    "key=abs",
    "key=str",
    "key=lambda item: item[1]",
    "key=lambda item: item[0]",
    "key=lambda item: -item[1]",
)

EXCEPTIONS = ("ValueError", "KeyError", "TypeError", "IndexError", "Exception", "AttributeError", "ZeroDivisionError",
              "StopIteration", "RuntimeError", "OSError", "LookupError", "NotImplementedError")  # fmt: skip
_NEEDS = ("len", "sum", "sorted", "abs", "min", "max", "any", "all", "ord", "chr", "range", "enumerate", "reversed",
          "round", "repr", "hash", "iter", "next", "bin", "hex", "isinstance", "zip", "map", "filter")  # fmt: skip


def arguments(site: Site) -> Iterator[Draft]:
    """Two arguments exchanged, one dropped."""
    node = site.node
    if not isinstance(node, ast.Call):
        return
    args = [arg for arg in node.args if not isinstance(arg, ast.Starred)]
    for (at, one), (to, two) in combinations(enumerate(args[:4]), 2):
        edits = ((*site.source.span(one), site.text(two)), (*site.source.span(two), site.text(one)))
        kinds = {site.type_of(one), site.type_of(two)} - {""}
        weight = 1.0 if len(kinds) < 2 else 0.6
        yield Draft(
            weight * (0.5 if at == 0 and to == 1 else 0.35 if to == at + 1 else 0.2), edits, "arguments exchanged"
        )
    yield from _dropped(site, node)


def _dropped(site: Site, node: ast.Call) -> Iterator[Draft]:
    """Leave out each argument; built-ins that ask for as many as they have are left alone."""
    given: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
    given.sort(key=lambda argument: (argument.lineno, argument.col_offset))
    texts = [site.text(argument) for argument in given]
    if any(isinstance(argument, ast.GeneratorExp) for argument in given):
        return
    function = site.tight(node.func)
    for at, argument in enumerate(given):
        prior = 0.4 if isinstance(argument, ast.keyword) else 0.3 if len(given) > 1 else 0.15
        if len(given) > 1 or getattr(node.func, "id", "") not in _NEEDS:
            rest = ", ".join(texts[:at] + texts[at + 1 :])
            yield from site.put(node, f"{function}({rest})", prior, "argument dropped")


def receiver(site: Site) -> Iterator[Draft]:
    """The object of a method and its only argument exchanged (PySStuBs "same function wrong caller")."""
    node = site.node
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and len(node.args) == 1
        and not node.keywords
    ):
        owner, argument = node.func.value, node.args[0]
        if site.text(owner) in ("self", "cls", "super()") or isinstance(argument, ast.Starred | ast.GeneratorExp):
            return
        kinds = site.type_of(owner), site.type_of(argument)
        prior = 0.25 if kinds[0] == kinds[1] else 0.1 if "" in kinds else 0.03
        text = f"{site.tight(argument)}.{node.func.attr}({site.text(owner)})"
        yield from site.put(node, text, prior, "receiver and argument exchanged")


def suspended(site: Site) -> Iterator[Draft]:
    """`await` put before a call or dropped; `yield` for `yield from`, for `return`, and the other way round."""
    node, parent = site.node, site.parent
    if isinstance(node, ast.Await):
        yield from site.put(node, site.text(node.value), 0.2, "await dropped")
    elif isinstance(node, ast.Call) and isinstance(site.scope.function, ast.AsyncFunctionDef):
        if not isinstance(parent, ast.Await) and not isinstance(parent, ast.AsyncFor | ast.withitem):
            yield from site.put(node, f"await {site.text(node)}", 0.3, "await added")
    elif isinstance(node, ast.Yield) and node.value is not None:
        start, end = site.source.span(node)
        yield from site.span_draft(start, end, f"yield from {site.text(node.value)}", 0.35, "yield from for yield")
        if isinstance(parent, ast.Expr):
            start, end = site.source.span(parent)
            yield from site.span_draft(start, end, f"return {site.text(node.value)}", 0.15, "return for yield")
    elif isinstance(node, ast.YieldFrom):
        start, end = site.source.span(node)
        yield from site.span_draft(start, end, f"yield {site.text(node.value)}", 0.35, "yield for yield from")
    elif isinstance(node, ast.Return) and node.value is not None and _generates(site):
        start, end = site.source.span(node)
        for word in ("yield", "yield from"):
            yield from site.span_draft(start, end, f"{word} {site.text(node.value)}", 0.3, "yield for return")


def _generates(site: Site) -> bool:
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(site.scope.owner))


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
        yield from put_last(site, node, "reverse=True", 0.4, "reverse added")
    if "key" not in given:
        own = [f"key={f.name}" for f in site.source.definitions() if len(f.args.args) == 1][:2]
        for rank, key in enumerate([*KEYS, *own][: 4 + 2 * site.width]):
            yield from put_last(site, node, key, 0.25 / (1 + rank / 3), "key added")


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
    """Another exception type raised or caught: those that the project and its tests name first."""
    node, parent = site.node, site.parent
    raised = isinstance(parent, ast.Raise) or (
        isinstance(parent, ast.Call) and parent.func is node and isinstance(site.source.parents.get(parent), ast.Raise)
    )
    caught = isinstance(parent, ast.ExceptHandler) or (
        isinstance(parent, ast.Tuple) and isinstance(site.source.parents.get(parent), ast.ExceptHandler)
    )
    if isinstance(node, ast.Name | ast.Attribute) and (raised or caught):
        own = site.text(node)
        names = [name for name in dict.fromkeys([*site.project.exceptions[:4], *EXCEPTIONS]) if name != own]
        for rank, name in enumerate(names):
            yield from site.put(node, name, 0.5 / (1 + rank / 3), "exception type")
            if isinstance(parent, ast.ExceptHandler):
                yield from site.put(node, f"({own}, {name})", 0.15 / (1 + rank / 3), "exception type")
