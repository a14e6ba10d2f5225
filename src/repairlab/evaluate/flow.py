"""flow: what the expressions of one module may stand for: a dotted name of a library, a text, or anything.

Names are followed from scope to scope as Python does, through imports, assignments, loops, defaults, containers,
`getattr`, `__dict__`, `sys.modules` and what functions of the module return; texts through concatenation, `join`,
slices and f-strings. The order of statements is not looked at: a name may be whatever it is bound to anywhere in its
scope. What is not understood is anything (`None`). Nothing here is proof: attributes of objects, arguments and other
modules are not followed. Time and memory are bounded whatever the code: every set has a bound, every nesting a depth.
"""

import ast
import builtins
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_VALUES, MAX_TEXT, MAX_DEPTH, ROUNDS = 32, 200, 60, 8
MODULE_DICT = ".__dict__"
GLOBALS = "<globals>"
LOOKUPS = ("get", "pop", "setdefault", "__getitem__")


@dataclass(frozen=True)
class Ref:
    """What an import, a built-in or a definition of this module is called, in full."""

    name: str


Value = Ref | str | None
Values = frozenset[Value]
ANYTHING: Values = frozenset([None])
NOTHING: Values = frozenset()
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(eq=False)
class Scope:
    """A name space: what each name in it is bound to, and where those are that it declares global or nonlocal."""

    parent: "Scope | None" = None
    is_class: bool = False
    bound: dict[str, list[tuple[ast.expr | Ref | None, "Scope"]]] = field(default_factory=dict)
    values: dict[str, Values] = field(default_factory=dict)
    elsewhere: dict[str, "Scope"] = field(default_factory=dict)

    def bind(self, name: str, value: ast.expr | Ref | None, where: "Scope") -> None:
        """Let a name be, among others, `value` as `where` sees it; None is anything."""
        self.elsewhere.get(name, self).bound.setdefault(name, []).append((value, where))

    def holder(self, name: str) -> "Scope | None":
        """Return the scope in which a name is bound, as this one sees it."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.elsewhere:
                scope = scope.elsewhere[name]
                return scope if name in scope.bound else None
            if name in scope.bound and (scope is self or not scope.is_class):
                return scope
            scope = scope.parent
        return None


class Flow:
    """The data flow of one module; `nodes` are all its nodes, each with its scope."""

    def __init__(self, tree: ast.Module) -> None:
        self.module = Scope()
        self.nodes: list[tuple[ast.AST, Scope]] = []
        self.imported: set[str] = set()
        self._stars: list[str] = []
        self._returns: dict[str, list[tuple[ast.expr, Scope]]] = {}
        self._returned: dict[str, Values] = {}
        self._functions: dict[ast.AST, str] = {}
        self._read(tree)
        for _ in range(ROUNDS):
            if not self._round():
                break

    def _read(self, tree: ast.Module) -> None:
        """Visit every node once, without recursion: code may nest as deep as it likes."""
        waiting: list[tuple[ast.AST, Scope]] = [(tree, self.module)]
        while waiting:
            node, scope = waiting.pop()
            self.nodes.append((node, scope))
            inner = self._inner(node, scope)
            self._bind(node, scope, inner)
            body = {id(part) for part in _body(node)}
            children = [(child, inner if id(child) in body else scope) for child in ast.iter_child_nodes(node)]
            waiting += reversed(children)

    def _inner(self, node: ast.AST, scope: Scope) -> Scope:
        if isinstance(node, Function):
            self._functions[node] = f"<function {len(self._functions)}>"
            inner = Scope(scope)
            for name, default in _parameters(node.args):
                inner.bind(name, default, scope)
            self._returns[self._functions[node]] = [(found, inner) for found in _returned(node)]
            return inner
        if isinstance(node, ast.ClassDef):
            return Scope(scope, is_class=True)
        return Scope(scope) if isinstance(node, Comprehension) else scope

    def _bind(self, node: ast.AST, scope: Scope, inner: Scope) -> None:
        """Note what a node binds."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            scope.bind(node.name, Ref(self._functions[node]) if not node.decorator_list else None, scope)
        elif isinstance(node, ast.ClassDef):
            scope.bind(node.name, None, scope)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node, scope)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            for name in node.names:
                outer = self.module if isinstance(node, ast.Global) else scope.parent and scope.parent.holder(name)
                scope.elsewhere[name] = outer or self.module
        else:
            for target, value in _assigned(node):
                self._assign(target, value, inner)

    def _import(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.imported.add(alias.name)
                top = alias.name.split(".")[0]
                scope.bind(alias.asname or top, Ref(alias.name if alias.asname else top), scope)
        elif not node.level and node.module and node.names[0].name == "*":
            self._stars.append(node.module)
        else:
            for alias in node.names:
                whole = None if node.level or not node.module else Ref(f"{node.module}.{alias.name}")
                scope.bind(alias.asname or alias.name, whole, scope)

    def _assign(self, target: ast.AST, value: ast.expr | None, scope: Scope) -> None:
        for part in ast.walk(target):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store | ast.Del):
                if isinstance(target, ast.Name) and isinstance(value, ast.NamedExpr):
                    value = value.value
                scope.bind(part.id, value, scope)

    def _round(self) -> bool:
        """Bring every name and what every function returns up to date; return whether any changed."""
        changed = False
        for function, returns in self._returns.items():
            found = _bounded(value for part, inside in returns for value in self.values(part, inside))
            changed |= self._returned.get(function) != found
            self._returned[function] = found
        for scope in dict.fromkeys(scope for _, scope in self.nodes):
            for name, bound in scope.bound.items():
                found = _bounded(itertools.chain.from_iterable(self._bound(*one) for one in bound))
                changed |= scope.values.get(name) != found
                scope.values[name] = found
        return changed

    def _bound(self, value: ast.expr | Ref | None, scope: Scope) -> Values:
        if value is None:
            return ANYTHING
        return frozenset([value]) if isinstance(value, Ref) else self.values(value, scope)

    def is_direct(self, node: ast.Name, scope: Scope) -> bool:
        """Whether a name is a built-in or an import by itself, and not one that was handed on."""
        holder = scope.holder(node.id)
        return holder is None or any(isinstance(value, Ref) for value, _ in holder.bound[node.id])

    def values(self, node: ast.expr, scope: Scope, depth: int = 0) -> Values:
        """Return what an expression may stand for."""
        known = getattr(self, f"_of_{type(node).__name__.lower()}", None)
        if known is None or depth > MAX_DEPTH:
            return ANYTHING
        found: Values = known(node, scope, depth + 1)
        return found

    def _union(self, nodes: Iterable[ast.expr | None], scope: Scope, depth: int) -> Values:
        return _bounded(value for node in nodes if node is not None for value in self.values(node, scope, depth))

    def _of_name(self, node: ast.Name, scope: Scope, _depth: int) -> Values:
        if holder := scope.holder(node.id):
            return holder.values.get(node.id, NOTHING)
        if node.id == "__builtins__":
            return frozenset([Ref("builtins")])
        if hasattr(builtins, node.id):
            return frozenset([Ref(f"builtins.{node.id}")])
        return frozenset([Ref(f"{module}.{node.id}") for module in self._stars]) or ANYTHING

    def _of_constant(self, node: ast.Constant, _scope: Scope, _depth: int) -> Values:
        if isinstance(node.value, bytes):
            return frozenset([node.value.decode("latin-1")[:MAX_TEXT]])
        return frozenset([node.value[:MAX_TEXT]]) if isinstance(node.value, str) else ANYTHING

    def _of_attribute(self, node: ast.Attribute, scope: Scope, depth: int) -> Values:
        return _bounded(_member(value, node.attr) for value in self.values(node.value, scope, depth))

    def _of_ifexp(self, node: ast.IfExp, scope: Scope, depth: int) -> Values:
        return self._union([node.body, node.orelse], scope, depth)

    def _of_boolop(self, node: ast.BoolOp, scope: Scope, depth: int) -> Values:
        return self._union(node.values, scope, depth)

    def _of_namedexpr(self, node: ast.NamedExpr, scope: Scope, depth: int) -> Values:
        return self.values(node.value, scope, depth)

    _of_starred = _of_await = _of_namedexpr

    def _of_tuple(self, node: ast.Tuple, scope: Scope, depth: int) -> Values:
        """Return what its elements may be: what is taken out of a container is one of them."""
        return self._union(node.elts, scope, depth)

    _of_list = _of_set = _of_tuple

    def _of_dict(self, node: ast.Dict, scope: Scope, depth: int) -> Values:
        return self._union(node.values, scope, depth)

    def _of_lambda(self, node: ast.Lambda, _scope: Scope, _depth: int) -> Values:
        return frozenset([Ref(self._functions[node])])

    def _of_binop(self, node: ast.BinOp, scope: Scope, depth: int) -> Values:
        if not isinstance(node.op, ast.Add):
            return ANYTHING
        return _joined([self.values(node.left, scope, depth), self.values(node.right, scope, depth)])

    def _of_joinedstr(self, node: ast.JoinedStr, scope: Scope, depth: int) -> Values:
        parts = [part.value if isinstance(part, ast.FormattedValue) else part for part in node.values]
        return _joined([self.values(part, scope, depth) for part in parts])

    def _of_subscript(self, node: ast.Subscript, scope: Scope, depth: int) -> Values:
        base = self.values(node.value, scope, depth)
        if isinstance(node.slice, ast.Slice):
            return _bounded(_sliced(value, node.slice) for value in base)
        return self._looked_up(base, self.values(node.slice, scope, depth))

    def _looked_up(self, base: Values, keys: Values) -> Values:
        """Return what dictionaries of modules, or containers, have under these keys."""
        found = [self._entry(value, key) for value in base for key in keys]
        return _bounded(itertools.chain.from_iterable(found))

    def _entry(self, value: Value, key: Value) -> Values:
        if not isinstance(value, Ref):
            return frozenset([value]) if value is not None else ANYTHING
        if not is_name_space(value):
            return frozenset([value])  # of a container of such
        if not isinstance(key, str):
            return ANYTHING
        if value.name == GLOBALS:
            return self._of_name(ast.Name(key, ast.Load()), self.module, 0)
        if value.name == "sys.modules":
            return frozenset([Ref(key)])
        return frozenset([Ref(f"{value.name.removesuffix(MODULE_DICT)}.{key}")])

    def _of_call(self, node: ast.Call, scope: Scope, depth: int) -> Values:
        given = [self.values(argument, scope, depth) for argument in node.args[:3]]
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if isinstance(node.func, ast.Attribute) and method in (*LOOKUPS, "join", "decode"):
            base = self.values(node.func.value, scope, depth)
            if method == "decode":
                return base
            if method == "join":
                return self._join(base, node, scope, depth)
            return self._looked_up(base, given[0] if given else ANYTHING)
        called = self.values(node.func, scope, depth)
        return _bounded(
            itertools.chain.from_iterable(self._called(value, given, node, scope, depth) for value in called)
        )

    def _join(self, base: Values, node: ast.Call, scope: Scope, depth: int) -> Values:
        parts = node.args[0].elts if node.args and isinstance(node.args[0], ast.List | ast.Tuple) else None
        if parts is None or base != frozenset([""]):
            return ANYTHING
        return _joined([self.values(part, scope, depth) for part in parts])

    def _called(self, value: Value, given: list[Values], node: ast.Call, scope: Scope, depth: int) -> Values:
        """Return what a call of `value` may give."""
        if not isinstance(value, Ref):
            return ANYTHING
        name = value.name.removeprefix("builtins.")
        if name in self._returns:
            return self._returned.get(name, NOTHING)
        if name in ("getattr", "object.__getattribute__") and len(given) > 1:
            return _bounded(_member(one, key) for one in given[0] for key in given[1])
        if name in ("__import__", "importlib.import_module", "importlib.__import__") and given:
            return frozenset([Ref(key) if isinstance(key, str) else None for key in given[0]])
        if name == "vars" and given:
            return _bounded(_member(one, "__dict__") for one in given[0])
        if name in ("globals", "locals", "vars"):
            return frozenset([Ref(GLOBALS)])
        if name == "functools.partial" and given:
            return given[0]
        if name.endswith(".__getattribute__") and given:
            return _bounded(_member(Ref(name.removesuffix(".__getattribute__")), key) for key in given[0])
        return self._union(node.args, scope, depth) if name in ("list", "tuple", "dict", "iter", "next") else ANYTHING


def is_name_space(value: Value) -> bool:
    """Whether a subscript of it is a look-up of a name."""
    return isinstance(value, Ref) and (value.name in (GLOBALS, "sys.modules", "builtins") or _is_dict(value))


def _is_dict(value: Ref) -> bool:
    return value.name.endswith(MODULE_DICT)


def _member(value: Value, name: Value) -> Value:
    """Return an attribute of a value."""
    return Ref(f"{value.name}.{name}") if isinstance(value, Ref) and isinstance(name, str) else None


def _bounded(values: Iterable[Value]) -> Values:
    found = set(itertools.islice(values, MAX_VALUES * MAX_VALUES))
    return frozenset(found) if len(found) <= MAX_VALUES else frozenset([*list(found)[:MAX_VALUES], None])


def _joined(parts: list[Values]) -> Values:
    """Return the texts that the parts make one after the other."""
    if len(parts) > MAX_DEPTH:
        return ANYTHING
    whole: set[str] = {""}
    for part in parts:
        texts = [text for text in part if isinstance(text, str)]
        whole = {(head + tail)[:MAX_TEXT] for head in whole for tail in texts}
        if len(whole) > MAX_VALUES:
            return ANYTHING
    known = all(isinstance(text, str) for part in parts for text in part)
    return frozenset(whole) if known else frozenset([*whole, None])


def _sliced(value: Value, part: ast.Slice) -> Value:
    """Return a slice of a text; of a container what it holds."""
    if not isinstance(value, str):
        return value
    try:
        bounds = [None if end is None else ast.literal_eval(end) for end in (part.lower, part.upper, part.step)]
        return value[slice(*bounds)]
    except (ValueError, TypeError, RecursionError):
        return None


def _body(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the children that see a node's own scope."""
    if isinstance(node, ast.Lambda):
        yield node.body
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield from node.body
    elif isinstance(node, Comprehension):
        yield from ast.iter_child_nodes(node)


def _parameters(arguments: ast.arguments) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield each parameter twice where it has a default: as that, and as anything."""
    plain = [*arguments.posonlyargs, *arguments.args]
    pairs: list[tuple[ast.arg, Any]] = list(zip(reversed(plain), reversed(arguments.defaults), strict=False))
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    yield from ((argument.arg, default) for argument, default in pairs if default is not None)
    for argument in (*plain, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if argument is not None:
            yield argument.arg, None


def _returned(node: Function) -> Iterator[ast.expr]:
    """Yield the expressions that a function returns or yields, without those of functions in it."""
    if isinstance(node, ast.Lambda):
        yield node.body
        return
    waiting: list[ast.AST] = list(node.body)
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.Return | ast.Yield) and part.value is not None:
            yield part.value
        if not isinstance(part, Function | ast.ClassDef):
            waiting += ast.iter_child_nodes(part)


def _assigned(node: ast.AST) -> Iterator[tuple[ast.AST, ast.expr | None]]:
    """Yield (target, value) of what a node binds, value None for anything."""
    if isinstance(node, ast.Assign):
        yield from ((target, node.value) for target in node.targets)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
        yield node.target, node.value
    elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        yield node.target, ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value)
    elif isinstance(node, ast.For | ast.AsyncFor):
        yield node.target, node.iter
    elif isinstance(node, Comprehension):
        yield from ((part.target, part.iter) for part in node.generators)
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield node.optional_vars, None
    elif isinstance(node, ast.Delete):
        yield from ((target, None) for target in node.targets)
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield ast.Name(node.name, ast.Store()), None
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield ast.Name(node.rest, ast.Store()), None
