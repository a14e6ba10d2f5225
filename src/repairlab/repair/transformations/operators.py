"""operators: comparison, boolean, arithmetic and bitwise operators; their operands dropped, exchanged, regrouped.

(PAR "expression replacer", TBar FP11, PySStuBs "change binary operator", "change unary operator".) TSSB-3M counts
174,000 changed operands, 29,000 changed binary and 15,000 changed unary operators among its one-statement fixes, but an
operator offers few others while an operand offers many: a single operator edit is likelier. Neighbours (`<` for `<=`)
come before opposites before the rest.
"""

import ast
import re
from collections.abc import Iterator

from repairlab.repair.transformations.infer import CONTAINERS, NUMBERS
from repairlab.repair.transformations.site import ATOM, Draft, Site, precedence

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
    """`<` for `<=`, `==` for `!=`, `in` for `not in`, …; operator and bound together."""
    node = site.node
    if not isinstance(node, ast.Compare):
        return
    left: ast.expr = node.left
    for operator, right in zip(node.ops, node.comparators, strict=True):
        place = _operator_span(site, left, right, SYMBOLS[type(operator)])
        if place is not None:
            kinds = site.type_of(left), site.type_of(right)
            for symbol, prior in COMPARISONS[SYMBOLS[type(operator)]].items():
                yield Draft(prior * _sense(symbol, *kinds), ((*place, symbol),), "comparison operator")
            yield from _bound(site, place, SYMBOLS[type(operator)], right)
        left = right


def _sense(symbol: str, left: str, right: str) -> float:
    """How much sense an operator makes between two types: 1 where they are not known."""
    if symbol in ("in", "not in"):
        return 1.0 if right in ("", *CONTAINERS) else 0.0
    if symbol in ("<", "<=", ">", ">=") and left and right:
        return 1.0 if left == right or (left in NUMBERS and right in NUMBERS) else 0.2
    return 1.0


def _bound(site: Site, place: tuple[int, int], symbol: str, right: ast.expr) -> Iterator[Draft]:
    """`<= 1` for `== 0`: another operator and a bound one off."""
    value = getattr(right, "value", None)
    if isinstance(right, ast.Constant) and type(value) is int:
        for other in ("<", "<=", ">", ">=", "==", "!="):
            for bound in (value - 1, value + 1):
                if other != symbol:
                    edits = ((*place, other), (*site.source.span(right), repr(bound)))
                    yield Draft(0.08, edits, "comparison and bound")


def chained(site: Site) -> Iterator[Draft]:
    """A chained comparison cut to one of its links, a comparison chained with zero; sides that ask for None."""
    node = site.node
    if not isinstance(node, ast.Compare):
        return
    sides = [node.left, *node.comparators]
    texts = [site.tight(side, 7) for side in sides]
    symbols = [SYMBOLS[type(operator)] for operator in node.ops]
    if len(symbols) == 2:
        for at in (0, 1):
            yield from site.put(node, f"{texts[at]} {symbols[at]} {texts[at + 1]}", 0.3, "link of comparison dropped")
    elif symbols[0] in ("<", "<=") and site.type_of(sides[0]) in ("", *NUMBERS):
        for low in ("0 <=", "0 <", "1 <="):
            yield from site.put(node, f"{low} {site.text(node)}", 0.08, "comparison chained")
    elif symbols[0] in ("is", "is not") and texts[1] == "None":
        negative = symbols[0] == "is"
        yield from site.put(node, f"not {texts[0]}" if negative else site.text(sides[0]), 0.3, "truth for None check")


def absent(site: Site) -> Iterator[Draft]:
    """`is None` and `is not None` for a truth test (PAR "null pointer checker"; PySStuBs)."""
    node = site.node
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        if isinstance(node.operand, ast.Name | ast.Attribute | ast.Subscript):
            yield from site.put(node, f"{site.text(node.operand)} is None", 0.2, "None check for truth")
        return
    parent = site.parent
    test = isinstance(parent, ast.If | ast.While | ast.IfExp) and node is parent.test
    test = test or isinstance(parent, ast.BoolOp) or (isinstance(parent, ast.comprehension) and node in parent.ifs)
    if not test or not isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call | ast.NamedExpr):
        return
    if site.type_of(node) != "bool":
        yield from site.put(node, f"{site.tight(node, 7)} is not None", 0.15, "None check for truth")


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
    yield from _grouped(site, node, symbol)


def _grouped(site: Site, node: ast.BoolOp, symbol: str) -> Iterator[Draft]:
    """`a and (b or c)` for `a and b or c`; `not (a and b)` for `not a and b`; both of them the other way round."""
    first, last = node.values[0], node.values[-1]
    if len(node.values) == 2 and isinstance(first, ast.BoolOp):
        *some, b = [site.tight(value, 5) for value in first.values]
        inner = SYMBOLS[type(first.op)]
        head = f" {inner} ".join(some)
        yield from site.put(node, f"{head} {inner} ({b} {symbol} {site.tight(last, 5)})", 0.25, "condition regrouped")
    if len(node.values) == 2 and isinstance(last, ast.BoolOp):
        b, *others = [site.tight(value, 5) for value in last.values]
        inner = SYMBOLS[type(last.op)]
        tail = f" {inner} ".join(others)
        yield from site.put(node, f"({site.tight(first, 5)} {symbol} {b}) {inner} {tail}", 0.25, "condition regrouped")
    if isinstance(first, ast.UnaryOp) and isinstance(first.op, ast.Not):
        rest = f" {symbol} ".join([site.text(first.operand), *(site.tight(value, 5) for value in node.values[1:])])
        yield from site.put(node, f"not ({rest})", 0.2, "negation widened")


def unary(site: Site) -> Iterator[Draft]:
    """A sign dropped, a negation drawn inside."""
    node = site.node
    if not isinstance(node, ast.UnaryOp):
        return
    if not isinstance(node.op, ast.Not):
        yield from site.put(node, site.text(node.operand), 0.4, "sign dropped")
    elif isinstance(node.operand, ast.BoolOp):
        inner = node.operand
        texts = [site.tight(value, 5) for value in inner.values]
        symbol = SYMBOLS[type(inner.op)]
        yield from site.put(node, f" {symbol} ".join([f"not {texts[0]}", *texts[1:]]), 0.3, "negation narrowed")
        yield from site.put(node, f" {symbol} ".join(f"not {text}" for text in texts), 0.3, "negation distributed")


def arithmetic(site: Site) -> Iterator[Draft]:
    """`+` for `-`, `//` for `/`, …, operands exchanged or dropped, another order of evaluation."""
    node = site.node
    if isinstance(node, ast.AugAssign):
        yield from _augmented(site, node)
    if not isinstance(node, ast.BinOp):
        return
    symbol = SYMBOLS[type(node.op)]
    kinds = site.type_of(node.left), site.type_of(node.right)
    textual = any(kind in ("str", "list", "tuple") for kind in kinds)
    place = _operator_span(site, node.left, node.right, symbol)
    if place is not None and not (symbol == "%" and textual):
        for other, prior in ARITHMETIC.get(symbol, {}).items():
            if not textual or _joins(other, *kinds):
                yield from _rebound(site, node, place, other, prior * (0.3 if textual else 1))
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


def _joins(symbol: str, left: str, right: str) -> bool:
    """True where texts or lists know an operator: `+` alike ones, `*` a number, `%` a text on the left."""
    if symbol == "+":
        return left == right or not (left and right)
    return (symbol == "*" and left != right) or (symbol == "%" and left in ("", "str"))


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
        a, b, c = (site.tight(n, ATOM if isinstance(n, ast.UnaryOp) else 13) for n in (inner.left, inner.right, other))
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
