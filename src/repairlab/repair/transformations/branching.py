"""branching: a missing `else` or `elif`, made of its siblings; statements that belong under an `else`; twin blocks.

(GenProg copies statements as they are; here what is copied has a name, a constant or a word exchanged, since the branch
that is missing is mostly the sibling of one that is there.) Nothing here invents: conditions and bodies are forms of
those that stand in the function.
"""

import ast
from collections.abc import Iterator

from repairlab.repair.transformations.bindings import assignments, first_values
from repairlab.repair.transformations.gaps import gaps
from repairlab.repair.transformations.ingredients import DEFAULTS, negated, pool
from repairlab.repair.transformations.site import Draft, Function, Site

LEAVES = (ast.Return, ast.Raise, ast.Continue, ast.Break)
LACKING = 3.0  # times as likely where a name is without a value when the condition is false
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
    """An `else` for an `if` that has none: what the other branch may do where this one ends as it does."""
    node = site.node
    if not isinstance(node, ast.If) or node.orelse or not site.alone_on_lines(node):
        return
    if node.body[0].lineno == node.lineno or (isinstance(node.body[-1], LEAVES) and not _falls_off(site, node)):
        return
    lacking = _half_bound(site, node)
    scale = LACKING if lacking else 1.0
    firsts = [(f"{name} = {value}", 0.3 / (1 + rank)) for name in lacking for rank, value in _first(site, name)]
    for text, prior in dict([*firsts, *_ranked(site, node.body[-1])]).items():
        yield from site.insert_after(node, ["else:", site.indent_unit + text], scale * prior, "else added")


def stubs(site: Site) -> Iterator[Draft]:
    """What a branch that only passes may do where its sibling does something."""
    node, parent = site.node, site.parent
    if not isinstance(node, ast.Pass) or not isinstance(parent, ast.If) or len(site.block(node)) > 1:
        return
    other = parent.orelse if site.block(node) is parent.body else parent.body
    start, end = site.source.span(node)
    if other and not isinstance(other[-1], ast.If):
        for text, prior in _ranked(site, other[-1]):
            yield Draft(2 * prior, ((start, end, text),), "statement for pass")


def _ranked(site: Site, last: ast.stmt) -> list[tuple[str, float]]:
    found = {text: prior for text, prior in _opposites(site, last).items() if text != site.text(last)}
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))[: 20 * site.width]


def _falls_off(site: Site, node: ast.stmt) -> bool:
    """True where nothing comes behind a statement: what its branches do not return is None."""
    while not isinstance(node, Function):
        block, parent = site.block(node), site.source.parents.get(node)
        if block[-1] is not node or not isinstance(parent, ast.If | Function):
            return False
        node = parent
    return True


def _first(site: Site, name: str) -> list[tuple[int, str]]:
    return list(enumerate(first_values(site, name)[: 5 * site.width]))


def _half_bound(site: Site, node: ast.If) -> list[str]:
    """Return the names that are read behind the `if`, and bound in it and nowhere before."""
    inside = {
        n.id for one in node.body for n in ast.walk(one) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    first, last = node.lineno, node.end_lineno or node.lineno
    names = [n for n in gaps(site).nodes if isinstance(n, ast.Name)]
    before = {n.id for n in names if n.lineno < first and isinstance(n.ctx, ast.Store)} | set(site.scope.parameters)
    behind = {n.id for n in names if n.lineno > last and isinstance(n.ctx, ast.Load)}
    return sorted((inside & behind) - before)[:3]


def _opposites(site: Site, last: ast.stmt) -> dict[str, float]:
    """Return what the other branch may do where this one ends in `last`, by how likely it is."""
    own, text = pool(site), site.text(last)
    lists: list[tuple[float, float, list[str]]] = []
    if last.lineno == last.end_lineno:
        lists.append((0.3, 1.0, own.mirrored(text)[:6]))
        if isinstance(last, ast.AugAssign):
            turned = [text.replace(f" {a} ", f" {b} ", 1) for a, b in SIGNS.items() if f" {a} " in text]
            lists.append((0.3, 1.0, turned))
        if isinstance(last, ast.Assign | ast.AugAssign | ast.Expr | ast.Return):
            lists.append((0.12, 3.0, own.substituted(last, 12)))
    if isinstance(last, ast.Assign) and len(last.targets) == 1:
        target = site.text(last.targets[0])
        values = _other_values(site, last.value, target)
        lists += [(prior, decay, [f"{target} = {value}" for value in those]) for prior, decay, those in values]
    elif isinstance(last, ast.Return) and last.value is not None:
        values = _other_values(site, last.value, "")
        lists += [(prior, decay, [f"return {value}" for value in those]) for prior, decay, those in values]
    near = sorted(own.simple, key=lambda other: (abs(other.lineno - last.lineno), other.lineno))
    lists.append((0.12, 3.0, [site.text(other) for other in near if other is not last][:8]))
    lists.append((0.06, 2.0, own.raises[:4]))
    found: dict[str, float] = {}
    for prior, decay, those in lists:
        for rank, one in enumerate(those):
            found[one] = max(prior / (1 + rank / decay), found.get(one, 0.0))
    return found


def _other_values(site: Site, value: ast.expr, target: str) -> list[tuple[float, float, list[str]]]:
    """Return (prior, decay, values) of what another branch may assign or return where this one has `value`."""
    own, kind = gaps(site), site.type_of(value)
    parts = [part for part in ast.walk(value) if isinstance(part, ast.Name | ast.Attribute) and part is not value]
    inner = [site.text(part) for part in parts if isinstance(part.ctx, ast.Load) and not _called(site, part)]
    near = [name for name in site.scope.near(value.lineno) if name not in ("self", "cls", target)]
    alike = [name for name in near if not kind or site.kind(name) in ("", kind)]
    known = assignments(site.source, target, value.lineno)
    assigned = [site.text(other.value) for other in known if isinstance(other, ast.Assign) and own.fits(other)]
    returned = [text for text in pool(site).results if not target]
    plain = list(dict.fromkeys([DEFAULTS.get(kind, "None"), "None", "''", "0", "False", "True", "[]"]))
    siblings = [name for name in site.scope.module_names if isinstance(value, ast.Name) and _akin(name, value.id)]
    calls = [text for text, _ in site.scope.expressions]
    return [
        (0.5, 1.0, own.unread[:3]),
        (0.3, 2.0, list(dict.fromkeys([*siblings, *assigned]))[:6]),
        (0.25, 2.0, list(dict.fromkeys(inner))[:4]),
        (0.2, 2.0, returned[:5]),
        (0.2, 2.0, plain),
        (0.15, 3.0, alike[:5]),
        (0.08, 4.0, calls[:8]),
    ]


def _called(site: Site, node: ast.AST) -> bool:
    parent = site.source.parents.get(node)
    return isinstance(parent, ast.Call) and parent.func is node


def _akin(one: str, two: str) -> bool:
    """True of two names that share a word."""
    return one != two and bool(set(one.lower().split("_")) & set(two.lower().split("_")) - {""})


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


__all__ = ["chained", "loosened", "negated", "otherwise", "stubs", "turned", "twins"]
