"""site: one syntax node under suspicion, and what stands around it that an edit may draw on.

A transformation takes a `Site` and yields `Draft`s. `Draft.prior` says how often such an edit repairs, relative to the
others; the search multiplies it by the suspiciousness of the line.
"""

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from repairlab.repair.transformations.infer import annotated, element_of, type_of
from repairlab.trial.source import Located, Source

if TYPE_CHECKING:
    from repairlab.repair.transformations.callees import Callee

Function = ast.FunctionDef | ast.AsyncFunctionDef
LOOPS = (ast.For, ast.AsyncFor, ast.While)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
_BINDERS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

_PRECEDENCE: dict[type[ast.AST], int] = {
    ast.NamedExpr: 0, ast.Lambda: 1, ast.IfExp: 2, ast.Or: 3, ast.And: 4, ast.Not: 5, ast.Compare: 6,
    ast.BitOr: 7, ast.BitXor: 8, ast.BitAnd: 9, ast.LShift: 10, ast.RShift: 10, ast.Add: 11, ast.Sub: 11,
    ast.Mult: 12, ast.Div: 12, ast.FloorDiv: 12, ast.Mod: 12, ast.MatMult: 12,
    ast.UAdd: 13, ast.USub: 13, ast.Invert: 13, ast.Pow: 14, ast.Await: 15,
}  # fmt: skip
ATOM = 16
MAX_BITS = 64  # of a number that is of use; Python writes none of more than 4300 digits, it raises


def precedence(node: ast.AST) -> int:
    """Return how tightly the outermost operator of an expression binds; `ATOM` where there is none."""
    kind: ast.AST = node
    if isinstance(node, ast.BinOp | ast.UnaryOp | ast.BoolOp):
        kind = node.op
    if isinstance(node, ast.Tuple | ast.Yield | ast.YieldFrom | ast.Starred):
        return 0
    return _PRECEDENCE.get(type(kind), ATOM)


@dataclass(frozen=True, slots=True)
class Draft:
    """One proposed change of one file: (start, end, text) spans, how likely it repairs, the template's name."""

    prior: float
    edits: tuple[tuple[int, int, str], ...]
    note: str


@dataclass
class Project:
    """What all files of a bundle offer: names, attributes and literals, commonest first.

    `hints` are the literals of tests and docstrings; `types` what the locals of a function, by (path, its first line,
    name), were when the tests ran; `raised` the built-in exceptions that failing tests raised through a (path, line);
    `definitions` the modules that define a name at their top level; `callees` what its functions take, by name.
    """

    attributes: Mapping[str, int] = field(default_factory=dict)
    strings: Mapping[str, int] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()
    types: Mapping[tuple[str, int, str], str] = field(default_factory=dict)
    width: int = 1
    raised: Mapping[tuple[str, int], str] = field(default_factory=dict)
    definitions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    callees: Mapping[str, tuple["Callee", ...]] = field(default_factory=dict)

    @cached_property
    def short_strings(self) -> tuple[str, ...]:
        """The values of `strings`."""
        return tuple(ast.literal_eval(text) for text in self.strings)

    @cached_property
    def any_types(self) -> dict[tuple[str, str], str]:
        """The type of a name anywhere in a file, where all its functions agree."""
        found: dict[tuple[str, str], set[str]] = {}
        for (path, _line, name), kind in self.types.items():
            found.setdefault((path, name), set()).add(kind)
        return {key: next(iter(kinds)) for key, kinds in found.items() if len(kinds) == 1}


class Site:
    """A node of a source with its surroundings."""

    def __init__(self, source: Source, node: ast.AST, scope: "Scope", project: Project) -> None:
        self.source = source
        self.node = node
        self.scope = scope
        self.project = project

    @property
    def width(self) -> int:
        """How wide to choose from a pool: grows with the effort."""
        return self.project.width

    @property
    def parent(self) -> ast.AST | None:
        """The node around this one."""
        return self.source.parents.get(self.node)

    def ancestors(self, node: ast.AST | None = None) -> Iterator[ast.AST]:
        """Yield the nodes around `node`, innermost first."""
        node = self.source.parents.get(node or self.node)
        while node is not None:
            yield node
            node = self.source.parents.get(node)

    def text(self, node: Located) -> str:
        """Return the source text of `node`."""
        return self.source.segment(node)

    def tight(self, node: Located, within: int = ATOM) -> str:
        """Return the text of `node`, in parentheses where it binds looser than `within`."""
        text = self.text(node)
        return f"({text})" if precedence(node) < within else text

    def put(self, node: Located, text: str, prior: float, note: str) -> Iterator[Draft]:
        """Yield the draft that replaces the expression `node` by `text`, in parentheses where they are needed."""
        if text == self.text(node):
            return
        binding = ATOM
        if not text.isidentifier():
            try:
                binding = precedence(ast.parse(text.strip(), mode="eval").body)
            except (SyntaxError, ValueError):
                return
        start, end = self.source.span(node)
        if binding < self.required(node) and not self._enclosed(start, end):
            text = f"({text})"
        yield Draft(prior, ((start, end, text),), note)

    def span_draft(self, start: int, end: int, text: str, prior: float, note: str) -> Iterator[Draft]:
        """Yield the draft that replaces a span."""
        if self.source.text[start:end] != text:
            yield Draft(prior, ((start, end, text),), note)

    def _enclosed(self, start: int, end: int) -> bool:
        text = self.source.text
        return (
            text[start - 1 : start] == "(" and text[end : end + 1] == ")" and not text[start - 2 : start - 1].isalnum()
        )

    def required(self, node: Located) -> int:
        """Return the precedence that an expression in the place of `node` needs to stand without parentheses."""
        parent = self.source.parents.get(node)
        if isinstance(parent, ast.BinOp):
            own = precedence(parent)
            right_hand = node is parent.right
            return own + (right_hand != isinstance(parent.op, ast.Pow))
        if isinstance(parent, ast.UnaryOp | ast.BoolOp | ast.Compare):
            return precedence(parent) + (not isinstance(parent, ast.UnaryOp))
        if isinstance(parent, ast.Attribute | ast.Await) or (
            isinstance(parent, ast.Call | ast.Subscript)
            and node is getattr(parent, "func", getattr(parent, "value", 0))
        ):
            return ATOM
        if isinstance(parent, ast.IfExp):
            return 3
        return 1 if isinstance(parent, ast.expr | ast.keyword | ast.comprehension) else 0

    @property
    def statement(self) -> ast.stmt | None:
        """The statement that this node is or stands in."""
        for node in (self.node, *self.ancestors()):
            if isinstance(node, ast.stmt):
                return node
        return None

    def type_of(self, node: ast.AST) -> str:
        """Return the type's name of an expression where literal, seen in a run or plain from its form, else ''."""
        return self.scope.type_of(node, self.project)

    def kind(self, name: str) -> str:
        """Return the type's name of a local variable, or ''."""
        return self.scope.known(name, self.project)

    def element_of(self, node: ast.AST) -> str:
        """Return the type's name of what iterating over an expression gives, or ''."""
        return self.scope.element_of(node, self.project)

    def block(self, statement: ast.stmt) -> list[ast.stmt]:
        """Return the list of statements that `statement` is in."""
        parent = self.source.parents.get(statement)
        for name in ("body", "orelse", "finalbody", "handlers"):
            block = getattr(parent, name, None)
            if isinstance(block, list) and statement in block:
                return block
        return [statement]

    def alone_on_lines(self, statement: ast.stmt) -> bool:
        """True where no other statement and no block's colon shares the lines of `statement`."""
        source, (start, end) = self.source, self.lines(statement)
        first, last = source.span(statement)
        decorated = getattr(statement, "decorator_list", None)
        before = "" if decorated else source.text[start:first]
        rest = source.text[last:end].strip()
        return not before.strip() and (not rest or rest.startswith("#"))

    def lines(self, statement: ast.stmt) -> tuple[int, int]:
        """Return the span of the whole lines of `statement`, decorators included."""
        first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
        return self.source.line_span(first, statement.end_lineno or first)

    def insert_before(self, statement: ast.stmt, lines: Iterable[str], prior: float, note: str) -> Iterator[Draft]:
        """Yield the draft that puts `lines` (indented relative to `statement`) before it."""
        if self.alone_on_lines(statement):
            newline, indent = self.source.newline(statement.lineno), self.source.indent(statement.lineno)
            start, _ = self.lines(statement)
            text = "".join(indent + line + newline for line in lines)
            yield Draft(prior, ((start, start, text),), note)

    def insert_after(self, statement: ast.stmt, lines: Iterable[str], prior: float, note: str) -> Iterator[Draft]:
        """Yield the draft that puts `lines` (indented like `statement`) after it."""
        if not self.alone_on_lines(statement):
            return
        newline, indent = self.source.newline(statement.lineno), self.source.indent(statement.lineno)
        _, end = self.lines(statement)
        text = "".join(indent + line + newline for line in lines)
        if not self.source.text[:end].endswith(("\n", "\r")):
            text = newline + text.removesuffix(newline)
        yield Draft(prior, ((end, end, text),), note)

    @property
    def indent_unit(self) -> str:
        """One level of indentation as the enclosing function uses it."""
        function = self.scope.function
        if function is not None and function.body[0].lineno > function.lineno:
            outer, inner = self.source.indent(function.lineno), self.source.indent(function.body[0].lineno)
            if inner.startswith(outer) and inner != outer:
                return inner[len(outer) :]
        return "    "


class Scope:
    """The names that code in one function (or at module level) can use, the nearest first."""

    def __init__(self, source: Source, function: Function | None) -> None:
        self.source = source
        self.function = function

    @cached_property
    def owner(self) -> ast.AST:
        """The function, or the module."""
        return self.function or self.source.tree

    @cached_property
    def parameters(self) -> list[str]:
        """Parameter names, in order."""
        if self.function is None:
            return []
        args = self.function.args
        named = [*args.posonlyargs, *args.args, *args.kwonlyargs]
        return [arg.arg for arg in [*named, *filter(None, (args.vararg, args.kwarg))]]

    @cached_property
    def locals(self) -> dict[str, int]:
        """Names bound in the function → line of the first binding; parameters first."""
        bound = dict.fromkeys(self.parameters, 0)
        for node in ast.walk(self.owner):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bound.setdefault(node.id, node.lineno)
            elif isinstance(node, _BINDERS) and node is not self.owner:
                bound.setdefault(node.name, node.lineno)
        return bound

    @cached_property
    def module_names(self) -> list[str]:
        """Functions, classes, constants and imported names of the module, in order."""
        found: dict[str, None] = {}
        for node in self.source.tree.body:
            if isinstance(node, _BINDERS):
                found[node.name] = None
            elif isinstance(node, ast.Import | ast.ImportFrom):
                found.update((alias.asname or alias.name.split(".")[0], None) for alias in node.names)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                found.update((name, None) for name in _stored(node))
        return [name for name in found if name != "*"]

    def near(self, line: int) -> list[str]:
        """Return the local names that may be bound at `line`, the nearest binding first, then later ones."""
        ordered = sorted(self.locals.items(), key=lambda item: (item[1] > line, abs(line - item[1]), item[0]))
        return [name for name, _ in ordered]

    @cached_property
    def conditions(self) -> list[str]:
        """The texts of conditions in the function."""
        found: dict[str, None] = {}
        for node in ast.walk(self.owner):
            if isinstance(node, ast.Compare):
                found[self.source.segment(node)] = None
        return list(found)

    @cached_property
    def expressions(self) -> list[tuple[str, str]]:
        """(text, type or '') of the calls, operations, subscripts and attributes in the function, the short first."""
        found: dict[str, str] = {}
        for node in ast.walk(self.owner):
            if isinstance(node, ast.Call | ast.BinOp | ast.Subscript | ast.Attribute) and not _bound_inside(
                self.source, node
            ):
                text = self.source.segment(node)
                if len(text) <= 40 and "\n" not in text:
                    found[text] = self.type_of(node, Project())
        return sorted(found.items(), key=lambda item: (len(item[0]), item[0]))

    @cached_property
    def attributes(self) -> list[str]:
        """The attributes that the function reads or writes (methods aside), the commonest first."""
        found = Counter(name for names in self._attributes.values() for name in names)
        return [name for name, _ in sorted(found.items(), key=lambda item: (-item[1], item[0]))]

    def attributes_of(self, text: str) -> list[str]:
        """Return the attributes that the function asks of one expression, by its text."""
        return list(dict.fromkeys(self._attributes.get(text, [])))

    @cached_property
    def _attributes(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for node in ast.walk(self.owner):
            if isinstance(node, ast.Attribute) and not _bound_inside(self.source, node):
                found.setdefault(self.source.segment(node.value), []).append(node.attr)
        return found

    @cached_property
    def callables(self) -> list[str]:
        """Functions of one parameter that the function can call: its own and the module's."""
        near = [f for f in self.source.definitions() if f is not self.function]
        return [f.name for f in near if len(f.args.args) == 1 and f.args.args[0].arg not in ("self", "cls")]

    @cached_property
    def numbers(self) -> list[str]:
        """Texts of the numbers in the function, docstring aside."""
        return list(
            dict.fromkeys(
                self.source.segment(node)
                for node in ast.walk(self.owner)
                if isinstance(node, ast.Constant) and type(node.value) in (int, float)
            )
        )

    @cached_property
    def texts(self) -> list[str]:
        """The strings in the function as literals."""
        return list(
            dict.fromkeys(
                repr(node.value)
                for node in ast.walk(self.owner)
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 40
            )
        )

    @cached_property
    def _first(self) -> int:
        """The line that the interpreter calls the function's first: that of its first decorator."""
        return min([getattr(d, "lineno", 1) for d in (self.function, *getattr(self.function, "decorator_list", []))])

    @cached_property
    def _annotated(self) -> dict[str, str]:
        """What annotations say of parameters, and of what the functions of the file return."""
        found = {f"{f.name}()": annotated(f.returns) for f in self.source.definitions()}
        args = self.function.args if self.function is not None else ast.arguments([], [], None, [], [], None, [])
        return found | {arg.arg: annotated(arg.annotation) for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)}

    def known(self, name: str, project: Project) -> str:
        """Return the type seen under a name (`name`, `name[]`, `name{}`, `name.attribute`), or annotated, or ''."""
        own = project.types.get((self.source.path, self._first, name), "")
        own = own or project.any_types.get((self.source.path, name), "")  # a comprehension has its own frame
        return own or self._annotated.get(name, "")

    def type_of(self, node: ast.AST, project: Project) -> str:
        """Return the type's name of an expression, or ''."""
        return type_of(node, lambda name: self.known(name, project))

    def element_of(self, node: ast.AST, project: Project) -> str:
        """Return the type's name of an element of an iterable, or ''."""
        return element_of(node, lambda name: self.known(name, project))


def _bound_inside(source: Source, node: ast.AST) -> bool:
    """True for what is no value by itself: a called function, a target."""
    parent = source.parents.get(node)
    called = isinstance(parent, ast.Call) and parent.func is node
    return called or isinstance(getattr(node, "ctx", None), ast.Store | ast.Del)


def _stored(node: ast.AST) -> list[str]:
    names = [name for name in ast.walk(node) if isinstance(name, ast.Name)]
    return [name.id for name in names if isinstance(name.ctx, ast.Store)]
