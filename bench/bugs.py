"""bench/bugs: the classes of bugs that bench/mutator knows; each is a function from a place to replacements."""

import ast
import random
from collections.abc import Iterator

from mutator import Function, Place, body_of, bug

Replacements = Iterator[tuple[int, int, str]]
ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%"}
OTHER_ARITHMETIC = {"+": "-*", "-": "+*", "*": "+", "/": "*", "//": "/%", "%": "//"}
COMPARISONS = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
OTHER_COMPARISON = {
    "<": ["<=", ">"], "<=": ["<", ">="], ">": [">=", "<"], ">=": [">", "<="], "==": ["!="], "!=": ["=="],
    "is": ["is not"], "is not": ["is"], "in": ["not in"], "not in": ["in"],
}  # fmt: skip
MISTAKEN = {
    "append": "extend", "extend": "append", "startswith": "endswith", "endswith": "startswith", "lower": "upper",
    "upper": "lower", "min": "max", "max": "min", "any": "all", "all": "any", "keys": "values", "values": "items",
    "items": "keys", "lstrip": "rstrip", "rstrip": "strip", "strip": "lstrip", "find": "rfind", "rfind": "find",
    "index": "find", "popleft": "pop", "appendleft": "append", "add": "discard", "discard": "add", "sorted": "list",
    "list": "tuple", "tuple": "list", "set": "list", "int": "float", "split": "rsplit", "union": "intersection",
    "islice": "takewhile", "chain": "zip", "get": "pop", "islower": "isupper", "isalpha": "isalnum", "ceil": "floor",
    "floor": "ceil", "insert": "append", "update": "setdefault", "reversed": "list", "len": "sum", "abs": "int",
}  # fmt: skip
EXCEPTIONS = ["ValueError", "TypeError", "KeyError", "IndexError", "AttributeError", "StopIteration", "RuntimeError"]


@bug("wrong operator")
def wrong_operator(place: Place, _random: random.Random) -> Replacements:
    node = place.node
    if isinstance(node, ast.BinOp) and (sign := ARITHMETIC.get(type(node.op))):
        others = [OTHER_ARITHMETIC[sign]] if sign == "%" else OTHER_ARITHMETIC[sign]
        for other in others:
            yield from place.gap(node.left, node.right, sign, other)
    if isinstance(node, ast.AugAssign) and (sign := ARITHMETIC.get(type(node.op))) in ("+", "-"):
        yield from place.gap(node.target, node.value, sign + "=", {"+": "-=", "-": "+="}[sign])
        yield from place.gap(node.target, node.value, sign + "=", "=")


@bug("wrong comparison")
def wrong_comparison(place: Place, _random: random.Random) -> Replacements:
    node = place.node
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        old = COMPARISONS[type(node.ops[0])]
        for new in OTHER_COMPARISON[old]:
            yield from place.gap(node.left, node.comparators[0], f" {old} ", f" {new} ")


@bug("wrong boolean operator")
def wrong_boolean(place: Place, _random: random.Random) -> Replacements:
    node = place.node
    if isinstance(node, ast.BoolOp) and len(node.values) == 2:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        yield from place.gap(*node.values, f" {old} ", f" {new} ")


@bug("condition too weak or strong")
def lost_operand(place: Place, _random: random.Random) -> Replacements:
    node = place.node
    if isinstance(node, ast.BoolOp):
        (first, *_), last = node.values, node.values[-1]
        yield place.code.span(node.values[-2])[1], place.code.span(last)[1], ""
        yield place.code.span(first)[0], place.code.span(node.values[1])[0], ""


@bug("negated condition")
def negated(place: Place, _random: random.Random) -> Replacements:
    node = place.node
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield place.swap(node, place.code.text(node.operand))
    elif place.field == "test" and isinstance(node, ast.Name | ast.Call | ast.Attribute):
        yield place.swap(node, f"not {place.code.text(node)}")


@bug("off by one")
def off_by_one(place: Place, _random: random.Random) -> Replacements:
    node = place.node
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield place.swap(node, str(node.value + 1))
        if node.value > 0:
            yield place.swap(node, str(node.value - 1))
    one = isinstance(node, ast.BinOp) and isinstance(node.right, ast.Constant) and node.right.value == 1
    if one and isinstance(node.op, ast.Add | ast.Sub):
        yield place.swap(node, place.code.text(node.left))
    counted = place.field in ("upper", "lower") or (
        isinstance(place.parent, ast.Call) and getattr(place.parent.func, "id", "") == "range"
    )
    if counted and place.field != "func" and isinstance(node, ast.Name | ast.Call):
        yield place.swap(node, f"{place.code.text(node)} - 1")
        yield place.swap(node, f"{place.code.text(node)} + 1")


@bug("wrong constant")
def wrong_constant(place: Place, _random: random.Random) -> Replacements:
    node = place.node
    if not isinstance(node, ast.Constant) or isinstance(place.parent, ast.JoinedStr | ast.Expr):
        return
    value = node.value
    if isinstance(value, bool):
        yield place.swap(node, str(not value))
    elif value is None and not isinstance(place.parent, ast.Compare):
        yield place.swap(node, "False")
    elif isinstance(value, str) and 0 < len(value) <= 12 and value.isprintable() and "\\" not in place.code.text(node):
        yield place.swap(node, repr(value[:-1]) if len(value) > 1 else "''")
        if value.lower() != value.upper():
            yield place.swap(node, repr(value.swapcase()))
    elif isinstance(value, int | float) and abs(value) > 2:
        yield place.swap(node, repr(value * 10))


@bug("wrong variable")
def wrong_variable(place: Place, random_: random.Random) -> Replacements:
    node = place.node
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        known = sorted(locals_of(place.function) - {node.id, "self", "cls"})
        if node.id in locals_of(place.function) and known:
            yield place.swap(node, random_.choice(known))


def locals_of(function: Function) -> set[str]:
    arguments = function.args
    names = {a.arg for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}
    for statement in body_of(function):
        names |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names


@bug("wrong attribute")
def wrong_attribute(place: Place, random_: random.Random) -> Replacements:
    node = place.node
    if isinstance(node, ast.Attribute) and place.field != "func" and isinstance(node.value, ast.Name):
        same = {
            n.attr
            for n in ast.walk(place.code.tree)
            if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == node.value.id
        }
        others = sorted(same - {node.attr})
        if others:
            start, end = place.code.span(node.value)[1], place.code.span(node)[1]
            yield start, end, "." + random_.choice(others)


@bug("wrong function")
def wrong_function(place: Place, _random: random.Random) -> Replacements:
    node = place.node
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MISTAKEN:
        yield place.code.span(node.func.value)[1], place.code.span(node.func)[1], "." + MISTAKEN[node.func.attr]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MISTAKEN:
        yield place.swap(node.func, MISTAKEN[node.func.id])


@bug("swapped arguments")
def swapped(place: Place, _random: random.Random) -> Replacements:
    node = place.node
    if isinstance(node, ast.Call) and len(node.args) >= 2:
        for one, two in zip(node.args, node.args[1:], strict=False):
            if not isinstance(one, ast.Starred) and not isinstance(two, ast.Starred):
                between = place.code.source[place.code.span(one)[1] : place.code.span(two)[0]].decode()
                text = place.code.text(two) + between + place.code.text(one)
                yield place.code.span(one)[0], place.code.span(two)[1], text


@bug("missing argument")
def missing_argument(place: Place, _random: random.Random) -> Replacements:
    node = place.node
    if isinstance(node, ast.Call):
        given = sorted([*node.args, *(k.value for k in node.keywords)], key=place.code.span)
        if len(given) >= 2:
            yield place.code.span(given[-2])[1], place.code.span(given[-1])[1], ""


@bug("missing call")
def missing_call(place: Place, _random: random.Random) -> Replacements:
    node = place.node
    if isinstance(node, ast.Call) and not isinstance(place.parent, ast.Expr):
        if len(node.args) == 1 and not node.keywords and not isinstance(node.args[0], ast.Starred | ast.GeneratorExp):
            yield place.swap(node, place.code.text(node.args[0]))
        elif not node.args and not node.keywords and isinstance(node.func, ast.Attribute):
            yield place.swap(node, place.code.text(node.func.value))


@bug("missing statement")
def missing_statement(place: Place, _random: random.Random) -> Replacements:
    node = place.node
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Expr | ast.Break | ast.Continue):
        alone = len(getattr(place.parent, place.field)) == 1
        yield place.swap(node, "pass") if alone else whole_lines(place, node)


@bug("missing guard")
def missing_guard(place: Place, _random: random.Random) -> Replacements:
    node = place.node
    leaves = isinstance(node, ast.If) and isinstance(node.body[-1], ast.Return | ast.Raise | ast.Continue | ast.Break)
    if leaves and not node.orelse and isinstance(getattr(place.parent, place.field), list) and not elif_(place):
        siblings = getattr(place.parent, place.field)
        if len(siblings) > 1:
            yield whole_lines(place, node)


@bug("missing else")
def missing_else(place: Place, _random: random.Random) -> Replacements:
    node = place.node
    if isinstance(node, ast.If) and node.orelse:
        yield place.code.span(node.body[-1])[1], place.code.span(node.orelse[-1])[1], ""


@bug("missing return")
def missing_return(place: Place, _random: random.Random) -> Replacements:
    node = place.node
    if isinstance(node, ast.Return) and node.value is not None:
        yield place.swap(node, place.code.text(node.value))
    if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield place.swap(node, "return None")


@bug("wrong exception")
def wrong_exception(place: Place, random_: random.Random) -> Replacements:
    node = place.node
    handled = place.field == "type" and isinstance(place.parent, ast.ExceptHandler)
    raised = isinstance(place.parent, ast.Raise) and isinstance(node, ast.Call)
    name = node if handled else node.func if raised else None
    if isinstance(name, ast.Name) and name.id in EXCEPTIONS:
        yield place.swap(name, random_.choice([other for other in EXCEPTIONS if other != name.id]))


@bug("statement one level off")
def wrong_level(place: Place, _random: random.Random) -> Replacements:
    """The last statement of a loop's or a condition's body, moved out of it."""
    node = place.node
    if isinstance(node, ast.If | ast.For | ast.While) and len(node.body) > 1 and not node.orelse and not elif_(place):
        last = node.body[-1]
        start, end = whole_lines(place, last)[:2]
        if last.lineno == last.end_lineno and last.lineno > node.body[-2].end_lineno:
            yield start, end, " " * node.col_offset + place.code.text(last) + "\n"


def elif_(place: Place) -> bool:
    return place.code.text(place.node).startswith("elif")


def whole_lines(place: Place, node: ast.stmt) -> tuple[int, int, str]:
    return place.code.starts[node.lineno - 1], place.code.starts[node.end_lineno], ""
