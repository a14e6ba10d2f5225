"""branching: a missing `else` or `elif`, made of its siblings; statements that belong under an `else`; twin blocks.

(GenProg copies statements as they are; here what is copied has a name, a constant or a word exchanged, since the branch
that is missing is mostly the sibling of one that is there.) Nothing here invents: conditions and bodies are forms of
those that stand in the function.
"""

import ast
from collections.abc import Iterator

from repairlab.repair.transformations.ingredients import DEFAULTS, negated, pool
from repairlab.repair.transformations.site import Draft, Site

LEAVES = (ast.Return, ast.Raise, ast.Continue, ast.Break)
SIGNS = {"+=": "-=", "-=": "+=", "*=": "//=", "|=": "&="}


def loosened(site: Site) -> Iterator[Draft]:
    """The statements after an `if` put under an `else` of it."""
    node = site.node
    if not isinstance(node, ast.If) or node.orelse or not site.alone_on_lines(node):
        return
    block = site.block(node)
    rest = block[block.index(node) + 1 :]
    if node.body[0].lineno == node.lineno:
        return
    for count, last in enumerate(rest[:4], 1):
        if not site.alone_on_lines(last):
            return
        prior = 0.35 if count == 1 else 0.15
        if isinstance(node.body[-1], LEAVES):
            prior *= 0.1  # what comes after is an else already
        yield from _under(site, node, (site.lines(rest[0])[0], site.lines(last)[1]), "else:", prior)


def _under(site: Site, node: ast.stmt, span: tuple[int, int], head: str, prior: float) -> Iterator[Draft]:
    indent, newline = site.source.indent(node.lineno), site.source.newline(node.lineno)
    lines = site.source.text[slice(*span)].splitlines(keepends=True)
    body = "".join(site.indent_unit + line if line.strip() else line for line in lines)
    yield Draft(prior, ((*span, f"{indent}{head}{newline}{body}"),), "put under else")


def otherwise(site: Site) -> Iterator[Draft]:
    """An `else` for an `if` that has none: the body mirrored, its sign turned, a default, another result."""
    node = site.node
    if not isinstance(node, ast.If) or node.orelse or not site.alone_on_lines(node):
        return
    if node.body[0].lineno == node.lineno or isinstance(node.body[-1], LEAVES):
        return
    for rank, text in enumerate(_opposites(site, node.body[-1])[: 12 * site.width]):
        lines = ["else:", site.indent_unit + text]
        yield from site.insert_after(node, lines, 0.25 / (1 + rank / 3), "else added")


def _opposites(site: Site, last: ast.stmt) -> list[str]:
    """Return what the other branch may do where this one ends in `last`."""
    own, found = pool(site), dict[str, None]()
    text = site.text(last)
    if last.lineno == last.end_lineno:
        found.update(dict.fromkeys(own.mirrored(text)[:4]))
        for sign, other in SIGNS.items():
            if isinstance(last, ast.AugAssign) and f" {sign} " in text:
                found[text.replace(f" {sign} ", f" {other} ", 1)] = None
    if isinstance(last, ast.Assign) and len(last.targets) == 1:
        target, kind = site.text(last.targets[0]), site.type_of(last.value)
        found[f"{target} = {DEFAULTS.get(kind, 'None')}"] = None
        found[f"{target} = None"] = None
    if last in own.simple:
        found.update(dict.fromkeys(own.substituted(last, 12)))
    found.update(dict.fromkeys(site.text(other) for other in own.simple if abs(other.lineno - last.lineno) < 6))
    found.pop(text, None)
    return list(found)


def chained(site: Site) -> Iterator[Draft]:
    """An `elif` after an `if`: its own condition and body with what goes with them exchanged."""
    node = site.node
    if not isinstance(node, ast.If) or node.body[0].lineno == node.lineno or node.test.lineno != node.test.end_lineno:
        return
    place = _after_body(site, node)
    if place is None:
        return
    newline = site.source.newline(node.lineno)
    indent, inner = site.source.indent(node.lineno), site.source.indent(node.body[0].lineno)
    for test, body, prior in _forms(site, node):
        lines = "".join(inner + line + newline for line in body)
        yield Draft(prior, ((place, place, f"{indent}elif {test}:{newline}{lines}"),), "elif added")


def _after_body(site: Site, node: ast.If) -> int | None:
    end = site.lines(node.body[-1])[1]
    return end if site.source.text[:end].endswith(("\n", "\r")) and site.alone_on_lines(node.body[-1]) else None


def _forms(site: Site, node: ast.If) -> Iterator[tuple[str, list[str], float]]:
    """Yield (condition, lines of the body, prior) of branches like this one."""
    own, test = pool(site), site.text(node.test)
    if any(n.lineno != n.end_lineno for n in node.body) or len(node.body) > 4:
        return
    bodies = [site.text(n) for n in node.body]
    whole = "\n".join([test, *bodies])
    for rank, text in enumerate(own.mirrored(whole)):
        head, *body = text.split("\n")
        if head != test:
            yield head, body, 0.3 / (1 + rank / 3)
    tests = own.substituted(node.test, 5 * site.width)
    lasts = [bodies[-1], *own.substituted(node.body[-1], 3 * site.width)] if len(bodies) == 1 else [bodies[-1]]
    for rank, head in enumerate(tests):
        for place, last in enumerate(lasts):
            yield head, [*bodies[:-1], last], 0.12 / (1 + rank / 3 + place / 3)


def twins(site: Site) -> Iterator[Draft]:
    """A copy of a whole block behind it, with a word exchanged for the one that goes with it."""
    node = site.node
    if not isinstance(node, ast.If | ast.For | ast.While) or not site.alone_on_lines(node):
        return
    start, end = site.lines(node)
    text = site.source.text[start:end]
    if (node.end_lineno or 0) - node.lineno > 8 or not text.endswith(("\n", "\r")) or text.lstrip().startswith("elif"):
        return
    for rank, other in enumerate(pool(site).mirrored(text)):
        yield Draft(0.2 / (1 + rank / 3), ((end, end, other),), "block copied")
        yield Draft(0.15 / (1 + rank / 3), ((start, start, other),), "block copied")


def turned(site: Site) -> Iterator[Draft]:
    """An `else` given a condition: the `if`'s own negated and narrowed, a form of a sibling's."""
    node = site.node
    if not isinstance(node, ast.If) or not node.orelse or isinstance(node.orelse[0], ast.If):
        return
    place = site.source.text.rfind("else", site.lines(node.body[-1])[1] - 1, site.source.span(node.orelse[0])[0])
    if place < 0 or node.test.lineno != node.test.end_lineno:
        return
    own = pool(site)
    tests = [*own.mirrored(site.text(node.test)), *own.substituted(node.test, 8 * site.width)]
    tests += [site.text(test) for test in own.tests if test is not node.test]
    for rank, test in enumerate(list(dict.fromkeys(tests))[: 12 * site.width]):
        yield Draft(0.15 / (1 + rank / 3), ((place, place + 4, f"elif {test}"),), "else narrowed")


__all__ = ["chained", "loosened", "negated", "otherwise", "turned", "twins"]
