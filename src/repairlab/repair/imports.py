"""imports: another import where one fails: the name stands elsewhere, is spelt otherwise, or comes too early.

    at_load(bundle, cause, lines)    changes of the import statements in the traceback, the innermost first
    absent(bundle, cause)            changes of the module that lacks what is imported from it

Source of the kinds: BugsInPy's and TSSB-3M's import changes, and the lists of what moved in the standard library.
Names of the project are looked up in its syntax trees; nothing of it is imported.
"""

import ast
import re
from collections.abc import Iterator, Sequence

from repairlab.repair import stdlib
from repairlab.repair.candidates import Change
from repairlab.repair.transformations.imports import insertion
from repairlab.trial.bundle import Bundle
from repairlab.trial.source import UNPARSABLE, Edit, Source
from repairlab.trial.testrun import Line
from repairlab.trial.validation import Cause

Statement = ast.Import | ast.ImportFrom
Edits = tuple[tuple[int, int, str], ...]
MAX_DEPTH = 6  # frames that are looked at
MAX_PROVIDERS = 4


def at_load(bundle: Bundle, cause: Cause, lines: Sequence[Line]) -> Iterator[Change]:
    """Yield changes of the import statements that a failed load went through."""
    circular = "circular import" in cause.message or "partially initialized" in cause.message
    if cause.base not in ("ImportError", "AttributeError") or (cause.base == "AttributeError" and not circular):
        return
    for depth, (path, line) in enumerate(lines[:MAX_DEPTH]):
        source = bundle.sources[path]
        node = statement_at(source, line)
        if node is None:
            continue
        weigh = 0.9**depth
        kinds = [_later(source, node)] if circular else []
        if depth == 0:
            kinds.append(_other(bundle, source, node, cause))
        for found in kinds:
            for prior, edits, note in found:
                yield Change(tuple(Edit(path, *edit) for edit in edits), (path, line), "imports", note, prior * weigh)


def absent(bundle: Bundle, cause: Cause) -> Iterator[Change]:
    """Yield ways to give a module of the project the name that something else, a test perhaps, imports from it."""
    found = re.search(r"cannot import name '(\w+)' from '([\w.]+)'", cause.message)
    found = found or re.search(r"module '(?P<module>[\w.]+)' has no attribute '(?P<name>\w+)'", cause.message)
    if found is None:
        return
    known = found.groupdict()
    name, module = known.get("name") or found.group(1), known.get("module") or found.group(2)
    source = bundle.sources.get(bundle.modules.get(module, ""))
    if source is None or name in source.top_level or "partially initialized" in cause.message:
        return
    own = package_of(bundle, source.path)
    for prior, edits, note in _given(bundle, source, name, own):
        line = source.text.count("\n", 0, edits[0][0]) + 1
        changes = tuple(Edit(source.path, *edit) for edit in edits)
        yield Change(changes, (source.path, line), "imports", note, prior)


def _given(bundle: Bundle, source: Source, name: str, own: str) -> Iterator[tuple[float, Edits, str]]:
    try:
        _ = source.tree
    except UNPARSABLE:
        return
    for other in defined_in(bundle, name):
        statement = f"from {relative_to(own, other) or other} import {name}"
        at, text = insertion(source, statement)
        yield 0.9, ((at, at, text),), statement
    end = len(source.text)
    newline = source.newline(1)
    gap = "" if source.text.endswith(("\n", "\r")) or not source.text else newline
    for rank, other in enumerate(stdlib.close(name, source.top_level)):
        spans = [source.span(n) for n in ast.walk(source.tree) if isinstance(n, ast.Name) and n.id == other]
        heads = [definition(source, n) for n in source.tree.body if getattr(n, "name", "") == other]
        renamed = tuple(sorted((*span, name) for span in [*spans, *heads]))
        yield 0.85 - 0.05 * rank, renamed, f"{other} renamed to {name}"
        yield 0.7 - 0.05 * rank, ((end, end, f"{gap}{newline}{newline}{name} = {other}{newline}"),), f"{name} = {other}"


def definition(source: Source, node: ast.stmt) -> tuple[int, int]:
    """Return the span of the name in the head of a function or class."""
    start, end = source.span(node)
    name = getattr(node, "name", "")
    found = re.compile(rf"\b(?:def|class)\s+({re.escape(name)})\b").search(source.text, start, end)
    return found.span(1) if found else (start, start)


def statement_at(source: Source, line: int) -> Statement | None:
    """Return the import statement that covers a line."""
    try:
        nodes = list(source.nodes)
    except UNPARSABLE:
        return None
    return next((n for n in nodes if isinstance(n, Statement) and n.lineno <= line <= (n.end_lineno or n.lineno)), None)


def _other(bundle: Bundle, source: Source, node: Statement, cause: Cause) -> Iterator[tuple[float, Edits, str]]:
    """Yield imports of something else in the place of what is missing."""
    start, end = source.span(node)
    found = re.search(r"cannot import name '(\w+)'", cause.message)
    if isinstance(node, ast.ImportFrom):
        for alias in node.names if found else []:
            if found and alias.name == found.group(1):
                yield from _missing_name(bundle, source, node, alias)
        if found:
            return
        names = source.text[start:end].partition(" import ")[2]
        for prior, module in _modules(bundle, source, node.module or "", cause.name, [a.name for a in node.names]):
            yield prior, ((start, end, f"from {module} import {names}"),), f"from {module}"
        return
    for alias in node.names:
        if alias.name != cause.name and not cause.name.startswith(alias.name.partition(".")[0]):
            continue
        at, to = source.span(alias)
        bound = alias.asname or alias.name
        for prior, module in _modules(bundle, source, alias.name, cause.name, []):
            package, _, last = module.rpartition(".")
            if module.startswith("."):
                as_name = f" as {bound}" if bound != last else ""
                if len(node.names) == 1:
                    yield prior, ((start, end, f"from {package or '.'} import {last}{as_name}"),), f"import {module}"
                continue
            yield prior, ((at, to, f"{module} as {bound}"),), f"import {module}"
            yield prior * 0.8, ((at, to, module),), f"import {module}"


def _modules(
    bundle: Bundle, source: Source, wanted: str, missing: str, names: Sequence[str]
) -> Iterator[tuple[float, str]]:
    """Yield modules, relative ones with their dots, that may be meant by one that is not there."""
    modules = bundle.modules
    own = package_of(bundle, source.path)
    last = (wanted or missing).rpartition(".")[2]
    if wanted in stdlib.RENAMED:
        yield 1.0, stdlib.RENAMED[wanted]
    near = [name for name in modules if name.rpartition(".")[2] == last and modules[name] != source.path]
    defining = [m for name in names for m in defined_in(bundle, name) if modules.get(m) != source.path]
    spelt = stdlib.close(last, [name.rpartition(".")[2] for name in modules])
    misspelt = [name for name in modules if name.rpartition(".")[2] in spelt and modules[name] != source.path]
    for prior, group in ((0.95, near), (0.85, misspelt), (0.6, defining)):
        for module in dict.fromkeys(group):
            relative = relative_to(own, module)
            if relative is not None:
                yield prior, relative
            yield prior * 0.95, module
    for module in stdlib.close(wanted, stdlib.top_level(), 2):
        yield 0.8, module
    for name in names if not near and not misspelt else ():
        for rank, module in enumerate(stdlib.providers(name)[:MAX_PROVIDERS]):
            yield 0.7 - 0.05 * rank, module


def _missing_name(
    bundle: Bundle, source: Source, node: ast.ImportFrom, alias: ast.alias
) -> Iterator[tuple[float, Edits, str]]:
    """Yield imports for a name that its module does not have."""
    name, bound = alias.name, alias.asname or alias.name
    module = absolute(bundle, source.path, node)
    own = package_of(bundle, source.path)
    elsewhere = [(0.95, m) for m in defined_in(bundle, name) if bundle.modules[m] != source.path and m != module]
    elsewhere += [(0.75 - 0.03 * rank, m) for rank, m in enumerate(stdlib.providers(name)) if m != module]
    renamed = f" as {alias.asname}" if alias.asname else ""
    for prior, other in elsewhere:
        place = (relative_to(own, other) if node.level and own else None) or other
        yield prior, _instead(source, node, alias, f"from {place} import {name}{renamed}"), f"from {place}"
    if module == "collections" and name in stdlib.names_of("collections.abc"):
        yield 1.0, _instead(source, node, alias, f"from collections.abc import {name}{renamed}"), "from collections.abc"
    if (module, name) in stdlib.MOVED:
        other, new = stdlib.MOVED[module, name]
        text = f"{bound} = {new}" if other == "builtins" else f"from {other} import {new} as {bound}"
        yield 1.0, _instead(source, node, alias, text), f"{new} of {other}"
    start, _ = source.span(alias)
    known = names_of(bundle, module)
    for rank, other in enumerate(stdlib.close(name, known or stdlib.names_of(module))):
        yield 0.9 - 0.05 * rank, ((start, start + len(name), other),), f"import {other}"
        if not alias.asname:
            yield 0.88 - 0.05 * rank, ((start, start + len(name), f"{other} as {name}"),), f"import {other}"
    used = sum(isinstance(n, ast.Name) and n.id == bound for n in ast.walk(source.tree))
    if not used:
        yield 0.65, _instead(source, node, alias, ""), f"{name} no longer imported"
    if name in bundle.modules or stdlib.is_module(name):
        yield 0.7, _instead(source, node, alias, f"import {name}{renamed}"), f"import {name}"


def _instead(source: Source, node: ast.ImportFrom, alias: ast.alias, text: str) -> Edits:
    """Return the edits that take a name out of an import and put a statement of its own behind it."""
    start, end = source.span(node)
    if len(node.names) == 1:
        return ((start, end, text or "pass"),)
    position = node.names.index(alias)
    first, last = source.span(alias)
    if position + 1 < len(node.names):
        last = source.span(node.names[position + 1])[0]
    else:
        first = source.span(node.names[position - 1])[1]
    if not text:
        return ((first, last, ""),)
    return ((first, last, ""), (end, end, source.newline(node.lineno) + source.indent(node.lineno) + text))


def _later(source: Source, node: Statement) -> Iterator[tuple[float, Edits, str]]:
    """Yield ways to import later: in the functions that need it, by the module's name, at the end of the file."""
    if source.parents.get(node) is not source.tree:
        return
    start, end = source.line_span(node.lineno, node.end_lineno or node.lineno)
    newline = source.newline(node.lineno)
    bound = {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    uses = [n for n in source.nodes if isinstance(n, ast.Name) and n.id in bound]
    inside = {function: _body_uses(function, bound) for function in source.definitions()}
    users = [f for f, used in inside.items() if used and source.parents.get(f) in (source.tree, *_classes(source))]
    if users and sum(len(inside[function]) for function in users) == len(uses):
        text = source.segment(node)
        edits = [(start, end, "")]
        for function in users:
            first = function.body[1 if ast.get_docstring(function, clean=False) and len(function.body) > 1 else 0]
            at = source.offset(first.lineno, first.col_offset)
            if first.lineno > function.lineno:
                edits.append((at, at, text + newline + source.indent(first.lineno)))
        if len(edits) == len(users) + 1:
            yield 0.95, tuple(edits), "import in the function"
    if isinstance(node, ast.ImportFrom) and node.module and not node.level and bound != {"*"}:
        names = {alias.asname or alias.name: alias.name for alias in node.names}
        by_name = [(*source.span(use), f"{node.module}.{names[use.id]}") for use in uses]
        statement = (*source.span(node), f"import {node.module}")
        yield 0.8, (statement, *by_name), "import of the module"
    length = len(source.text)
    if end < length:
        gap = "" if source.text.endswith(("\n", "\r")) else newline
        yield (
            0.6,
            ((start, end, ""), (length, length, f"{gap}{newline}{source.segment(node)}{newline}")),
            "import at the end",
        )


def _classes(source: Source) -> list[ast.AST]:
    return [node for node in source.tree.body if isinstance(node, ast.ClassDef)]


def _body_uses(function: ast.FunctionDef | ast.AsyncFunctionDef, names: set[str]) -> list[ast.Name]:
    """Return the uses in the body alone: decorators, defaults and annotations are evaluated when it is defined."""
    nodes = (node for statement in function.body for node in ast.walk(statement))
    return [node for node in nodes if isinstance(node, ast.Name) and node.id in names]


def package_of(bundle: Bundle, path: str) -> str:
    """Return the dotted package that a file belongs to, '' for a module of its own."""
    directory = path.rpartition("/")[0]
    if not directory or f"{directory}/__init__.py" not in bundle.files:
        return ""
    return directory.removeprefix("src/").replace("/", ".")


def relative_to(package: str, module: str) -> str | None:
    """Return `module` as a relative import from `package` has it; None outside the package's own top level."""
    if not package or module.partition(".")[0] != package.partition(".")[0] or module == package:
        return None
    ours, theirs = package.split("."), module.split(".")
    common = 0
    while common < min(len(ours), len(theirs)) and ours[common] == theirs[common]:
        common += 1
    return "." * (1 + len(ours) - common) + ".".join(theirs[common:])


def absolute(bundle: Bundle, path: str, node: ast.ImportFrom) -> str:
    """Return the module that a statement imports from, by its dotted name."""
    if not node.level:
        return node.module or ""
    package = package_of(bundle, path).split(".")
    parts = package[: len(package) + 1 - node.level]
    return ".".join([*parts, *([node.module] if node.module else [])])


def names_of(bundle: Bundle, module: str) -> list[str]:
    """Return what a module of the project defines at its top level."""
    source = bundle.sources.get(bundle.modules.get(module, ""))
    return sorted(source.top_level) if source else []


def defined_in(bundle: Bundle, name: str) -> list[str]:
    """Return the modules of the project that define `name` at their top level."""
    return [m for m, p in bundle.modules.items() if p in bundle.sources and name in bundle.sources[p].top_level]
