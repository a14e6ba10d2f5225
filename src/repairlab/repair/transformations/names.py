"""names: another variable, attribute, keyword or function in place of the one used.

(TBar FP13 "replace variable", PySStuBs "change identifier used", "change attribute used", "wrong function name".) The
commonest class of TSSB-3M: 237,000 identifiers, 134,000 functions, 104,000 attributes, 20,000 keywords. What a name may
be replaced by is ordered by type, nearness and likeness.
"""

import ast
import builtins
import difflib
from collections.abc import Iterator
from functools import lru_cache

from repairlab.repair.transformations.infer import SIZED
from repairlab.repair.transformations.site import Draft, Project, Site

COMPATIBLE = ({"int", "float", "bool"}, {"list", "tuple"}, {"set", "frozenset"})

# Functions and methods that are mistaken for each other.
_SIBLINGS = """
    min max | any all | sum len max min | sorted reversed list | int float round str | floor ceil trunc |
    upper lower swapcase capitalize title | append extend insert add | index find rindex rfind count |
    startswith endswith | lstrip rstrip strip | isalpha isdigit isalnum isupper islower isspace isnumeric |
    union intersection difference | keys values items | pop popleft remove discard get popitem |
    split rsplit splitlines | sin cos tan | log log2 log10 | appendleft append | add remove discard update |
    bin hex oct | set list tuple sorted | heappush heappop | replace strip | ljust rjust center | bool int |
    ord chr | partition rpartition | isinstance issubclass | issubset issuperset | abs round int | divmod pow |
    match search fullmatch findall | update setdefault | sort reverse
"""
SIBLINGS: tuple[tuple[str, ...], ...] = tuple(tuple(group.split()) for group in _SIBLINGS.split("|"))


@lru_cache(maxsize=100_000)
def likeness(one: str, two: str) -> float:
    """Return how alike two names are, from 0 to 1; by their beginnings, since the work grows with the square."""
    return difflib.SequenceMatcher(None, one[:60], two[:60]).ratio()


def variable(site: Site) -> Iterator[Draft]:
    """Another name in scope, those of the same type and the nearest first."""
    node = site.node
    if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Load) or _called(site, node):
        return
    if node.id in dir(builtins) and node.id not in site.scope.locals:
        return
    known = site.type_of(node)
    ranked = sorted(
        (name for name in site.scope.near(node.lineno) if name != node.id),
        key=lambda name: -_affinity(site, node.id, known, name),
    )
    for rank, name in enumerate(ranked[: 8 * site.width]):
        prior = 0.5 * _affinity(site, node.id, known, name) / (1 + rank / 6)
        yield from site.put(node, name, prior, "variable")
    constants = [name for name in site.scope.module_names if name.isupper() and name != node.id]
    for rank, name in enumerate(constants[: 3 * site.width]):
        yield from site.put(node, name, 0.3 / (1 + rank / 3), "variable")
    if "self" in site.scope.parameters and node.id != "self":
        yield from site.put(
            node, f"self.{node.id}", 0.25 if node.id in site.project.attributes else 0.05, "own attribute"
        )


def _affinity(site: Site, name: str, known: str, other: str) -> float:
    kind = site.kind(other)
    fits = 1.0 if not known or not kind else 1.2 if kind == known else 0.8 if _compatible(kind, known) else 0.3
    if kind in ("function", "type", "module") and known not in ("", kind):
        fits = 0.05
    return fits * (1 + likeness(name, other) / 4)


def _compatible(one: str, two: str) -> bool:
    return any(one in group and two in group for group in COMPATIBLE)


def literal_by_variable(site: Site) -> Iterator[Draft]:
    """A name in place of a literal, a literal in place of a name."""
    node = site.node
    if isinstance(node, ast.Constant) and not isinstance(site.parent, ast.Expr | ast.JoinedStr | ast.FormattedValue):
        kind = type(node.value).__name__
        names = [name for name in site.scope.near(node.lineno) if site.kind(name) in (kind, "")]
        for rank, name in enumerate(names[: 4 * site.width]):
            yield from site.put(node, name, 0.25 / (1 + rank / 4), "name for literal")
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and not _called(site, node):
        sized = [name for name in site.scope.near(node.lineno) if site.kind(name) in SIZED]
        if site.type_of(node) in ("", "int", "float"):
            for rank, name in enumerate(sized[: 3 * site.width]):
                yield from site.put(node, f"len({name})", 0.2 / (1 + rank / 2), "length for name")
        if site.type_of(node) in ("", "str"):
            for rank, text in enumerate(site.scope.texts[: 3 * site.width]):
                yield from site.put(node, text, 0.1 / (1 + rank / 3), "literal for name")
        pool = {"int": ["0", "1", "2", "-1"], "str": ["''"], "bool": ["True", "False"], "list": ["[]"]}
        for rank, text in enumerate(pool.get(site.type_of(node), [])):
            yield from site.put(node, text, 0.12 / (1 + rank), "literal for name")


def function(site: Site) -> Iterator[Draft]:
    """A sibling of the called function or method: `max` for `min`, `lower` for `upper`, or one of the module's own."""
    node = site.node
    if isinstance(node, ast.Attribute):
        yield from _attribute(site, node)
    if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Load):
        return
    called = _called(site, node)
    if called or node.id in dir(builtins):
        for name, prior in _siblings(node.id):
            if hasattr(builtins, name):
                yield from site.put(node, name, prior, "function")
    if called:
        own = [
            n for n in (*site.scope.locals, *site.scope.module_names) if n != node.id and n not in site.scope.parameters
        ]
        ranked = sorted(dict.fromkeys(own), key=lambda name: (-likeness(node.id, name), name))
        for rank, name in enumerate(ranked[: 4 * site.width]):
            yield from site.put(node, name, 0.25 / (1 + rank / 3), "function")


def _siblings(name: str) -> list[tuple[str, float]]:
    found: dict[str, float] = {}
    for group in SIBLINGS:
        if name in group:
            for other in group:
                if other != name:
                    found[other] = max(found.get(other, 0), 0.7 if len(group) == 2 else 0.5)
    return list(found.items())


def _attribute(site: Site, node: ast.Attribute) -> Iterator[Draft]:
    source = site.source
    end = source.span(node)[1]
    start = end - len(node.attr)
    if source.text[start:end] != node.attr:
        return
    seen = {node.attr}
    for name, prior in _siblings(node.attr):
        seen.add(name)
        yield from site.span_draft(start, end, name, prior, "method")
    if not isinstance(node.ctx, ast.Load) and not isinstance(node.value, ast.Name):
        return
    ranked = _similar_attributes(site.project, node.attr)
    for rank, name in enumerate([name for name in ranked if name not in seen][: 6 * site.width]):
        yield from site.span_draft(start, end, name, 0.3 / (1 + rank / 4), "attribute")


def _similar_attributes(project: Project, name: str) -> list[str]:
    def key(other: str) -> tuple[float, str]:
        return -(likeness(name, other) + min(project.attributes[other], 10) / 20), other

    return sorted(project.attributes, key=key)


def keyword(site: Site) -> Iterator[Draft]:
    """Another string key of a subscript, another parameter's name for an argument."""
    node = site.node
    if isinstance(node, ast.keyword) and node.arg and isinstance(site.parent, ast.Call):
        yield from _argument(site, node.arg, node, site.parent)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        own = repr(node.slice.value)
        pool = sorted(site.project.strings, key=lambda text: -likeness(text, own))
        for rank, text in enumerate(pool[: 4 * site.width]):
            yield from site.put(node.slice, text, 0.3 / (1 + rank / 3), "key")


def _argument(site: Site, name: str, node: ast.keyword, call: ast.Call) -> Iterator[Draft]:
    called = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    definition = next((found for found in site.source.definitions() if found.name == called), None)
    given = {keyword.arg for keyword in call.keywords}
    names = [arg.arg for arg in (*definition.args.args, *definition.args.kwonlyargs)] if definition else []
    start, _ = site.source.span(node)
    for rank, other in enumerate([other for other in names if other not in given and other not in ("self", "cls")]):
        yield from site.span_draft(start, start + len(name), other, 0.4 / (1 + rank / 2), "keyword")


def target(site: Site) -> Iterator[Draft]:
    """Another local variable as the target of an assignment."""
    node = site.node
    if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Store):
        return
    if not isinstance(site.parent, ast.Assign | ast.AugAssign | ast.Tuple):
        return
    known = site.type_of(node)
    names = [name for name in site.scope.near(node.lineno) if name != node.id]
    for rank, name in enumerate(sorted(names, key=lambda n: -_affinity(site, node.id, known, n))[: 4 * site.width]):
        start, end = site.source.span(node)
        yield from site.span_draft(start, end, name, 0.25 / (1 + rank / 3), "assignment target")


def exchanged(site: Site) -> Iterator[Draft]:
    """Two names exchanged throughout a statement, the head of a block or one expression."""
    node = site.node
    whole = isinstance(node, ast.Assign | ast.Return | ast.AugAssign | ast.Expr)
    inside = isinstance(node, ast.Compare | ast.Call | ast.Subscript | ast.BinOp | ast.Tuple | ast.BoolOp)
    if not whole and not (inside and not isinstance(getattr(node, "ctx", ast.Load()), ast.Store)):
        return
    called = {n.func for n in ast.walk(node) if isinstance(n, ast.Call)}
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name) and not hasattr(builtins, n.id) and n not in called]
    distinct = sorted({name.id for name in names}, key=lambda name: (name not in site.scope.locals, name))
    pairs = [(a, b) for at, a in enumerate(distinct) for b in distinct[at + 1 :] if _alike(site, a, b)]
    for one, two in pairs[: 3 * site.width]:
        other = {one: two, two: one}
        edits = tuple((*site.source.span(name), other[name.id]) for name in names if name.id in other)
        yield Draft(0.2 if whole else 0.15, edits, "names exchanged")


def _alike(site: Site, one: str, two: str) -> bool:
    """True where two names may be of one type."""
    kinds = {site.kind(one), site.kind(two)} - {""}
    return len(kinds) < 2 or _compatible(*sorted(kinds))


def targets(site: Site) -> Iterator[Draft]:
    """The targets of two assignments that follow each other exchanged."""
    node = site.node
    if not isinstance(node, ast.Assign | ast.AugAssign):
        return
    block = site.block(node)
    later = block[block.index(node) + 1 :][:1]
    for other in later:
        one = node.targets[0] if isinstance(node, ast.Assign) else node.target
        two = other.targets[0] if isinstance(other, ast.Assign) else getattr(other, "target", None)
        if type(other) is type(node) and isinstance(two, ast.Name | ast.Subscript | ast.Attribute):
            edits = ((*site.source.span(one), site.text(two)), (*site.source.span(two), site.text(one)))
            yield Draft(0.2, edits, "targets exchanged")


def _called(site: Site, node: ast.AST) -> bool:
    parent = site.source.parents.get(node)
    return isinstance(parent, ast.Call) and parent.func is node
