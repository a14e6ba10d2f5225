"""functions: a function taken out of its file with what it needs, and the fingerprints by which its likes are found.

Names are numbered by appearance, annotations and docstrings dropped; what is left is hashed whole (`ast_sha256`) and as
triples of tokens (`minhash`: Broder, 1997), whose equal shares estimate how much two functions have in common.
"""

import ast
import builtins
import copy
import hashlib
import re
import symtable
import sys
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from repairlab.documents import FunctionPattern, Parameter, ParameterKind
from repairlab.documents.patterns import MINHASHES
from repairlab.patterns.templates import UNPARSABLE

Function = ast.FunctionDef | ast.AsyncFunctionDef
MAX_HELPERS = 12
_PRIME = (1 << 61) - 1
_FACTORS = [
    (int.from_bytes(hashlib.sha256(b"%d" % number).digest()[:7], "big") | 1, number * 7919 + 1)
    for number in range(MINHASHES)
]
_BUILTINS = frozenset(dir(builtins))
_LINE_END = re.compile(r"\r\n|\r|\n")  # what ends a line for Python's parser; for splitlines() more does
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_COMMON = frozenset(
    {"the", "a", "an", "of", "and", "or", "to", "in", "is", "it", "for", "with", "that", "return", "returns"}
)


@dataclass(frozen=True)
class Fingerprint:
    """By what a function's likes are found."""

    ast_sha256: str
    minhash: tuple[int, ...]
    name: frozenset[str]
    words: frozenset[str]


def fingerprint(function: Function) -> Fingerprint:
    """Return the fingerprints of a function."""
    plain = _Plain().visit(copy.deepcopy(function))
    text = ast.dump(plain)
    tokens = re.findall(r"\w+|'[^']*'", text)
    triples = {" ".join(tokens[at : at + 3]) for at in range(max(1, len(tokens) - 2))}
    hashes = [int.from_bytes(hashlib.blake2b(item.encode(), digest_size=7).digest(), "big") for item in sorted(triples)]
    minhash = tuple(min((a * value + b) % _PRIME for value in hashes) & 0xFFFFFFFF for a, b in _FACTORS)
    words = tokens_of(ast.get_docstring(function) or "") - _COMMON
    return Fingerprint(hashlib.sha256(text.encode()).hexdigest(), minhash, tokens_of(function.name), words)


def tokens_of(text: str) -> frozenset[str]:
    """Return the words of a name or a sentence."""
    return frozenset(word.lower() for word in _WORD.findall(text))


def similarity(one: Fingerprint, two: Fingerprint) -> float:
    """Return how alike two functions are, 0 to 1: their code, their names, what they say of themselves."""
    alike = sum(a == b for a, b in zip(one.minhash, two.minhash, strict=True)) / MINHASHES
    words = [_jaccard(a, b) for a, b in ((one.name, two.name), (one.words, two.words)) if a and b]
    return (2 * alike + sum(words)) / (2 + len(words))


def _jaccard(one: frozenset[str], two: frozenset[str]) -> float:
    return len(one & two) / len(one | two)


class _Plain(ast.NodeTransformer):
    """Takes away what does not matter: names of variables, annotations, docstrings."""

    def __init__(self) -> None:
        self.numbers: dict[str, str] = {}

    def _numbered(self, name: str) -> str:
        return name if name in _BUILTINS else self.numbers.setdefault(name, f"v{len(self.numbers)}")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self._numbered(node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(self._numbered(node.arg))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: Function) -> ast.AST:
        node.name, node.returns, node.decorator_list = self._numbered(node.name), None, []
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)


def parameters(function: Function) -> list[Parameter]:
    """Return the parameters as documents have them."""
    args = function.args
    named = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [None] * (len(named) - len(args.defaults)) + list(args.defaults)
    found = [
        _parameter(arg, ParameterKind.POSITIONAL_ONLY if arg in args.posonlyargs else ParameterKind.POSITIONAL, value)
        for arg, value in zip(named, defaults, strict=True)
    ]
    if args.vararg:
        found.append(_parameter(args.vararg, ParameterKind.VAR_POSITIONAL, None))
    only = zip(args.kwonlyargs, args.kw_defaults, strict=True)
    found += [_parameter(arg, ParameterKind.KEYWORD_ONLY, value) for arg, value in only]
    if args.kwarg:
        found.append(_parameter(args.kwarg, ParameterKind.VAR_KEYWORD, None))
    return found


def _parameter(arg: ast.arg, kind: ParameterKind, default: ast.expr | None) -> Parameter:
    return Parameter(
        name=arg.arg,
        kind=kind,
        default=ast.unparse(default) if default is not None else None,
        annotation=ast.unparse(arg.annotation) if arg.annotation is not None else None,
    )


def function_pattern(text: str, name: str) -> FunctionPattern | None:
    """Return the pattern of the function `name` (or `Class.method`) of a file; None where it needs what cannot come."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
        function = definition(tree, name)
        if function is None:
            return None
        source = extracted(text, function)
        needed = _needs(tree, text, source)
        if needed is None and _postponed(tree):
            function = bare(function)
            source = ast.unparse(function) + "\n"
            needed = _needs(tree, text, source)
        if needed is None:
            return None
        marks = fingerprint(function)
        made = FunctionPattern(
            name=function.name,
            source=source,
            parameters=parameters(function),
            imports=needed[0],
            helpers=needed[1],
            ast_sha256=marks.ast_sha256,
            minhash=list(marks.minhash),
        )
        return msgspec.convert(msgspec.to_builtins(made), FunctionPattern)
    except (*UNPARSABLE, msgspec.ValidationError):
        return None


def _postponed(tree: ast.Module) -> bool:
    """Whether annotations are never evaluated there, so that names in them need not be at hand (PEP 563)."""
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    return any(alias.name == "annotations" for node in imports for alias in node.names)


def bare(function: Function) -> Function:
    """Return a function without decorators and the annotations of its parameters and result."""
    plain = copy.deepcopy(function)
    plain.decorator_list, plain.returns = [], None
    for node in ast.walk(plain.args):
        if isinstance(node, ast.arg):
            node.annotation = None
    return plain


def definition(tree: ast.Module, name: str) -> Function | None:
    """Return a function of a file by its name, or by its class's and its own."""
    owner, _, own = name.rpartition(".")
    block: list[ast.stmt] = tree.body
    if owner:
        block = next((n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == owner), [])
    return next((n for n in block if isinstance(n, Function) and n.name == own), None)


def extracted(text: str, node: ast.stmt) -> str:
    """Return the whole lines of a definition, decorators left out, dedented."""
    lines = _LINE_END.split(text)[node.lineno - 1 : node.end_lineno]
    return textwrap.dedent("".join(line + "\n" for line in lines))


def globals_of(source: str) -> list[str]:
    """Return the names that a definition takes from its module, builtins aside, in order of the alphabet."""
    table = symtable.symtable(source, "<pattern>", "exec")
    own = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned()}
    found = {symbol.get_name() for inner in _tables(table) for symbol in inner.get_symbols() if symbol.is_global()}
    found |= {s.get_name() for s in table.get_symbols() if s.is_referenced()}
    return sorted(found - own - _BUILTINS)


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for inner in table.get_children():
        yield inner
        yield from _tables(inner)


def _needs(tree: ast.Module, text: str, source: str) -> tuple[list[str], list[str]] | None:
    """Return the imports and helpers (called ones first) that a definition needs, or None."""
    offers = {name: node for node in tree.body for name in bound_by(node)}
    imports: dict[str, None] = {}
    helpers: dict[str, None] = {}
    seen: set[ast.stmt] = {n for n in tree.body if isinstance(n, Function) and extracted(text, n) == source}

    def collect(source: str) -> bool:
        for name in globals_of(source):
            node = offers.get(name)
            if node is None:
                return False
            if isinstance(node, ast.Import | ast.ImportFrom):
                if (line := _import_of(node, name)) is None:
                    return False
                imports[line] = None
            elif node not in seen:
                seen.add(node)
                helper = extracted(text, node)
                if len(seen) > MAX_HELPERS + 1 or not collect(helper):
                    return False
                helpers[helper] = None
        return True

    return (list(imports), list(helpers)) if collect(source) else None


def bound_by(node: ast.stmt) -> list[str]:
    """Return the names that a statement of a module binds, as far as another file could take it over."""
    if isinstance(node, Function | ast.ClassDef):
        return [] if node.decorator_list else [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return [node.targets[0].id]
    return []


def _import_of(node: ast.Import | ast.ImportFrom, name: str) -> str | None:
    """Return the statement that binds `name` alone; only the standard library is at hand everywhere."""
    alias = next(a for a in node.names if (a.asname or a.name).partition(".")[0] == name)
    module = (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
    if getattr(node, "level", 0) or module.partition(".")[0] not in sys.stdlib_module_names or module == "__future__":
        return None
    if isinstance(node, ast.ImportFrom):
        return ast.unparse(ast.ImportFrom(node.module, [alias], 0))
    return ast.unparse(ast.Import([alias]))
