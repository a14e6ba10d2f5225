"""idle: how much code that runs at import only, before any test, can have to do with the tests that fail.

No test runs module level, class bodies, default values and decorators, so no spectrum tells them apart; any test may
use what they make. What counts is whether code that the failing tests run mentions a name that they bind, directly or
through another such statement. Each candidate there costs a fresh import, ten to a hundred times what others cost.
"""

import ast
from collections.abc import Iterator, Mapping

from repairlab.trial.source import UNPARSABLE, Source
from repairlab.trial.testrun import Line

IDLE_SHARE = 0.35  # of the highest suspiciousness, for what the failing tests' code mentions
UNUSED_SHARE = 0.1  # for the rest: a test may use it itself, or a name that is made at run time

Function = ast.FunctionDef | ast.AsyncFunctionDef
Statement = tuple[ast.stmt, frozenset[str], frozenset[str]]  # with the names that it binds, and all that it mentions


class Idle:
    """What the suspicious lines' functions mention."""

    def __init__(self, sources: Mapping[str, Source], suspicion: Mapping[Line, float]) -> None:
        self.top = max(suspicion.values(), default=0.0)
        self.lines = suspicion
        self.used: set[str] = set()
        waiting: list[Statement] = []
        for path in sorted(sources):
            try:
                waiting += _idle(sources[path])
                for function in sources[path].definitions():
                    if self._runs(sources[path], function):
                        self.used |= _mentioned(function)
            except UNPARSABLE:
                continue
        while more := [each for each in waiting if each[1] & self.used]:
            waiting = [each for each in waiting if not each[1] & self.used]
            self.used.update(*(mentioned for _, _, mentioned in more))

    def blame(self, source: Source, statement: ast.AST) -> float:
        """Return the suspiciousness of an idle statement, or of a definition's defaults and decorators."""
        if isinstance(statement, Function):
            near = self._runs(source, statement)
            if not near and not statement.decorator_list and statement.name not in self.used:
                return 0.0  # the defaults of a function that nothing calls here: most of what a large file has
        elif isinstance(statement, ast.ClassDef):
            near = statement.name in self.used or self._runs(source, statement)
        else:
            near = bool((_bound(statement) or _mentioned(statement)) & self.used)
        return self.top * (IDLE_SHARE if near else UNUSED_SHARE)

    def _runs(self, source: Source, node: Function | ast.ClassDef) -> bool:
        last = node.end_lineno or node.lineno
        return any((source.path, line) in self.lines for line in range(node.body[0].lineno, last + 1))


def _idle(source: Source) -> list[Statement]:
    """Return the statements at module level and in class bodies that bind names; made once."""
    known: list[Statement] | None = source.__dict__.get("_idle")
    if known is None:
        found = ((node, _bound(node), _mentioned(node)) for node in _outside(source.tree))
        known = source.__dict__["_idle"] = [each for each in found if each[1]]
    return known


def _outside(node: ast.AST) -> Iterator[ast.stmt]:
    """Yield the simple statements that stand in no function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            continue
        if isinstance(child, ast.stmt) and not hasattr(child, "body"):
            yield child
        elif not isinstance(child, ast.expr):
            yield from _outside(child)


def _bound(statement: ast.AST) -> frozenset[str]:
    """Return the names that an assignment binds, attributes and what is subscripted included."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AugAssign | ast.AnnAssign):
        targets = [statement.target]
    else:
        return frozenset()
    return frozenset(name for target in targets for name in _mentioned(target))


def _mentioned(node: ast.AST) -> frozenset[str]:
    names = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
    return frozenset(names | {child.attr for child in ast.walk(node) if isinstance(child, ast.Attribute)})
