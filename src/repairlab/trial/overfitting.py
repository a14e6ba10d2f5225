"""overfitting: patches that answer the tests and not the question are never offered.

An objection is raised against a patch that

    changes a test, or a file that may not be edited
    asks whether an argument equals one that stands in a test, and answers with what that test expects
    makes a function return one constant whatever it is given, where it did not before
    looks for the test runner, its own caller, or a tracer

Small values that begin recursions and loops (0, 1, -1, empty, None, a truth value) are base cases, not tests' inputs.
Where a patch compares with an input of a test and answers something that is no constant, its behaviour decides: one
that differs from the bundle on the tests' own inputs and on none of their neighbours is a special case as well.
"""

import ast
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from repairlab.trial.bundle import Bundle
from repairlab.trial.source import UNPARSABLE, Edit, Source

RUNNERS = frozenset(("pytest", "_pytest", "unittest", "PYTEST_CURRENT_TEST", "conftest", "monkeypatch"))
FRAMES = frozenset(("inspect", "_getframe", "currentframe", "_current_frames", "f_back", "tb_frame"))
STACKS = frozenset(("extract_stack", "walk_stack", "inspect.stack"))
TRACERS = frozenset(("gettrace", "settrace", "getprofile", "setprofile"))
WATCHED = RUNNERS | FRAMES | STACKS | TRACERS | {"sys.modules", "sys.argv"}
OF_MODULES = {"sys": ("modules", "argv"), "inspect": ("stack",)}  # ordinary names anywhere else
MAX_LITERALS = 20_000
BASE_CASES = ("None", "True", "False", "0", "1", "-1", "0.0", "1.0", "''", "b''", "[]", "()", "{}")
Function = ast.FunctionDef | ast.AsyncFunctionDef
EQUALITY = ast.Eq | ast.NotEq | ast.In | ast.NotIn | ast.Is | ast.IsNot


@dataclass
class Guard:
    """Looks at patches of one bundle."""

    bundle: Bundle

    @cached_property
    def literals(self) -> frozenset[str]:
        """The literals that stand in tests, base cases aside."""
        found: set[str] = set()
        for name, content in sorted(self.bundle.files.items()):
            if name.endswith(".py") and name not in self.bundle.sources:
                try:
                    tree = ast.parse(content)
                except UNPARSABLE:
                    continue
                found.update(text for node in ast.walk(tree) if (text := literal(node)) is not None)
            if len(found) > MAX_LITERALS:
                break
        return frozenset(found.difference(BASE_CASES))

    def objection(self, edits: Iterable[Edit]) -> str | None:
        """Return what speaks against a patch, or None."""
        by_path: dict[str, list[Edit]] = {}
        for edit in edits:
            by_path.setdefault(edit.path, []).append(edit)
        for path, group in by_path.items():
            if path not in self.bundle.sources:
                return f"changes {path}, which may not be edited"
            if not parses(self.bundle.sources[path]):
                continue  # nothing to compare with
            for old, new in statements(self.bundle.sources[path], group):
                why = _watching(old, new) or self._answers(old, new) or _constant(old, new)
                if why:
                    return why
        return None

    def compares(self, edits: Iterable[Edit]) -> bool:
        """True where a patch adds a comparison with a literal of a test; another literal in an old one is a repair."""
        known = self.bundle.sources
        return any(
            self._compared(old, new) and _asked(new) > _asked(old)
            for edit in edits
            if edit.path in known
            for old, new in statements(known[edit.path], [edit])
        )

    def _compared(self, old: ast.AST, new: ast.AST) -> set[str]:
        added = _comparisons(new) - _comparisons(old)
        return {text for text in added if text in self.literals}

    def _answers(self, old: ast.AST, new: ast.AST) -> str | None:
        asked = self._compared(old, new)
        if not asked:
            return None
        given = (_answers(new) - _answers(old)).keys()
        for text in sorted(asked):
            if given & (self.literals | set(BASE_CASES)) - {text}:
                return f"answers {text}, which stands in a test, by a constant"
        return None


def statements(source: Source, edits: Sequence[Edit]) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield (old, new) of the top-level statements that `edits` change; all of the file for edits between them."""
    left = list(edits)
    spans = [(*_whole_lines(source, node), node) for node in source.tree.body]
    for start, end, node in spans:
        inside = [edit for edit in left if start <= edit.start and edit.end <= end]
        if not inside:
            continue
        left = [edit for edit in left if edit not in inside]
        text = source.text[start:end]
        for edit in sorted(inside, reverse=True):
            text = text[: edit.start - start] + edit.text + text[edit.end - start :]
        yield node, _parsed(text)
    if left:
        yield source.tree, _parsed(source.edited(edits))


def parses(source: Source) -> bool:
    """True where the file as it came is Python."""
    try:
        return source.tree is not None
    except UNPARSABLE:
        return False


def _whole_lines(source: Source, node: ast.stmt) -> tuple[int, int]:
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    return source.line_span(first, node.end_lineno or node.lineno)


def _parsed(text: str) -> ast.AST:
    try:
        return ast.parse(text)
    except UNPARSABLE:
        return ast.Module([], [])


def literal(node: ast.AST) -> str | None:
    """Return the repr of a literal expression, None for anything else."""
    kinds = ast.Constant | ast.UnaryOp | ast.List | ast.Tuple | ast.Set | ast.Dict
    if not isinstance(node, kinds) or (isinstance(node, ast.UnaryOp) and not isinstance(node.operand, ast.Constant)):
        return None
    try:
        return repr(ast.literal_eval(node))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _comparisons(tree: ast.AST) -> Counter[str]:
    """Count the literals that something is compared with for equality, or looked up by."""
    found: Counter[str] = Counter()
    for node in ast.walk(tree):
        compared: list[ast.expr] = []
        if isinstance(node, ast.Compare) and any(isinstance(op, EQUALITY) for op in node.ops):
            compared = [node.left, *node.comparators]
            compared += [e for each in compared if isinstance(each, ast.Tuple | ast.List | ast.Set) for e in each.elts]
        elif isinstance(node, ast.Dict):
            compared = [key for key in node.keys if key is not None]
        elif isinstance(node, ast.MatchValue):
            compared = [node.value]
        found.update(text for each in compared if (text := literal(each)) is not None)
    return found


def _asked(tree: ast.AST) -> int:
    return sum(isinstance(node, ast.Compare | ast.Dict | ast.MatchValue) for node in ast.walk(tree))


def _answers(tree: ast.AST) -> Counter[str]:
    """Count the constants that are returned, assigned, chosen by a condition, or looked up."""
    found: Counter[str] = Counter()
    for node in ast.walk(tree):
        given: list[ast.expr | None] = []
        if isinstance(node, ast.Return | ast.Assign | ast.Yield):
            given = [node.value]
        elif isinstance(node, ast.IfExp):
            given = [node.body, node.orelse]
        elif isinstance(node, ast.Dict):
            given = list(node.values)
        found.update(text for each in given if each is not None and (text := literal(each)) is not None)
    return found


def _constant(old: ast.AST, new: ast.AST) -> str | None:
    before = {node.name: _returned(node) for node in ast.walk(old) if isinstance(node, Function)}
    for node in ast.walk(new):
        if not isinstance(node, Function) or node.name not in before or before[node.name] is not None:
            continue
        if (constant := _returned(node)) not in (None, "None") and _parameters(node):  # None: what works in place
            return f"makes {node.name} return {constant} whatever it is given"
    return None


def _returned(function: Function) -> str | None:
    """Return the one constant that a function gives back wherever it ends, or None."""
    body = [node for node in function.body if not (isinstance(node, ast.Expr) and literal(node.value) is not None)]
    if body and isinstance(body[0], ast.Return) and body[0].value is not None:
        return literal(body[0].value)
    given = [node.value for node in _own(function) if isinstance(node, ast.Return)]
    found = {literal(value) if value is not None else None for value in given}
    yields = any(isinstance(node, ast.Yield | ast.YieldFrom | ast.Raise) for node in _own(function))
    return next(iter(found)) if len(found) == 1 and not yields and not _falls_through(function.body) else None


def _falls_through(body: Sequence[ast.stmt]) -> bool:
    """True where control may come to the end of a block, as far as its last statement says."""
    last = body[-1]
    if isinstance(last, ast.If):
        return not last.orelse or _falls_through(last.body) or _falls_through(last.orelse)
    if isinstance(last, ast.With | ast.AsyncWith):
        return _falls_through(last.body)
    if isinstance(last, ast.Try):
        blocks = [last.orelse or last.body, *(handler.body for handler in last.handlers)]
        return (not last.finalbody or _falls_through(last.finalbody)) and any(map(_falls_through, blocks))
    if isinstance(last, ast.Match):
        every = any(isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None for case in last.cases)
        return not every or any(_falls_through(case.body) for case in last.cases)
    if isinstance(last, ast.While) and isinstance(last.test, ast.Constant) and last.test.value:
        return any(isinstance(node, ast.Break) for node in ast.walk(last))
    return not isinstance(last, ast.Return | ast.Raise)


def _own(function: Function) -> Iterator[ast.AST]:
    """Yield the nodes of a function without those of functions inside it."""
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            stack += ast.iter_child_nodes(node)


def _parameters(function: Function) -> bool:
    arguments = function.args
    named = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return bool(set(named) - {"self", "cls"})


def _watching(old: ast.AST, new: ast.AST) -> str | None:
    added = sorted((_words(new) - _words(old)) & WATCHED)
    return f"looks for {added[0]}, so that it may behave otherwise in a test" if added else None


def _words(tree: ast.AST) -> set[str]:
    """Return the names and texts in a tree, those of `OF_MODULES` with their module where they are its own."""
    found: set[str] = set()
    for node in ast.walk(tree):
        for name in ("id", "attr", "name", "module", "arg"):
            if isinstance(value := getattr(node, name, None), str):
                found.update(value.split("."))
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found | {f"{module}.{word}" for module in OF_MODULES for word in _taken(tree, module)}


def _taken(tree: ast.AST, module: str) -> set[str]:
    """Return which of its watched names are taken from a module: imported, as attributes, or by `getattr`."""
    nodes = list(ast.walk(tree))
    known = {module, *(node.asname for node in nodes if isinstance(node, ast.alias) and node.name == module)}
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == module:
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Attribute) and _named(node.value, known):
            found.add(node.attr)
        elif isinstance(node, ast.Call) and any(_named(argument, known) for argument in node.args):
            found.update(str(argument.value) for argument in node.args if isinstance(argument, ast.Constant))
    return found.intersection(OF_MODULES[module])


def _named(tree: ast.AST, names: Container[str | None]) -> bool:
    return any(
        (isinstance(node, ast.Name) and node.id in names) or (isinstance(node, ast.Constant) and node.value in names)
        for node in ast.walk(tree)
    )
