"""conditions: negated, strengthened, weakened, replaced; filters of comprehensions.

(PAR "expression adder/remover", Nopol's and ACS's territory, PySStuBs "more/less specific if".)
"""

import ast
from collections.abc import Iterator

from repairlab.repair.transformations.ingredients import asks, negated, pool
from repairlab.repair.transformations.site import COMPREHENSIONS, Draft, Site, precedence


def _tested(site: Site, node: ast.expr) -> float:
    """How much a place wants a condition: 1 for the test of a statement, less for a returned truth value."""
    parent = site.source.parents.get(node)
    if isinstance(parent, ast.If | ast.While | ast.IfExp | ast.Assert) and node is parent.test:
        return 1.0
    if isinstance(parent, ast.comprehension) and node in parent.ifs:
        return 1.0
    if isinstance(parent, ast.BoolOp):
        return 0.6
    return 0.5 if isinstance(parent, ast.Return) and site.type_of(node) in ("bool", "") and _truthy(node) else 0.0


def _truthy(node: ast.expr) -> bool:
    return isinstance(node, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Call)


def condition(site: Site) -> Iterator[Draft]:
    """A condition negated, made always true or false, or replaced by an atom in scope."""
    node = site.node
    if not isinstance(node, ast.expr):
        return
    weight = _tested(site, node)
    if not weight:
        return
    text = site.text(node)
    if not (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)):
        yield from site.put(node, f"not {site.tight(node, 5)}", 0.5 * weight, "condition negated")
    if isinstance(site.parent, ast.If | ast.IfExp):
        yield from site.put(node, "True", 0.2, "condition always true")
        yield from site.put(node, "False", 0.25, "condition never true")
    for rank, other in enumerate([other for other in site.scope.conditions if other != text][: 3 * site.width]):
        yield from site.put(node, other, 0.2 * weight / (1 + rank / 2), "condition replaced")


def junction(site: Site) -> Iterator[Draft]:
    """A condition strengthened or weakened by another one from the function or made of its names."""
    node = site.node
    if not isinstance(node, ast.expr):
        return
    weight = _tested(site, node)
    if not weight or isinstance(site.parent, ast.BoolOp):
        return
    tight_and, tight_or = site.tight(node, 4), site.tight(node, 3)
    for rank, atom in enumerate(_atoms(site, node)):
        prior = 0.22 * weight / (1 + rank / 8)
        yield from site.put(node, f"{tight_and} and {atom}", prior, "condition strengthened")
        yield from site.put(node, f"{tight_or} or {atom}", prior, "condition weakened")


def _atoms(site: Site, node: ast.expr) -> list[str]:
    """Return simple conditions over the names at hand: those of the function first, then made ones by type."""
    own = site.text(node)
    found = dict.fromkeys(text for text in site.scope.conditions if text != own and text not in own)
    line = node.lineno
    names = [name for name in site.scope.near(line) if site.scope.locals[name] <= line][: 4 + 2 * site.width]
    for name in names:
        kind = site.type_of(ast.Name(name, ast.Load()))
        found.update(dict.fromkeys(atoms_of(name, kind)))
        found.update(dict.fromkeys(f"{call}({name})" for call in site.scope.callables[: 2 * site.width]))
        if kind in ("int", ""):
            found.update(
                dict.fromkeys(
                    f"{name} % {n} == 0" for n in site.scope.numbers[: 3 * site.width] if n.isdigit() and n > "1"
                )
            )
    for one in names[: 2 + site.width]:
        kind = site.type_of(ast.Name(one, ast.Load()))
        others = [n for n in names if n != one and site.type_of(ast.Name(n, ast.Load())) == kind]
        for two in others[: 1 + site.width]:
            found.update(dict.fromkeys((f"{one} != {two}", f"{one} == {two}", f"{one} < {two}")))
        in_these = [
            n for n in names if n != one and site.type_of(ast.Name(n, ast.Load())) in ("list", "set", "dict", "str")
        ]
        for container in in_these[:2]:
            found.update(dict.fromkeys((f"{one} not in {container}", f"{one} in {container}")))
    return list(found)[: 16 * site.width]


def atoms_of(name: str, kind: str) -> tuple[str, ...]:
    """Return conditions that ask something of one name, by its type."""
    if kind in ("int", "float"):
        return (
            f"{name} > 0",
            f"{name} == 0",
            f"{name} != 0",
            f"{name} % 2 == 0",
            f"{name} % 2 == 1",
            f"{name} > 1",
            f"{name} < 0",
        )
    if kind in ("str", "list", "tuple", "dict", "set"):
        return (f"{name}", f"not {name}", f"len({name}) > 1", f"len({name}) == 1")
    if kind == "NoneType":
        return (f"{name} is None", f"{name} is not None")
    return (f"{name}", f"not {name}", f"{name} is not None", f"{name} % 2 == 0", f"{name} % 2 == 1", f"{name} > 0")


def prefixed(site: Site) -> Iterator[Draft]:
    """A condition that asks first whether what it uses is there; or joined with its own form for something else."""
    node = site.node
    if not isinstance(node, ast.expr) or node.lineno != node.end_lineno:
        return
    weight = _tested(site, node)
    if not weight or (isinstance(site.parent, ast.BoolOp) and not isinstance(node, ast.Compare)):
        return
    text = site.text(node)
    tight_and, tight_or = site.tight(node, 4), site.tight(node, 3)
    asked = [ask for ask in asks(site, node) if ask != text]
    for rank, ask in enumerate(asked[: 4 * site.width]):
        yield from site.put(node, f"{ask} and {tight_and}", 0.2 * weight / (1 + rank / 3), "condition strengthened")
        yield from site.put(node, f"{negated(ask)} or {tight_or}", 0.15 * weight / (1 + rank / 3), "condition weakened")
    own = pool(site)
    forms = [*own.mirrored(text), *own.substituted(node, 6 * site.width)]
    for rank, form in enumerate(list(dict.fromkeys(forms))[: 6 * site.width]):
        yield from site.put(node, f"{tight_or} or {form}", 0.15 * weight / (1 + rank / 3), "condition weakened")
        yield from site.put(node, f"{tight_and} and {form}", 0.12 * weight / (1 + rank / 3), "condition strengthened")


def comprehension(site: Site) -> Iterator[Draft]:
    """A comprehension's filter dropped or added; its element exchanged for the loop variable."""
    node = site.node
    if not isinstance(node, COMPREHENSIONS):
        return
    for part in node.generators:
        start = site.source.span(part.iter)[1]
        for test in part.ifs:
            first, last = site.source.span(test)
            at = site.source.text.rfind("if", start, first)
            if at >= 0:
                yield Draft(0.4, ((_left_of(site, at), last, ""),), "filter dropped")
        if not part.ifs and isinstance(part.target, ast.Name) and precedence(part.iter) > 2:
            yield from _filtered(site, part, start)
    if not isinstance(node, ast.DictComp) and isinstance(node.generators[0].target, ast.Name):
        name = node.generators[0].target.id
        yield from site.put(node.elt, name, 0.3, "element replaced")


def _filtered(site: Site, part: ast.comprehension, end: int) -> Iterator[Draft]:
    name = site.text(part.target)
    while (
        site.source.text[end : end + 1] == ")" and site.source.text[end - 1 : end] != "(" and _closes(site, part, end)
    ):
        end += 1
    known = site.type_of(part.iter)
    kind = "str" if known == "str" else ""
    numbers = site.scope.numbers[:2]
    atoms = [*atoms_of(name, kind), *atoms_of(name, "int")[:5], *(f"{name} != {n}" for n in numbers)]
    atoms += [f"isinstance({name}, {t})" for t in ("int", "str")]
    others = [n for n in site.scope.near(part.target.lineno) if n != name][:3]
    atoms += [form for n in others for form in (f"{name} != {n}", f"{name} in {n}", f"{name} not in {n}")]
    for rank, atom in enumerate(dict.fromkeys(atoms)):
        yield Draft(0.2 / (1 + rank / 8), ((end, end, f" if {atom}"),), "filter added")


def _closes(site: Site, part: ast.comprehension, end: int) -> bool:
    """True where the parenthesis at `end` closes one opened between `in` and the iterable."""
    start = site.source.span(part.iter)[0]
    before = site.source.text[max(0, start - (end - site.source.span(part.iter)[1]) - 1) : start]
    return before.endswith("(")


def _left_of(site: Site, at: int) -> int:
    while at > 0 and site.source.text[at - 1] in " \t":
        at -= 1
    return at


def ternary(site: Site) -> Iterator[Draft]:
    """The arms of a conditional expression exchanged, or one of them alone."""
    node = site.node
    if not isinstance(node, ast.IfExp):
        return
    body, test, other = site.tight(node.body, 3), site.tight(node.test, 3), site.text(node.orelse)
    yield from site.put(node, f"{site.tight(node.orelse, 3)} if {test} else {body}", 0.5, "arms exchanged")
    yield from site.put(node, body, 0.2, "arm alone")
    yield from site.put(node, other, 0.2, "arm alone")


def chain(site: Site) -> Iterator[Draft]:
    """`if` for `elif` and for the other way round; `while` for `if`."""
    node = site.node
    if not isinstance(node, ast.If | ast.While):
        return
    start = site.source.span(node)[0]
    text = site.source.text
    if text.startswith("elif", start):
        yield Draft(0.35, ((start, start + 4, "if"),), "if for elif")
    elif text.startswith("if", start):
        yield Draft(0.2, ((start, start + 2, "while"),), "while for if")
        if any(isinstance(other, ast.If) for other in _before(site, node)):
            yield Draft(0.35, ((start, start + 2, "elif"),), "elif for if")
    elif text.startswith("while", start):
        yield Draft(0.2, ((start, start + 5, "if"),), "if for while")


def _before(site: Site, node: ast.stmt) -> list[ast.stmt]:
    block = site.block(node)
    at = block.index(node)
    return block[max(0, at - 1) : at]


def compared(site: Site) -> Iterator[Draft]:
    """The sides of a comparison: chained with a bound, compared with another operand."""
    node = site.node
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        return
    left, right = node.left, node.comparators[0]
    for one, two in ((left, right), (right, left)):
        if isinstance(one, ast.Name | ast.Subscript) and not isinstance(two, ast.Constant):
            yield from site.put(one, site.text(two), 0.05, "side repeated")
    kind = site.type_of(left)
    if isinstance(left, ast.Name) and kind in ("", "str"):
        for method in (".lower()", ".upper()", ".strip()"):
            yield from site.put(left, site.text(left) + method, 0.1, "case folded")
    if isinstance(left, ast.Name | ast.Call | ast.BinOp) and kind in ("", "int", "float"):
        yield from site.put(left, f"abs({site.text(left)})", 0.15, "absolute value")
