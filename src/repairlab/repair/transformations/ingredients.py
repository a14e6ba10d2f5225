"""ingredients: what a function offers to be put in elsewhere: its statements, conditions, results, and forms of them.

What is missing is seldom new: most statements that fixes add are made of what stands nearby ("plastic surgery": Barr et
al., FSE 2014; GenProg), usually a sibling with one thing exchanged, or all that goes with a word:
`left` for `right`, `1` for `2`. All lists are ordered by how likely they are, and short.
"""

import ast
import builtins
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import combinations

from repairlab.repair.transformations.site import MAX_BITS, Project, Scope, Site
from repairlab.trial.source import Located

DEFAULTS = {
    "int": "0",
    "float": "0.0",
    "str": "''",
    "list": "[]",
    "dict": "{}",
    "bool": "False",
    "tuple": "()",
    "set": "set()",
    "NoneType": "None",
}
OPPOSITES = (("min", "max"), ("left", "right"), ("start", "end"), ("first", "second"), ("first", "last"),
    ("low", "high"), ("lo", "hi"), ("x", "y"), ("row", "col"), ("rows", "cols"), ("src", "dst"), ("old", "new"),
    ("key", "value"), ("odd", "even"), ("open", "close"), ("head", "tail"), ("prev", "next"), ("lower", "upper"),
    ("width", "height"), ("parent", "child"), ("in", "out"), ("a", "b"), ("i", "j"), ("append", "pop"))  # fmt: skip
_WORD = re.compile(r"[A-Za-z_]\w*")
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+|_+")
MAX_MIRRORS, MAX_NAMES = 12, 120
_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
}  # fmt: skip


def pool(site: Site) -> "Pool":
    """Return the ingredients of the function that `site` is in, made once."""
    known = site.scope.__dict__.get("_pool")
    if known is None:
        known = site.scope.__dict__["_pool"] = Pool(site.scope, site.project)
    return known


class Pool:
    """The ingredients of one function."""

    def __init__(self, scope: Scope, project: Project) -> None:
        self.scope = scope
        self.project = project
        self.source = scope.source

    def _nodes(self) -> Iterator[ast.AST]:
        return ast.walk(self.scope.owner)

    @cached_property
    def known(self) -> frozenset[str]:
        """All words that the file uses."""
        return frozenset(_WORD.findall(self.source.text))

    @cached_property
    def mirrors(self) -> list[tuple[str, str]]:
        """Pairs of word parts that go with each other here: `1` and `2` where there are `x1` and `x2`."""
        names = {n.id for n in self._nodes() if isinstance(n, ast.Name)}
        names |= {n.attr for n in self._nodes() if isinstance(n, ast.Attribute)} | set(self.scope.locals)
        parted = [(name, _PART.findall(name)) for name in sorted(names)[:MAX_NAMES]]
        found: Counter[tuple[str, str]] = Counter()
        for (_, one), (_, two) in combinations(parted, 2):
            if len(one) == len(two):
                unlike = [(a, b) for a, b in zip(one, two, strict=True) if a != b]
                if len(unlike) == 1 and (len(one) > 1 or unlike[0] in OPPOSITES):
                    found[unlike[0]] += 1
        parts = {part for _, name in parted for part in name}
        for pair in OPPOSITES:
            if pair[0] in parts or pair[1] in parts:
                found[pair] += 1
        ordered = sorted(found, key=lambda pair: (-found[pair], pair))[:MAX_MIRRORS]
        return [way for a, b in ordered for way in ((a, b), (b, a))]

    def mirrored(self, text: str) -> list[str]:
        """Return `text` with a word part exchanged throughout for the one that goes with it."""
        found: dict[str, None] = {}
        for one, two in self.mirrors:
            if one in text:
                new = _WORD.sub(lambda word, one=one, two=two: self._exchanged(word.group(), one, two), text)  # type: ignore[misc]
                if new != text:
                    found[new] = None
        return list(found)

    def _exchanged(self, word: str, one: str, two: str) -> str:
        if one not in word:
            return word
        new = "".join(two if part == one else part for part in _PART.findall(word))
        return new if new in self.known else word

    def substituted(self, node: Located, limit: int) -> list[str]:
        """Return the text of `node` with one name or constant exchanged for another one of the function."""
        base, _ = self.source.span(node)
        text = self.source.segment(node)
        found: dict[str, float] = {}
        for part in ast.walk(node):
            if isinstance(part, ast.Name | ast.Constant):
                start, end = (offset - base for offset in self.source.span(part))
                for rank, other in enumerate(self._others(part)):
                    new = text[:start] + other + text[end:]
                    found[new] = min(found.get(new, 99.0), rank)
        found.pop(text, None)
        return sorted(found, key=lambda new: (found[new], len(new), new))[:limit]

    def _others(self, part: ast.Name | ast.Constant) -> list[str]:
        kind = self.scope.type_of(part, self.project)
        if isinstance(part, ast.Constant):
            if isinstance(part.value, bool):
                return [repr(not part.value)]
            if isinstance(part.value, int) and part.value.bit_length() <= MAX_BITS:
                near = [repr(part.value + 1), repr(part.value - 1)]
                return list(dict.fromkeys([*self.scope.numbers, *near, *self.project.numbers]))[:6]
            if isinstance(part.value, str):
                return list(dict.fromkeys([*self.scope.texts, *self.project.strings]))[:8]
            return []
        names = [name for name in self.scope.near(part.lineno) if name != part.id]
        kinds = {name: self.scope.type_of(ast.Name(name, ast.Load()), self.project) for name in names}
        alike = [name for name in names if not kind or not kinds[name] or kinds[name] == kind]
        return alike[:5]

    @cached_property
    def simple(self) -> list[ast.stmt]:
        """The one-line assignments and calls of the function."""
        found = [n for n in self._nodes() if isinstance(n, ast.Assign | ast.AugAssign | ast.Expr)]
        return [n for n in found if n.lineno == n.end_lineno and not is_docstring(n)]

    @cached_property
    def results(self) -> list[str]:
        """The values that the function returns, then what its type suggests."""
        found: dict[str, None] = {}
        for node in self._nodes():
            if isinstance(node, ast.Return) and node.value is not None and node.lineno == node.end_lineno:
                found[self.source.segment(node.value)] = None
        kind = self.scope.type_of(ast.Name("return", ast.Load()), self.project)
        if "True" in found or "False" in found or kind == "bool":
            found.update({"True": None, "False": None})
        short = sorted(found, key=len)
        return list(dict.fromkeys([*short, DEFAULTS.get(kind, "None"), "None"]))

    @cached_property
    def raises(self) -> list[str]:
        """The one-line `raise` statements of the function, then of the file."""
        near = [n for n in self._nodes() if isinstance(n, ast.Raise)]
        far = [n for n in self.source.nodes if isinstance(n, ast.Raise)]
        own = set(self.scope.locals) | set(self.scope.module_names)
        found = dict.fromkeys(
            self.source.segment(n)
            for n in (*near, *far)
            if n.exc is not None and n.lineno == n.end_lineno and (n in near or names_in(n) <= own)
        )
        return list(found)[:8]

    @cached_property
    def tests(self) -> list[ast.expr]:
        """The conditions of the function: tests, their operands, comparisons."""
        found: dict[str, ast.expr] = {}
        for node in self._nodes():
            parts: list[ast.expr] = []
            if isinstance(node, ast.If | ast.While | ast.IfExp):
                parts.append(node.test)
            if isinstance(node, ast.BoolOp):
                parts += node.values
            if isinstance(node, ast.Compare):
                parts.append(node)
            for part in parts:
                if not isinstance(part, ast.Constant) and part.lineno == part.end_lineno:
                    found.setdefault(self.source.segment(part), part)
        return list(found.values())


def names_in(node: ast.AST) -> set[str]:
    """Return the names below `node` that are no built-ins."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and not hasattr(builtins, n.id)}


def is_docstring(node: ast.AST) -> bool:
    """True for a statement that is a constant."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def asks(site: Site, node: ast.AST) -> list[str]:
    """Return conditions that what `node` uses suggests: is it there, empty, None, within bounds; likely ones first."""
    found: dict[str, None] = {}
    for part in ast.walk(node):
        if isinstance(part, ast.Subscript) and isinstance(part.value, ast.Name | ast.Attribute):
            base, index = _operand(site, part.value), part.slice
            kind = site.type_of(part.value)
            if isinstance(index, ast.Name | ast.Attribute) and kind in ("", "dict"):
                found[f"{_operand(site, index)} in {base}"] = None
            if isinstance(index, ast.Name | ast.BinOp) and kind != "dict":
                found[f"{_operand(site, index)} < len({base})"] = None
            if kind in ("", "list", "str", "tuple"):
                found[base] = None
        elif isinstance(part, ast.BinOp) and isinstance(part.op, ast.Div | ast.FloorDiv | ast.Mod):
            divisor = part.right
            if not isinstance(divisor, ast.Constant):
                found[f"{_operand(site, divisor)} != 0"] = None
    for part in ast.walk(node):
        if isinstance(part, ast.Name | ast.Attribute) and isinstance(part.ctx, ast.Load) and not _called(site, part):
            text, kind = _operand(site, part), site.type_of(part)
            if isinstance(part, ast.Name) and (text not in site.scope.locals or text in ("self", "cls")):
                continue
            found.update(dict.fromkeys(_asked(text, kind)))
    return list(found)


def _operand(site: Site, node: Located) -> str:
    """Return the text of a node as one side of a comparison on one line or several."""
    text = site.tight(node, 7)
    return f"({text})" if "\n" in text and not text.startswith("(") else text


def _asked(text: str, kind: str) -> tuple[str, ...]:
    if kind in ("int", "float"):
        return f"{text} > 0", f"{text} >= 0", f"{text} != 0", f"{text} > 1"
    if kind in ("str", "list", "tuple", "dict", "set", "bool"):
        return (text,)
    return text, f"{text} is not None"


def negated(text: str) -> str:
    """Return the opposite of a condition, in the form that people write."""
    tree = ast.parse(f"({text})", mode="eval").body  # `n := f()` and what goes over lines are expressions only so
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not):
        return ast.unparse(tree.operand)
    if isinstance(tree, ast.Compare) and len(tree.ops) == 1:
        return ast.unparse(ast.Compare(tree.left, [_OPPOSITE[type(tree.ops[0])]()], tree.comparators))
    return f"not {text}" if isinstance(tree, ast.Name | ast.Attribute | ast.Call | ast.Subscript) else f"not ({text})"


def _called(site: Site, node: ast.AST) -> bool:
    parent = site.source.parents.get(node)
    return isinstance(parent, ast.Call) and parent.func is node
