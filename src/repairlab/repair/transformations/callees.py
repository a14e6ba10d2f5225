"""callees: what the functions of a project take, by the names that they are called by.

An argument that a call lacks is mostly one that the called function has a parameter for. No drafts are made here.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from repairlab.repair.transformations.site import Function, Project, Site
from repairlab.trial.source import UNPARSABLE, Source

MOST = 3  # functions of one name that are looked at
# what built-ins and common methods cannot do without; methods of other things may have the same name
LEAST = {
    "isinstance": 2, "issubclass": 2, "map": 2, "filter": 2, "getattr": 2, "hasattr": 2, "setattr": 3, "divmod": 2,
    "pow": 2, "range": 1, "len": 1, "int": 0, "next": 1, "iter": 1, "sorted": 1, "sum": 1, "enumerate": 1, "any": 1,
    "all": 1, "reversed": 1, "abs": 1,
}  # fmt: skip
LEAST_OF_METHODS = {
    "append": 1, "extend": 1, "insert": 2, "add": 1, "remove": 1, "discard": 1, "replace": 2, "startswith": 1,
    "endswith": 1, "setdefault": 2, "join": 1, "index": 1, "count": 1, "find": 1, "sub": 3, "match": 1, "search": 1,
    "fullmatch": 1, "partition": 1, "rpartition": 1, "__getitem__": 1, "__setitem__": 2, "__delitem__": 1, "write": 1,
    "isinstance": 2, "reduce": 2, "islice": 2, "repeat": 2, "takewhile": 2, "dropwhile": 2, "accumulate": 2,
    "__init__": 1, "__contains__": 1, "__eq__": 1, "appendleft": 1, "get": 1, "combinations": 2, "send": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Callee:
    """A function's parameters without the object of a method, how many must be given, its place for what runs saw."""

    path: str
    line: int
    named: tuple[str, ...]
    least: int
    only: tuple[str, ...]  # keyword-only
    defaults: tuple[tuple[str, str], ...]  # parameter → its default, where that is a plain word or number

    def kind(self, name: str, project: Project) -> str:
        """Return the type that runs saw under a parameter, or ''."""
        return project.types.get((self.path, self.line, name), "")


def callees_of(sources: Iterable[Source]) -> dict[str, tuple[Callee, ...]]:
    """Return the functions, methods and classes of all sources by name; of each name a few."""
    found: dict[str, dict[Callee, None]] = {}
    for source in sources:
        try:
            for name, callee in _callees(source):
                found.setdefault(name, {})[callee] = None
        except UNPARSABLE:
            continue
    return {name: tuple(those)[:MOST] for name, those in found.items()}


def _callees(source: Source) -> Iterator[tuple[str, Callee]]:
    for node in source.definitions():
        owner = source.parents.get(node)
        method = isinstance(owner, ast.ClassDef)
        static = any(getattr(decorator, "id", "") == "staticmethod" for decorator in node.decorator_list)
        callee = _callee(source, node, int(method and not static))
        if isinstance(owner, ast.ClassDef) and node.name in ("__init__", "__new__"):
            yield owner.name, callee
        yield node.name, callee


def _callee(source: Source, node: Function, skipped: int) -> Callee:
    args = node.args
    positional = [*args.posonlyargs, *args.args]
    pairs = zip(reversed(positional), reversed(args.defaults), strict=False)
    keywords = zip(args.kwonlyargs, args.kw_defaults, strict=True)
    plain = [(a.arg, source.segment(d)) for a, d in (*pairs, *keywords) if isinstance(d, ast.Constant)]
    named = tuple(arg.arg for arg in positional[skipped:])
    least = max(0, len(named) - len(args.defaults))
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    only = tuple(arg.arg for arg in args.kwonlyargs)
    return Callee(source.path, first, named, least, only, tuple(plain))


def name_of(function: ast.expr) -> str:
    """Return the last name of what is called."""
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def meant(site: Site, call: ast.Call) -> tuple[Callee, ...]:
    """Return the functions of the project that a call may mean; none of a name that nobody would look for."""
    return site.project.callees.get(name_of(call.func), ())


def lacks(site: Site, call: ast.Call, given: int) -> bool:
    """True where a call is given fewer arguments than what it calls can do without."""
    those = meant(site, call)
    if those:
        named = {keyword.arg for keyword in call.keywords}
        return None not in named and all(given + len(named & set(callee.named)) < callee.least for callee in those)
    name = name_of(call.func)
    table = LEAST if isinstance(call.func, ast.Name) else LEAST_OF_METHODS
    least = table.get(name, LEAST_OF_METHODS.get(name, 0))
    return not call.keywords and given < least
