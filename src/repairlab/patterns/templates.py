"""templates: Python with holes, as syntax trees.

A hole `$x` is parsed as an identifier that no program has (`_hole_x_`), so it may stand wherever a name may: as an
expression, an attribute, a parameter, a keyword. It binds the same thing wherever it stands in one match. `...` as the
only statement of a body matches any body.
"""

import ast
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from repairlab.documents import EditPattern, HoleKind

MAX_NODES = 400
UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
BODIES = ("body", "orelse", "finalbody", "handlers")
_WRITTEN, _PARSED = re.compile(r"\$([a-z][a-z0-9]{0,15})(?![a-z0-9_])"), re.compile(r"_hole_([a-z][a-z0-9]*)_")
_UNSEEN = ("ctx", "type_comment", "kind", "type_ignores")

Binding = dict[str, ast.expr | str]  # an identifier, or an expression that is more than one


class BadTemplate(ValueError):
    """The text is no template, or says something that cannot be applied."""


@dataclass(frozen=True)
class Difference:
    """One place where two trees differ: `before` becomes `after` in the list `field` of `parent`, or as a node."""

    before: Sequence[ast.AST]
    after: Sequence[ast.AST]
    parent: ast.AST | None = None
    field: str = ""
    at: int = 0


@dataclass(frozen=True, eq=False)
class Compiled:
    """An edit pattern as trees; `before` and `after` are one expression each, or lists of statements."""

    before: Sequence[ast.stmt]
    after: Sequence[ast.stmt]
    holes: Mapping[str, HoleKind]

    @cached_property
    def expression(self) -> bool:
        """True where both sides are one expression, which matches inside statements too."""
        sides = (self.before, self.after)
        return all(len(side) == 1 and isinstance(side[0], ast.Expr) for side in sides)

    @property
    def head(self) -> ast.AST:
        """The node that a place must look like first of all."""
        first = self.before[0]
        return first.value if self.expression and isinstance(first, ast.Expr) else first

    @cached_property
    def free(self) -> list[str]:
        """The holes that only `after` has."""
        known = set(holes_in(self.before))
        return sorted(set(holes_in(self.after)) - known)

    @cached_property
    def made(self) -> list[str]:
        """The free holes that `after` itself binds: any name that is not taken will do."""
        nodes = [node for root in self.after for node in ast.walk(root)]
        stored = [n for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)]
        bound = {hole_of(n) for n in stored} | {hole_of(n.arg) for n in nodes if isinstance(n, ast.arg)}
        return [hole for hole in self.free if hole in bound]

    @cached_property
    def concrete(self) -> int:
        """How many nodes of `before` are no holes: how much a place must look like it."""
        nodes = [node for root in self.before for node in ast.walk(root)]
        return sum(isinstance(n, ast.expr | ast.stmt | ast.keyword) and not hole_of(n) for n in nodes)


def compiled(pattern: EditPattern) -> Compiled:
    """Return the pattern's trees; raise `BadTemplate` for what cannot be applied."""
    found = Compiled(parsed(pattern.before), parsed(pattern.after), pattern.holes)
    unknown = {*holes_in(found.before), *holes_in(found.after)} - set(pattern.holes)
    if unknown:
        raise BadTemplate(f"holes without a kind: {', '.join(sorted(unknown))}")
    if hole_of(found.head) or not found.concrete:
        raise BadTemplate("matches everything")
    places = list(differences(found.before, found.after))
    if not places:
        raise BadTemplate("changes nothing")
    if any(elided(node) for place in places for root in place.after for node in ast.walk(root)):
        raise BadTemplate("puts a body of its own where `...` stands")
    untold = {id(node) for root in found.before for node in _in_any_body(root)}
    if any(id(node) in untold for place in places for node in place.before):
        raise BadTemplate("replaces the body that `...` stands for")
    return found


def parsed(text: str) -> list[ast.stmt]:
    """Return the statements of a template."""
    if "_hole_" in text:
        raise BadTemplate("has a name that holes are parsed as")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(_WRITTEN.sub(r"_hole_\1_", text))
            if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
                raise BadTemplate(f"has more than {MAX_NODES} nodes")
    except UNPARSABLE as error:
        raise BadTemplate(str(error)) from None
    if not tree.body:
        raise BadTemplate("holds no statement")
    return tree.body


def written(nodes: Sequence[ast.AST]) -> str:
    """Return trees as the text of a template."""
    return _PARSED.sub(r"$\1", "\n".join(ast.unparse(node) for node in nodes))


def mangled(hole: str) -> str:
    """Return the identifier that a hole is parsed as."""
    return f"_hole_{hole}_"


def hole_of(node: object) -> str:
    """Return the hole that a name or an identifier is, or ''."""
    text = node.id if isinstance(node, ast.Name) else node
    found = _PARSED.fullmatch(text) if isinstance(text, str) else None
    return found.group(1) if found else ""


def holes_in(roots: Sequence[ast.AST]) -> Iterator[str]:
    """Yield every mention of a hole."""
    for root in roots:
        for node in ast.walk(root):
            for _, value in ast.iter_fields(node):
                if isinstance(node, ast.Constant):
                    continue
                if isinstance(value, str) and (hole := hole_of(value)):
                    yield hole


def elided(node: ast.AST) -> bool:
    """True for a statement with a body that stands for any body."""
    return any(_any_body(getattr(node, name, None)) for name in BODIES)


def _in_any_body(root: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that stand for any body: nothing of a file is known to be their counterpart."""
    for node in ast.walk(root):
        for body in [getattr(node, name, []) for name in BODIES]:
            if _any_body(body):
                yield from ast.walk(body[0])


def _any_body(body: object) -> bool:
    if not isinstance(body, list) or len(body) != 1 or not isinstance(body[0], ast.Expr):
        return False
    return isinstance(body[0].value, ast.Constant) and body[0].value.value is ...


def fields(node: ast.AST) -> Iterator[tuple[str, object]]:
    """Yield what counts of a node."""
    return ((name, value) for name, value in ast.iter_fields(node) if name not in _UNSEEN)


def same(one: object, two: object) -> bool:
    """True for equal syntax; contexts (load, store) and positions do not count."""
    if isinstance(one, ast.AST) and isinstance(two, ast.AST):
        pairs = zip(fields(one), fields(two), strict=False)
        return type(one) is type(two) and all(a == b and same(x, y) for (a, x), (b, y) in pairs)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(same, one, two))
    return type(one) is type(two) and one == two


def matched(template: object, found: object, holes: Mapping[str, HoleKind], bound: Binding) -> bool:
    """True where `found` is what `template` says; the holes' contents are added to `bound` (also where it is not)."""
    hole = hole_of(template) if isinstance(template, ast.Name | str) else ""
    if hole:
        return _bind(hole, found, holes, bound)
    if isinstance(template, ast.AST):
        if type(template) is not type(found):
            return False
        pairs = zip(fields(template), fields(found), strict=True)
        return all(
            (name in BODIES and _any_body(value)) or matched(value, other, holes, bound)
            for (name, value), (_, other) in pairs
        )
    if isinstance(template, list):
        if not isinstance(found, list) or len(template) != len(found):
            return False
        return all(matched(one, other, holes, bound) for one, other in zip(template, found, strict=True))
    return type(template) is type(found) and template == found


def _bind(hole: str, found: object, holes: Mapping[str, HoleKind], bound: Binding) -> bool:
    value = found.id if isinstance(found, ast.Name) else found
    if isinstance(value, ast.Starred) or not isinstance(value, ast.expr | str):
        return False
    if holes.get(hole) is HoleKind.NAME and not isinstance(value, str):
        return False
    known = bound.setdefault(hole, value)
    return known is value or same(known, value)


def differences(before: Sequence[ast.AST], after: Sequence[ast.AST]) -> Iterator[Difference]:
    """Yield the smallest places with a position of their own that turn the statements `before` into `after`."""
    yield from _in_list(before, after, None, "")


def _in_list(
    before: Sequence[ast.AST], after: Sequence[ast.AST], parent: ast.AST | None, field: str
) -> Iterator[Difference]:
    head = 0
    while head < min(len(before), len(after)) and same(before[head], after[head]):
        head += 1
    tail = 0
    while tail < min(len(before), len(after)) - head and same(before[-1 - tail], after[-1 - tail]):
        tail += 1
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    if len(old) == len(new) and all(type(a) is type(b) for a, b in zip(old, new, strict=True)):
        for one, other in zip(old, new, strict=True):
            yield from _in_node(one, other)
    elif old or new:
        yield Difference(old, new, parent, field, head)


def _in_node(before: ast.AST, after: ast.AST) -> list[Difference]:
    """Return the differences inside two nodes, or the nodes as one where an inner one has no place of its own."""
    whole = [Difference([before], [after])]
    if type(before) is not type(after):
        return whole
    found: list[Difference] = []
    for (name, one), (_, two) in zip(fields(before), fields(after), strict=True):
        if same(one, two):
            continue
        inner = _inside(name, one, two, before)
        if inner is None:
            return whole
        found += inner
    return found


def _inside(name: str, one: object, two: object, parent: ast.AST) -> list[Difference] | None:
    if isinstance(one, ast.expr) and isinstance(two, ast.expr):
        return _in_node(one, two)
    if not (isinstance(one, list) and isinstance(two, list)):
        return None
    if name in BODIES and all(isinstance(item, ast.stmt) for item in [*one, *two]) and one and two:
        return list(_in_list(one, two, parent, name))
    if len(one) != len(two) or not all(isinstance(item, ast.expr | ast.keyword | ast.comprehension) for item in one):
        return None
    found: list[Difference] = []
    for old, new in zip(one, two, strict=True):
        inner = _in_node(old, new)
        if any(not hasattr(node, "lineno") for place in inner for node in place.before):
            return None  # a comprehension's own `async` or filters: no place of its own
        found += inner
    return found
