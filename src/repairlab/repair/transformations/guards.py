"""guards: a statement, or what follows, made to depend on a condition.

(PAR "null pointer checker", "range checker", "collection size checker"; TBar FP1-FP4.) A guard is a condition and a way
out; both come from the function and from what the guarded statement uses.
"""

import ast
from collections.abc import Iterator

from repairlab.repair.transformations.ingredients import asks, is_docstring, negated, pool
from repairlab.repair.transformations.site import LOOPS, Draft, Site

USUAL, RAISED = 0.1, 0.3  # prior of the first guard; where a failing test raised through the statement
MOST = 10  # guards before one statement


def before(site: Site) -> Iterator[Draft]:
    """`if c: continue`, `break`, `return …` or `raise …` before a statement."""
    node = site.node
    if not isinstance(node, ast.stmt) or is_docstring(node) or site.scope.function is None:
        return
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Break | ast.Continue | ast.Pass):
        return
    base, ways, found = _base(site, node), _ways(site), dict[tuple[str, str], float]()
    for rank, test in enumerate(_tests(site, node)[: 10 * site.width]):
        for place, way in enumerate(ways):
            found[test, way] = base / (1 + rank / 2 + place / 2)
    for (test, way), prior in sorted(found.items(), key=lambda item: (-item[1], item[0]))[: MOST * site.width]:
        yield from site.insert_before(node, [f"if {test}:", site.indent_unit + way], prior, "guard added")


def _base(site: Site, node: ast.stmt) -> float:
    return RAISED if (site.source.path, node.lineno) in site.project.raised else USUAL


def _ways(site: Site) -> list[str]:
    own = pool(site)
    inside = any(isinstance(outer, LOOPS) for outer in site.ancestors())
    values = [f"return {value}" if value != "None" else "return" for value in own.results[:4]]
    return [*(["continue", "break"] if inside else []), *values, *own.raises[:2]]


def _tests(site: Site, node: ast.stmt) -> list[str]:
    """Return conditions under which a statement had better not run, likely ones first."""
    own, head = pool(site), _head(node)
    refused = [negated(test) for test in asks(site, head)]
    forms = [text for test in own.tests[:6] for text in (*own.mirrored(site.text(test))[:2], *own.substituted(test, 3))]
    plain = [site.text(test) for test in own.tests]
    mixed = [test for group in zip(refused, forms, strict=False) for test in group]
    return list(dict.fromkeys([*mixed, *refused, *forms, *plain, *(negated(test) for test in plain)]))


def _head(node: ast.stmt) -> ast.AST:
    """Return the part of a statement that runs first."""
    if isinstance(node, ast.If | ast.While):
        return node.test
    return node.iter if isinstance(node, ast.For | ast.AsyncFor) else node


def around(site: Site) -> Iterator[Draft]:
    """A condition put around a statement, or around it and those that follow in its block."""
    node = site.node
    if not isinstance(node, ast.stmt) or is_docstring(node) or site.scope.function is None:
        return
    if isinstance(node, ast.FunctionDef | ast.ClassDef) or not site.alone_on_lines(node):
        return
    if isinstance(node, ast.If) and site.source.text.startswith("elif", site.source.span(node)[0]):
        return
    block = site.block(node)
    rest = block[block.index(node) :]
    own, base = pool(site), _base(site, node)
    tests = [*asks(site, node), *(site.text(test) for test in own.tests)]
    tests += [text for test in own.tests[:8] for text in own.substituted(test, 2)]
    for count, last in enumerate(rest[:3], 1):
        if not site.alone_on_lines(last) or (count > 1 and isinstance(last, ast.Return)):
            return
        for rank, test in enumerate(list(dict.fromkeys(tests))[: (6 if count == 1 else 3) * site.width]):
            prior = (base if count == 1 else base / 2) / (1 + rank / 4)
            yield from _wrapped(site, node, (site.lines(node)[0], site.lines(last)[1]), test, prior)


def _wrapped(site: Site, node: ast.stmt, span: tuple[int, int], test: str, prior: float) -> Iterator[Draft]:
    indent, newline = site.source.indent(node.lineno), site.source.newline(node.lineno)
    lines = site.source.text[slice(*span)].splitlines(keepends=True)
    body = "".join(site.indent_unit + line if line.strip() else line for line in lines)
    yield Draft(prior, ((*span, f"{indent}if {test}:{newline}{body}"),), "statement guarded")
