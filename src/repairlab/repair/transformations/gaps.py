"""gaps: what a function lacks for certain: names that nothing binds, parameters and locals that nothing reads.

A lost statement or argument leaves a trace: what it bound is read and bound nowhere, what it read is bound and read
nowhere, what it called is called nowhere. (Unused definitions and uses without one are classic data-flow anomalies:
Fosdick and Osterweil, Computing Surveys 1976; repairs by them: PyFixer's missing name.) No drafts are made here.
"""

import ast
import builtins
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property

from repairlab.repair.transformations.imports import bound_names
from repairlab.repair.transformations.site import COMPREHENSIONS, Function, Scope, Site
from repairlab.trial.source import Source, once

_BUILTINS = frozenset(dir(builtins)) | {"__file__", "__path__", "__builtins__", "__class__", "__name__"}
_OWN = ("self", "cls")
_INNER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
Owner = ast.ClassDef | None


def gaps(site: Site) -> "Gaps":
    """Return the gaps of the function that `site` is in, found once."""
    known: Gaps | None = site.scope.__dict__.get("_gaps")
    if known is None:
        known = site.scope.__dict__["_gaps"] = Gaps(site.scope)
    return known


class Gaps:
    """What one function reads, binds and calls, set against each other."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.source = scope.source

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the function."""
        return list(ast.walk(self.scope.owner))

    @cached_property
    def read(self) -> Counter[str]:
        """How often each name is read."""
        return Counter(n.id for n in self.nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))

    @cached_property
    def bound(self) -> frozenset[str]:
        """All names that code of the function may use as they stand."""
        found = {name for name in self.scope.locals if name not in self._only_inside}
        found |= set(self.scope.module_names)
        for outer in self._around():
            found |= set(Scope(self.source, outer).locals)
        found |= {n.arg for n in self.nodes if isinstance(n, ast.arg)}
        for node in self.nodes:
            if isinstance(node, ast.alias):
                found.add(node.asname or node.name.partition(".")[0])
            elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
                found.add(node.name)
            elif isinstance(node, ast.Global | ast.Nonlocal):
                found.update(node.names)
        return frozenset(found)

    @cached_property
    def _only_inside(self) -> set[str]:
        """The names that comprehensions and functions inside this one alone bind."""
        stored = [n for n in self.nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        inner = {n.id for n in stored if self._inner(n)}
        return inner - {n.id for n in stored if not self._inner(n)} - set(self.scope.parameters)

    def _around(self) -> Iterator[Function]:
        node = self.source.parents.get(self.scope.owner)
        while node is not None:
            if isinstance(node, Function):
                yield node
            node = self.source.parents.get(node)

    @cached_property
    def unbound(self) -> dict[str, ast.stmt]:
        """The names that nothing binds here before they are read → the statement that reads each first."""
        known = bound_names(self.source)
        if "*" in known or self.scope.function is None:
            return {}
        module = set(self.scope.module_names) | _module_level(self.source)
        own = {
            n.id for n in self.nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and not self._inner(n)
        }
        own |= {name for name in self.read if name not in self._only_inside}
        lacking = [name for name in self.read if name in own and name not in self.bound | module | _BUILTINS]
        return {name: first for name in [*lacking, *self._late] if (first := self.first_reader(name)) is not None}

    @cached_property
    def _late(self) -> list[str]:
        """The locals that are read, by the order of the text, before anything binds them."""
        stored: dict[str, tuple[int, int]] = {}
        for node in self.nodes:
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and not self._inner(node):
                at = self._from(node)
                stored[node.id] = min(stored.get(node.id, at), at)
            elif isinstance(node, ast.Global | ast.Nonlocal):
                stored.update(dict.fromkeys(node.names, (0, 0)))
        reads: dict[str, tuple[int, int]] = {}
        for node in self.nodes:
            augmented = isinstance(self.source.parents.get(node), ast.AugAssign)
            if isinstance(node, ast.Name) and (isinstance(node.ctx, ast.Load) or augmented) and not self._inner(node):
                at = node.lineno, node.col_offset
                reads[node.id] = min(reads.get(node.id, at), at)
        own = (
            set(self.scope.locals)
            - set(self.scope.parameters)
            - {n.name for n in self.nodes if isinstance(n, Function)}
        )
        return sorted(name for name in own if name in stored and name in reads and reads[name] < stored[name])

    def _from(self, node: ast.Name) -> tuple[int, int]:
        """Return the place from which on a name has the value that it gets here."""
        outer: ast.AST = node
        while not isinstance(outer, ast.stmt):
            outer = self.source.parents[outer]
        if isinstance(outer, ast.Assign | ast.AugAssign | ast.AnnAssign):
            return outer.end_lineno or 0, outer.end_col_offset or 0
        return node.lineno, 0

    def _inner(self, node: ast.AST) -> bool:
        """True of what stands in a function, a lambda or a comprehension of the function's own: it runs later."""
        parent = self.source.parents.get(node)
        while parent is not None and parent is not self.scope.owner:
            if isinstance(parent, (*_INNER, *COMPREHENSIONS)):
                return True
            parent = self.source.parents.get(parent)
        return False

    def first_reader(self, name: str) -> ast.stmt | None:
        """Return the innermost statement of the function that reads a name first, by the order of the text."""
        named = [n for n in self.nodes if isinstance(n, ast.Name) and n.id == name]
        readers = [
            n for n in named if isinstance(n.ctx, ast.Load) or isinstance(self.source.parents.get(n), ast.AugAssign)
        ]
        if not readers:
            return None
        node: ast.AST | None = min(readers, key=lambda n: (n.lineno, n.col_offset))
        while node is not None and not isinstance(node, ast.stmt):
            node = self.source.parents.get(node)
        return node

    @cached_property
    def unread(self) -> list[str]:
        """The parameters and locals that nothing reads, the first bound first."""
        return [name for name in self.scope.locals if not self.read[name] and name not in _OWN and name != "_"]

    @cached_property
    def owner_class(self) -> Owner:
        """The class that the function is a method of."""
        parent = self.source.parents.get(self.scope.owner)
        return parent if isinstance(parent, ast.ClassDef) else None

    @cached_property
    def unread_attributes(self) -> list[str]:
        """The attributes of `self` that the class sets and nothing in the file reads, as text."""
        if self.owner_class is None or "self" not in self.scope.parameters:
            return []
        return _of_class(self.source, self.owner_class)[0]

    @cached_property
    def unset_attributes(self) -> list[str]:
        """The attributes of `self` that the class reads and neither it nor anything else in the file sets."""
        if self.owner_class is None or "self" not in self.scope.parameters:
            return []
        return _of_class(self.source, self.owner_class)[1]

    def partners(self, names: Iterable[str]) -> set[str]:
        """Return the names that are bound by the same unpacking as one of `names`."""
        given, found = set(names), set[str]()
        for node in self.nodes:
            if isinstance(node, ast.Tuple | ast.List) and isinstance(node.ctx, ast.Store):
                those = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                if those & given:
                    found |= those - given
        return found

    def free(self, name: str) -> bool:
        """True of a name that may be read everywhere in the file."""
        return name in _BUILTINS or name in _module_level(self.source)

    def strange(self, node: ast.AST) -> set[str]:
        """Return the names that `node` reads and that mean nothing here."""
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        inner = {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
        for part in ast.walk(node):
            if isinstance(part, ast.comprehension | ast.NamedExpr):
                inner |= {n.id for n in ast.walk(part.target) if isinstance(n, ast.Name)}
        return names - inner - self.bound - _BUILTINS - _module_level(self.source)

    def fits(self, node: ast.AST) -> bool:
        """True where all names that `node` reads can be used here."""
        return not self.strange(node)


@once
def _module_level(source: Source) -> set[str]:
    """Return the names that the module binds in blocks of its own (`try: import …`), and those made global."""
    found: set[str] = set()
    waiting: list[ast.AST] = list(source.tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Global):
            found.update(node.names)
        if isinstance(node, Function | ast.ClassDef):
            found.add(node.name)
            waiting += [n for n in ast.walk(node) if isinstance(n, ast.Global)]
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
        waiting += ast.iter_child_nodes(node)
    return found


def _of_class(source: Source, owner: ast.ClassDef) -> tuple[list[str], list[str]]:
    """Return the attributes of `self` that nothing reads (as text), and those that nothing sets; made once a class."""
    known: dict[ast.ClassDef, tuple[list[str], list[str]]] = source.__dict__.setdefault("_gaps_of_classes", {})
    if owner not in known:
        nodes = list(ast.walk(owner))
        mine = [n for n in nodes if isinstance(n, ast.Attribute) and getattr(n.value, "id", "") == "self"]
        stored = dict.fromkeys(n.attr for n in mine if isinstance(n.ctx, ast.Store))
        loaded = dict.fromkeys(n.attr for n in mine if isinstance(n.ctx, ast.Load))
        bound = _attributes(source, ast.Store) | _defined(source)
        bound |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        unread = [f"self.{name}" for name in stored if name not in _attributes(source, ast.Load)]
        known[owner] = unread, [name for name in loaded if name not in bound and name[:2] != "__"]
    return known[owner]


def _attributes(source: Source, context: type[ast.expr_context]) -> frozenset[str]:
    """Return the attributes that a file reads, or sets, made once."""
    name = f"_attributes_{context.__name__}"
    known: frozenset[str] | None = source.__dict__.get(name)
    if known is None:
        found = (n for n in source.nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, context))
        known = source.__dict__[name] = frozenset(n.attr for n in found)
    return known


@once
def _defined(source: Source) -> frozenset[str]:
    """Return the names of all functions and classes of a file."""
    return frozenset(n.name for n in source.nodes if isinstance(n, Function | ast.ClassDef))


@once
def called(source: Source) -> Counter[str]:
    """Return how often each function or method is mentioned in a file, by its last name."""
    named = (n for n in source.nodes if isinstance(n, ast.Name | ast.Attribute))
    return Counter(n.id if isinstance(n, ast.Name) else n.attr for n in named)
