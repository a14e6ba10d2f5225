"""insertions: a statement that is missing: an update, a call, an attribute never set, a copy of a neighbour, a return.

(TBar FP4 "insert missed statement", GenProg's insertion of statements from elsewhere in the file.) Ingredients come
from the function; see `ingredients`.
"""

import ast
from collections.abc import Iterator

from repairlab.repair.transformations.gaps import gaps
from repairlab.repair.transformations.ingredients import DEFAULTS, Pool, is_docstring, names_in, pool
from repairlab.repair.transformations.site import LOOPS, Draft, Site

Found = dict[str, float]
NORMAL = {
    "list": ("list({})", "sorted({})", "{}[:]"),
    "set": ("set({})",),
    "dict": ("dict({})",),
    "str": ("{}.lower()", "{}.strip()"),
    "int": ("abs({})",),
    "float": ("abs({})",),
    "tuple": ("list({})",),
}


def inserted(site: Site) -> Iterator[Draft]:
    """A statement before this one, or at the end of its block."""
    node = site.node
    if not isinstance(node, ast.stmt) or is_docstring(node) or site.scope.function is None:
        return
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return
    block = site.block(node)
    last = block[-1] is node and not isinstance(node, ast.Return | ast.Raise | ast.Break | ast.Continue)
    found = _at(site, node)
    neighbours = {site.text(n) for n in _beside(block, node)}
    for rank, text in enumerate(sorted(found, key=lambda text: (-found[text], text))[: 16 * site.width]):
        weight = min(found[text], found[text] * 3 / (1 + rank / 6))
        if text not in neighbours:
            yield from site.insert_before(node, [text], weight, "statement added")
        if last and text != site.text(node):
            yield from site.insert_after(node, [text], weight, "statement added")


def _beside(block: list[ast.stmt], node: ast.stmt) -> list[ast.stmt]:
    at = block.index(node)
    return block[max(0, at - 1) : at + 1]


def _at(site: Site, node: ast.stmt) -> Found:
    """Return the statements that may be missing about here, by how likely they are."""
    own, found = pool(site), dict[str, float]()
    _updates(site, node, found)
    for near in [n for n in _beside(site.block(node), node) if n in own.simple]:
        for rank, text in enumerate(own.mirrored(site.text(near))):
            _put(found, text, 0.2 / (1 + rank / 2))
        for rank, text in enumerate(own.substituted(near, 10 * site.width)):
            _put(found, text, 0.06 / (1 + rank / 4))
    others = sorted(own.simple, key=lambda n: (abs(n.lineno - node.lineno), n.lineno))
    for rank, other in enumerate(others[: 12 * site.width]):
        if _bound(site, other, node):
            _put(found, site.text(other), 0.06 / (1 + rank / 4))
            for text in own.mirrored(site.text(other))[:4]:
                _put(found, text, 0.06 / (1 + rank / 3))
    _on_names(site, node, found)
    return found


def _put(found: Found, text: str, weight: float) -> None:
    found[text] = max(weight, found.get(text, 0.0))


def _bound(site: Site, other: ast.stmt, node: ast.stmt) -> bool:
    """True where the names that a statement uses are bound before `node`, as far as line numbers say."""
    return all(site.scope.locals.get(name, 0) <= max(node.lineno, other.lineno) for name in names_in(other))


def _updates(site: Site, node: ast.stmt, found: Found) -> None:
    """One more and one less: what a `while` waits for first, then counters."""
    loop = next((outer for outer in site.ancestors() if isinstance(outer, ast.While)), None)
    if loop is not None:
        stored = {n.id for n in ast.walk(loop) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        for name in sorted(names_in(loop.test)):
            if site.type_of(ast.Name(name, ast.Load())) in ("", "int"):
                _put(found, f"{name} += 1", 0.12 if name in stored else 0.4)
                _put(found, f"{name} -= 1", 0.1 if name in stored else 0.25)
    inside = loop is not None or any(isinstance(outer, LOOPS) for outer in site.ancestors())
    names = [n for n in site.scope.near(node.lineno) if n not in ("self", "cls")]
    for rank, name in enumerate(names[: 5 * site.width]):
        kind = site.type_of(ast.Name(name, ast.Load()))
        if kind == "int" or (kind == "" and name in _counted(site)):
            _put(found, f"{name} += 1", (0.1 if inside else 0.05) / (1 + rank / 3))
            _put(found, f"{name} -= 1", (0.06 if inside else 0.04) / (1 + rank / 3))


def _counted(site: Site) -> set[str]:
    known = site.scope.__dict__.get("_counted")
    if known is None:
        nodes = ast.walk(site.scope.owner)
        augmented = {n.target.id for n in nodes if isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name)}
        known = site.scope.__dict__["_counted"] = augmented
    return known


def _on_names(site: Site, node: ast.stmt, found: Found) -> None:
    """A name put in order, appended, passed through a function of this file, set to its default or to another name."""
    names = [n for n in site.scope.near(node.lineno) if n not in ("self", "cls")][: 5 * site.width]
    kinds = {name: site.type_of(ast.Name(name, ast.Load())) for name in names}
    for rank, name in enumerate(names):
        share = 1 / (1 + rank / 2)
        for order, form in enumerate(NORMAL.get(kinds[name], ())):
            _put(found, f"{name} = {form.format(name)}", 0.05 * share / (1 + order / 2))
        for call in site.scope.callables[: 2 * site.width]:
            _put(found, f"{name} = {call}({name})", 0.05 * share)
        if kinds[name] in DEFAULTS:
            _put(found, f"{name} = {DEFAULTS[kinds[name]]}", 0.05 * share)
        if kinds[name] == "list":
            _put(found, f"{name}.sort()", 0.04 * share)
            _put(found, f"{name}.reverse()", 0.04 * share)
        for other in names[:6]:
            if other != name and kinds[name] == "list":
                _put(found, f"{name}.append({other})", 0.05 * share)
            if other != name and kinds[name] == kinds[other] and name in site.scope.locals:
                _put(found, f"{name} = {other}", 0.04 * share)


def attributes(site: Site) -> Iterator[Draft]:
    """In a constructor: a first value for an attribute that has none; the constructor of the class above."""
    node, function, owner = site.node, site.scope.function, gaps(site).owner_class
    if function is None or function.name != "__init__" or owner is None or node is not function.body[-1]:
        return
    stored, loaded = _attributes(owner)
    first = next((n for n in function.body if not is_docstring(n)), node)
    methods = {n.name for n in owner.body if isinstance(n, ast.FunctionDef)}
    lacking = [name for name in loaded if name not in stored and name not in methods]
    for rank, name in enumerate(lacking[: 4 * site.width]):
        for order, value in enumerate(("None", "[]", "{}", "0", "False", "''", "set()")):
            prior = 0.4 / (1 + rank + order / 2)
            yield from site.insert_after(function.body[-1], [f"self.{name} = {value}"], prior, "attribute set")
    if owner.bases and "super" not in site.source.segment(function):
        passed = ", ".join(name for name in site.scope.parameters[1:])
        for call, prior in (("super().__init__()", 0.4), (f"super().__init__({passed})", 0.4)):
            yield from site.insert_before(first, [call], prior, "constructor called")


def _attributes(owner: ast.ClassDef) -> tuple[set[str], list[str]]:
    """Return the attributes of `self` that a class stores, and those that it loads, in order."""
    mine = [
        n
        for n in ast.walk(owner)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "self"
    ]
    stored = {n.attr for n in mine if isinstance(n.ctx, ast.Store)}
    stored |= {n.id for n in ast.walk(owner) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return stored, list(dict.fromkeys(n.attr for n in mine if isinstance(n.ctx, ast.Load)))


def results(site: Site) -> Iterator[Draft]:
    """A `return` at the end of a block: of the function, or of a branch beside one that returns."""
    node, function = site.node, site.scope.function
    if function is None or not isinstance(node, ast.stmt) or isinstance(node, ast.Return | ast.Raise):
        return
    block = site.block(node)
    if block[-1] is not node or isinstance(node, ast.Break | ast.Continue | ast.FunctionDef | ast.ClassDef):
        return
    outermost = block is function.body
    if not outermost and (not _sibling_returns(site) or not site.alone_on_lines(node)):
        return
    own, scale = pool(site), 0.4 if outermost else 0.2
    for rank, value in enumerate(_values(own, node)[: 10 * site.width]):
        yield from site.insert_after(node, [f"return {value}"], scale / (1 + rank / 3), "return added")


def _sibling_returns(site: Site) -> bool:
    parent = site.parent
    return isinstance(parent, ast.If | ast.Try | ast.For | ast.While) and any(
        isinstance(n, ast.Return) for n in ast.walk(parent)
    )


def _values(own: Pool, node: ast.stmt) -> list[str]:
    """Return what a missing `return` may return, opposites and names first."""
    near = own.scope.near((node.end_lineno or node.lineno) + 1)
    names = [name for name in near if name not in own.scope.parameters]
    mirrored = [text for value in own.results[:4] for text in own.mirrored(value)]
    flags = [flag for flag in ("False", "True") if flag in own.results]
    return list(dict.fromkeys([*flags, *names[:3], *own.results, *mirrored, *near]))


def bare(site: Site) -> Iterator[Draft]:
    """A value for a bare `return`, or another one that the function computes or a sibling returns."""
    node = site.node
    if not isinstance(node, ast.Return):
        return
    own, prior = pool(site), 0.35 if node.value is None else 0.12
    end = site.source.span(node)[1]
    texts = [*own.results, *(text for text, _ in site.scope.expressions)]
    if node.value is not None:
        texts = [*own.mirrored(site.text(node.value)), *own.results]
    for rank, text in enumerate(list(dict.fromkeys(texts))[: 12 * site.width]):
        if node.value is None:
            yield from site.span_draft(end, end, f" {text}", prior / (1 + rank / 4), "value returned")
        else:
            yield from site.put(node.value, text, prior / (1 + rank / 3), "value returned")
