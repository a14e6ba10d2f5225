"""operators: comparison, boolean, arithmetic and bitwise operators (PAR's and TBar's "mutate operators"; PySStuBs).

Priors follow TSSB-3M's counts of one-statement fixes: neighbours (`<` for `<=`) before opposites before the rest.
"""

import ast
import re
from collections.abc import Iterator

from repairlab.repair.transformations.site import Draft, Site, precedence

SYMBOLS: dict[type[ast.AST], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.In: "in", ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not",
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
    ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>", ast.MatMult: "@",
    ast.And: "and", ast.Or: "or",
}  # fmt: skip

COMPARISONS: dict[str, dict[str, float]] = {
    "<": {"<=": 1.0, ">": 0.8, ">=": 0.6, "!=": 0.45, "==": 0.4},
    "<=": {"<": 1.0, ">=": 0.8, ">": 0.6, "==": 0.45, "!=": 0.3},
    ">": {">=": 1.0, "<": 0.8, "<=": 0.6, "!=": 0.45, "==": 0.4},
    ">=": {">": 1.0, "<=": 0.8, "<": 0.6, "==": 0.45, "!=": 0.3},
    "==": {"!=": 0.9, "<": 0.5, "<=": 0.5, ">=": 0.5, ">": 0.5, "in": 0.3, "is": 0.1},
    "!=": {"==": 0.9, "<": 0.45, ">": 0.45, "<=": 0.4, ">=": 0.4, "not in": 0.3},
    "in": {"not in": 0.9, "==": 0.3},
    "not in": {"in": 0.9, "!=": 0.2},
    "is": {"is not": 0.9, "==": 0.4},
    "is not": {"is": 0.9, "!=": 0.4},
}
ARITHMETIC: dict[str, dict[str, float]] = {
    "+": {"-": 0.9, "*": 0.5, "//": 0.15, "%": 0.15, "/": 0.1, "**": 0.1},
    "-": {"+": 0.9, "*": 0.3, "%": 0.2, "//": 0.2, "/": 0.1},
    "*": {"+": 0.6, "**": 0.5, "/": 0.5, "//": 0.4, "-": 0.3, "%": 0.1},
    "/": {"//": 0.8, "*": 0.6, "%": 0.3, "-": 0.15, "+": 0.1},
    "//": {"/": 0.7, "%": 0.7, "*": 0.5, "-": 0.15, "+": 0.1},
    "%": {"//": 0.8, "/": 0.3, "*": 0.2, "-": 0.15, "+": 0.1},
    "**": {"*": 0.7, "+": 0.3, "//": 0.2, "%": 0.2},
    "&": {"|": 0.8, "^": 0.5, "-": 0.2},
    "|": {"&": 0.8, "^": 0.5, "+": 0.3, "-": 0.2},
    "^": {"&": 0.6, "|": 0.6, "**": 0.6},
    "<<": {">>": 0.9, "*": 0.2},
    ">>": {"<<": 0.9, "//": 0.2},
}


def comparison(site: Site) -> Iterator[Draft]:
    """`<` for `<=`, `==` for `!=`, `in` for `not in`, …"""
    node = site.node
    if not isinstance(node, ast.Compare):
        return
    left: ast.expr = node.left
    for operator, right in zip(node.ops, node.comparators, strict=True):
        place = _operator_span(site, left, right, SYMBOLS[type(operator)])
        if place is not None:
            for symbol, prior in COMPARISONS[SYMBOLS[type(operator)]].items():
                yield Draft(prior, ((*place, symbol),), "comparison operator")
        left = right


def boolean(site: Site) -> Iterator[Draft]:
    """`and` for `or`, an operand dropped, `not` taken away."""
    node = site.node
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield from site.put(node, site.text(node.operand), 0.7, "negation dropped")
    if not isinstance(node, ast.BoolOp):
        return
    symbol = SYMBOLS[type(node.op)]
    other = "or" if symbol == "and" else "and"
    for left, right in zip(node.values, node.values[1:], strict=False):
        place = _operator_span(site, left, right, symbol)
        if place is not None:
            yield Draft(0.9 if len(node.values) == 2 else 0.5, ((*place, other),), "boolean operator")
    for position in range(len(node.values)):
        rest = [site.tight(v, precedence(node)) for at, v in enumerate(node.values) if at != position]
        yield from site.put(node, f" {symbol} ".join(rest), 0.5, "operand of condition dropped")


def arithmetic(site: Site) -> Iterator[Draft]:
    """`+` for `-`, `//` for `/`, …, operands exchanged or dropped, another order of evaluation."""
    node = site.node
    if isinstance(node, ast.AugAssign):
        yield from _augmented(site, node)
    if not isinstance(node, ast.BinOp):
        return
    symbol = SYMBOLS[type(node.op)]
    textual = "str" in (site.type_of(node.left), site.type_of(node.right))
    place = _operator_span(site, node.left, node.right, symbol)
    if place is not None and not (symbol == "%" and textual):
        for other, prior in ARITHMETIC.get(symbol, {}).items():
            yield from _rebound(site, node, place, other, prior * (0.2 if textual else 1))
    yield from _operands(site, node, symbol, 0.7 if textual else 1.0)
    yield from _regrouped(site, node, symbol)


def _rebound(site: Site, node: ast.BinOp, place: tuple[int, int], symbol: str, prior: float) -> Iterator[Draft]:
    """Exchange the operator; where another would now bind tighter, keep the old grouping first, and offer the new."""
    start, end = site.source.span(node)
    text = site.source.text
    changed = text[start : place[0]] + symbol + text[place[1] : end]
    try:
        outer = ast.parse(changed.strip(), mode="eval").body
    except SyntaxError:
        return
    if precedence(outer) < site.required(node) and not site._enclosed(start, end):
        yield Draft(prior, ((start, end, f"({changed})"),), "arithmetic operator")
        prior *= 0.5
    yield Draft(prior, ((*place, symbol),), "arithmetic operator")


def _operands(site: Site, node: ast.BinOp, symbol: str, weight: float) -> Iterator[Draft]:
    left, right = site.text(node.left), site.text(node.right)
    for kept, dropped in ((node.left, node.right), (node.right, node.left)):
        prior = 0.55 if isinstance(dropped, ast.Constant) else 0.3
        yield from site.put(node, site.text(kept), prior * weight, "operand dropped")
    for inner in (n for side in (node.left, node.right) for n in _spine(side)):
        yield from site.put(node, site.text(inner), 0.15 * weight, "operands dropped")
    if symbol in ("-", "/", "//", "%", "**", "<<", ">>") or weight < 1:
        level = precedence(node)
        swapped = f"{site.tight(node.right, level)} {symbol} {site.tight(node.left, level + 1)}"
        yield from site.put(node, swapped, 0.4, "operands exchanged")
    elif symbol == "+" and site.type_of(node.left) not in ("int", "float"):
        yield from site.put(node, f"{right} + {left}", 0.25, "operands exchanged")


def _spine(node: ast.expr) -> Iterator[ast.expr]:
    """Yield the operands of the operands."""
    if isinstance(node, ast.BinOp):
        for side in (node.left, node.right):
            yield side
            yield from _spine(side)


def _regrouped(site: Site, node: ast.BinOp, symbol: str) -> Iterator[Draft]:
    """`a + b * c` for `(a + b) * c`, and the other way round."""
    for inner, other, before in ((node.left, node.right, False), (node.right, node.left, True)):
        if not isinstance(inner, ast.BinOp):
            continue
        a, b, c = (site.tight(n, 13) for n in (inner.left, inner.right, other))
        sign = SYMBOLS[type(inner.op)]
        text = f"({c} {symbol} {a}) {sign} {b}" if before else f"{a} {sign} ({b} {symbol} {c})"
        bare = f"{c} {symbol} {a} {sign} {b}" if before else f"{a} {sign} {b} {symbol} {c}"
        yield from site.put(node, text, 0.2, "operands regrouped")
        skipped = f"{c} {symbol} {b}" if before else f"{a} {sign} {c}"
        yield from site.put(node, skipped, 0.2, "operand dropped")
        if precedence(inner) != precedence(node):
            yield from site.put(node, bare, 0.2, "operands regrouped")


def _augmented(site: Site, node: ast.AugAssign) -> Iterator[Draft]:
    symbol = SYMBOLS[type(node.op)]
    place = _operator_span(site, node.target, node.value, symbol + "=")
    if place is None:
        return
    textual = "str" in (site.type_of(node.target), site.type_of(node.value))
    for other, prior in ARITHMETIC.get(symbol, {}).items():
        yield Draft(prior * (0.2 if textual else 1), ((*place, other + "="),), "augmented assignment")
    yield Draft(0.45, ((*place, "="),), "augmented assignment")
    if textual:
        target, value = site.text(node.target), site.text(node.value)
        start, end = site.source.span(node)
        yield from site.span_draft(start, end, f"{target} = {value} + {target}", 0.25, "prepend for append")


def _operator_span(site: Site, left: ast.expr, right: ast.expr, symbol: str) -> tuple[int, int] | None:
    """Return where `symbol` stands between two operands (there may be parentheses, comments and line ends)."""
    start, end = site.source.span(left)[1], site.source.span(right)[0]
    gap = re.sub(r"#[^\r\n]*", lambda found: " " * len(found.group()), site.source.text[start:end])
    pattern = r"\s+".join(re.escape(word) for word in symbol.split())
    found = re.search(rf"(?<!\w){pattern}(?!\w)" if symbol[0].isalpha() else pattern, gap)
    return (start + found.start(), start + found.end()) if found else None
