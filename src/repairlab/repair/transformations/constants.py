"""constants: off-by-one on numbers, ranges, indices and slices; flags; literals from the project, tests and docstrings.

(PAR "expression replacer", TBar FP9, PySStuBs "change numeric literal", "change boolean literal".)
"""

import ast
from collections.abc import Iterator

from repairlab.repair.transformations.site import MAX_BITS, Draft, Site


def number(site: Site) -> Iterator[Draft]:
    """A number one off, negated, 0, 1, or another one that the function, a docstring or a test mentions."""
    node = site.node
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool) or _is_docstring(site):
        return
    if not isinstance(node.value, int | float):
        return
    if isinstance(node.value, int) and node.value.bit_length() > MAX_BITS:
        return
    value, place = node.value, site.parent
    if isinstance(place, ast.UnaryOp) and isinstance(place.op, ast.USub):
        value = -value
    else:
        place = node
    seen = {repr(value)}
    for other, prior in _near(value).items():
        text = repr(other)
        if text not in seen:
            seen.add(text)
            yield from site.put(place, text, prior, "number")
    pools = ((site.scope.numbers, 0.3), (site.project.numbers, 0.15))
    for pool, prior in pools:
        for rank, text in enumerate([text for text in pool if text not in seen][: 6 * site.width]):
            seen.add(text)
            yield from site.put(place, text, prior / (1 + rank / 4), "number from the project")


def _near(value: float) -> dict[int | float, float]:
    """Return the numbers that are mistaken for one: a step away first, then the usual ones, then slips of digits."""
    near = {value + 1: 0.6, value - 1: 0.6, 0: 0.4, 1: 0.4, -value: 0.3, 2: 0.3, value * 2: 0.2, 10: 0.1}
    near |= {-1: 0.15, value + 2: 0.2, value - 2: 0.2}
    if type(value) is float:
        near |= {value + 0.5: 0.2, value / 2: 0.2, value * 10: 0.1, value / 10: 0.1}
    elif abs(value) > 9:
        turned = int(repr(abs(value))[::-1])
        near |= {value * 10: 0.1, value // 10: 0.1, turned: 0.1, value // 2: 0.1}
    return near


def flag(site: Site) -> Iterator[Draft]:
    """True for False, and None for either."""
    node = site.node
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield from site.put(node, repr(not node.value), 0.8, "flag")
        yield from site.put(node, "None", 0.15, "flag")
    elif isinstance(node, ast.Constant) and node.value is None:
        for text, prior in (("[]", 0.2), ("0", 0.2), ("False", 0.2), ("True", 0.15), ("''", 0.15), ("{}", 0.1)):
            yield from site.put(node, text, prior, "default for None")


def flags(site: Site) -> Iterator[Draft]:
    """True and False exchanged throughout a function."""
    function = site.scope.function
    if function is None or site.node is not function.body[0]:
        return
    found = [n for n in ast.walk(function) if isinstance(n, ast.Constant) and isinstance(n.value, bool)]
    if len({node.value for node in found}) == 2:
        yield Draft(0.35, tuple((*site.source.span(node), repr(not node.value)) for node in found), "flags exchanged")


def off_by_one(site: Site) -> Iterator[Draft]:
    """`e + 1` or `e - 1` in ranges, indices, slices, returns, comparisons and assignments."""
    node = site.node
    if not isinstance(node, ast.expr) or isinstance(node, ast.Constant | ast.Slice | ast.Starred):
        return
    if isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
        return
    prior = _place_prior(site, node)
    if not prior or site.type_of(node) not in ("", "int", "float"):
        return
    if not isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.BinOp | ast.Subscript):
        return
    text = site.tight(node, 11)
    yield from site.put(node, f"{text} + 1", prior, "one more")
    yield from site.put(node, f"{text} - 1", prior, "one less")


def _place_prior(site: Site, node: ast.expr) -> float:
    parent = site.parent
    if isinstance(parent, ast.Call):
        if isinstance(parent.func, ast.Name) and parent.func.id == "range" and node in parent.args:
            return 0.6
        return 0.15 if node in parent.args else 0.0
    if isinstance(parent, ast.Slice):
        return 0.6
    if isinstance(parent, ast.Subscript) and node is parent.slice:
        return 0.5
    if isinstance(parent, ast.Compare):
        return 0.3
    if isinstance(parent, ast.Return | ast.Assign | ast.AugAssign):
        return 0.3
    return 0.12 if isinstance(parent, ast.BinOp | ast.Tuple) else 0.0


def ranges(site: Site) -> Iterator[Draft]:
    """The start, end and step of a range."""
    node = site.node
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range"):
        return
    args = [site.text(arg) for arg in node.args]
    if len(args) == 1:
        (end,) = args
        forms = {f"1, {end}": 0.5, f"1, {end} + 1": 0.4, f"2, {end}": 0.2, f"{end}, -1, -1": 0.15}
        forms |= {f"{end} - 1, -1, -1": 0.3, f"0, {end}, 2": 0.2, f"1, {end}, 2": 0.15, f"2, {end} + 1": 0.15}
    elif len(args) == 2:
        start, end = args
        forms = {end: 0.4, f"{start} + 1, {end} + 1": 0.3, f"{start}, {end}, 2": 0.25, f"{end}, {start}": 0.2,
                 f"{end}, {start}, -1": 0.2, f"0, {end}": 0.2, f"{start} - 1, {end} - 1": 0.15}  # fmt: skip
    elif len(args) == 3:
        start, end, step = args
        forms = {f"{start}, {end}": 0.4, f"{end}, {start}, {step}": 0.2, f"{start}, {end}, -{step}": 0.2}
    else:
        return
    for text, prior in forms.items():
        yield from site.put(node, f"range({text})", prior, "range")


def slices(site: Site) -> Iterator[Draft]:
    """Bounds of a slice left out, moved, reversed; a slice added to or taken from a value; first for last."""
    node = site.node
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        base = site.tight(node.value)
        if isinstance(node.slice, ast.Slice):
            for text, prior in _slice_forms(site, node.slice):
                yield from site.put(node, f"{base}[{text}]", prior, "slice")
            yield from site.put(node, base, 0.4, "slice dropped")
        else:
            index = site.text(node.slice)
            for text, prior in (
                (f"-{index}", 0.25),
                ("-1", 0.3),
                ("0", 0.3),
                ("1", 0.15),
                (f"{index}:", 0.15),
                (f":{index}", 0.15),
            ):
                if text != index and not text.startswith("--"):
                    yield from site.put(node, f"{base}[{text}]", prior, "index")
    elif _sliceable(site):
        base = site.tight(node)  # type: ignore[arg-type]  # what is sliceable is an expression
        for text, prior in ((":-1", 0.12), ("1:", 0.15), ("::-1", 0.18), ("::2", 0.08), ("1::2", 0.06)):
            yield from site.put(node, f"{base}[{text}]", prior, "slice added")  # type: ignore[arg-type]
        line = node.lineno  # type: ignore[attr-defined]
        counts = [n for n in site.scope.near(line) if site.type_of(ast.Name(n, ast.Load())) == "int"]
        for rank, name in enumerate(counts[: 3 * site.width]):
            for form in (f"{name}:", f":{name}", f"{name} + 1:", f":{name} + 1"):
                yield from site.put(node, f"{base}[{form}]", 0.12 / (1 + rank / 2), "slice added")  # type: ignore[arg-type]


def elements(site: Site) -> Iterator[Draft]:
    """An element of a list, tuple or set taken out."""
    node = site.node
    if not isinstance(node, ast.List | ast.Tuple | ast.Set) or not 2 <= len(node.elts) <= 16:
        return
    if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
        return
    for one, two in zip(node.elts, node.elts[1:], strict=False):
        yield Draft(0.2, ((site.source.span(one)[0], site.source.span(two)[0], ""),), "element taken out")
    if len(node.elts) > 2 or isinstance(node, ast.List | ast.Set):
        before, last = node.elts[-2:]
        yield Draft(0.2, ((site.source.span(before)[1], site.source.span(last)[1], ""),), "element taken out")


def _sliceable(site: Site) -> bool:
    node = site.node
    if not isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.ListComp | ast.BinOp) or not isinstance(
        getattr(node, "ctx", ast.Load()), ast.Load
    ):
        return False
    parent = site.parent
    if (isinstance(parent, ast.Call) and node is parent.func) or isinstance(parent, ast.Attribute | ast.Subscript):
        return False
    known = site.type_of(node)
    return known in ("list", "str", "tuple", "bytes") or (
        not known and isinstance(parent, ast.For | ast.Return | ast.Call)
    )


def _slice_forms(site: Site, node: ast.Slice) -> Iterator[tuple[str, float]]:
    low, high, step = (site.text(part) if part else "" for part in (node.lower, node.upper, node.step))
    tail = f":{step}" if step else ""
    yield f"{high}:{low}{tail}", 0.35 if low or high else 0.0
    yield f"{low}:{high}:-1", 0.2
    yield f"{low}:{tail}", 0.3
    yield f":{high}{tail}", 0.3
    yield f"{low}:{high}", 0.35
    if not low:
        yield f"1:{high}{tail}", 0.3
        yield f"2:{high}{tail}", 0.1
    if not high:
        yield f"{low}:-1{tail}", 0.3
    for bound, form in ((low, "{}:" + high + tail), (high, low + ":{}" + tail)):
        if bound and not bound.startswith("-"):
            yield form.format(f"-{bound}" if bound.isidentifier() or bound.isdigit() else f"-({bound})"), 0.25
        elif bound.startswith("-"):
            yield form.format(bound[1:]), 0.25
    for other, prior in (("2", 0.3), ("3", 0.2), ("1", 0.1)):
        if step:
            yield f"{low}:{high}:{other}", prior


def _is_docstring(site: Site) -> bool:
    return isinstance(site.parent, ast.Expr)
