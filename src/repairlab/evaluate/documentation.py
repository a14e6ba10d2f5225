"""documentation: how much of what others call is documented, and whether the words still fit the code.

Presence: public modules, classes, functions and methods with a docstring. Drift: parameters that a docstring names
(Sphinx's `:param x:`, Google's `Args:`, NumPy's `Parameters`) and the signature has not, and returns or raises that are
told of a function without any.
"""

import ast
import inspect
import re
from collections.abc import Iterator, Mapping

_SPHINX = re.compile(r"^\s*:param\s+(?:[\w\[\], .|]+\s+)?\*{0,2}(\w+)\s*:", re.MULTILINE)
_SECTION = re.compile(r"^(Args|Arguments|Parameters)\s*:?\s*$")
_HEADING = re.compile(r"^[A-Z][A-Za-z ]*:?\s*$")
_GOOGLE = re.compile(r"^\s+\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:")
_NUMPY = re.compile(r"^\*{0,2}(\w+)(?:\s*,\s*\*{0,2}\w+)*\s*:(?:\s|$)|^(\w+)\s*$")
DRIFT_COST = 0.5  # of what a docstring is worth that does not fit

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def score(files: Mapping[str, bytes]) -> float:
    """Return the share of public definitions that are documented, those that drifted counting half; 1 for none."""
    values = [_worth(node) for text in files.values() for node in _public(text)]
    return round(sum(values) / len(values), 6) if values else 1.0


def _public(text: bytes) -> Iterator[Documented]:
    """Yield the module (where it defines anything), its public classes and functions, and their public methods."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    definitions = [node for node in tree.body if isinstance(node, Definition)]
    if definitions:
        yield tree
    for node in definitions:
        if node.name.startswith("_"):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and not inner.name.startswith("_"):
                    yield inner


def _worth(node: Documented) -> float:
    text = ast.get_docstring(node, clean=False)
    if not text or not text.strip():
        return 0.0
    return 1 - DRIFT_COST if drifted(node, inspect.cleandoc(text)) else 1.0


def drifted(node: Documented, text: str) -> list[str]:
    """Return the parameters that a docstring tells of and the signature does not have."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return []
    args = node.args
    given = [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]
    known = {arg.arg for arg in given}
    told = {*_SPHINX.findall(text), *_in_sections(text.splitlines())}
    return [] if args.kwarg else sorted(told - known)


def _in_sections(lines: list[str]) -> Iterator[str]:
    """Yield the parameter names of Google's and NumPy's sections."""
    at = 0
    while at < len(lines):
        found = _SECTION.match(lines[at])
        at += 1
        if not found:
            continue
        numpy = at < len(lines) and set(lines[at].strip()) == {"-"}
        pattern, at = (_NUMPY, at + 1) if numpy else (_GOOGLE, at)
        while at < len(lines) and not (lines[at].strip() and _HEADING.match(lines[at]) and not numpy):
            if numpy and at + 1 < len(lines) and set(lines[at + 1].strip()) == {"-"}:
                break
            if name := pattern.match(lines[at]):
                yield next(filter(None, name.groups()))
            at += 1
