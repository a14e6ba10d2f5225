"""statements: deleted, moved, indented, exchanged, copied with another name; loop control and returns put in.

(PAR "null pointer checker", GenProg's deletions and moves, TBar FP12–FP15, BugsInPy's added guards.)
"""

import ast
from collections.abc import Iterator

from repairlab.repair.transformations.ingredients import DEFAULTS, is_docstring
from repairlab.repair.transformations.site import COMPREHENSIONS, LOOPS, Draft, Site

SIMPLE = (
    ast.Assign,
    ast.AugAssign,
    ast.AnnAssign,
    ast.Expr,
    ast.Return,
    ast.Break,
    ast.Continue,
    ast.Raise,
    ast.Pass,
    ast.Delete,
)


def deletion(site: Site) -> Iterator[Draft]:
    """A statement (a whole block too) taken out; a block's body kept without its head."""
    node = site.node
    if not isinstance(node, ast.stmt) or isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
        return
    if is_docstring(node) or not site.alone_on_lines(node):
        return
    start, end = site.lines(node)
    if isinstance(node, ast.If) and site.source.text.startswith("elif", site.source.span(node)[0]):
        return
    pad = (
        site.source.indent(node.lineno) + "pass" + site.source.newline(node.lineno)
        if len(site.block(node)) == 1
        else ""
    )
    prior = 0.4 if isinstance(node, SIMPLE) else 0.3
    yield Draft(prior, ((start, end, pad),), "statement deleted")
    if isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.Try) and not getattr(node, "orelse", None):
        yield from _unwrapped(site, node, start, end)
    if isinstance(node, ast.If | ast.For | ast.While) and node.orelse:
        yield from _without_else(site, node, end)


def _unwrapped(
    site: Site, node: ast.If | ast.For | ast.While | ast.With | ast.Try, start: int, end: int
) -> Iterator[Draft]:
    outer, inner = site.source.indent(node.lineno), site.source.indent(node.body[0].lineno)
    first, last = node.body[0].lineno, node.body[-1].end_lineno or node.body[-1].lineno
    if first > node.lineno and not isinstance(node, ast.Try):
        body = [site.source.text[slice(*site.source.line_span(n, n))] for n in range(first, last + 1)]
        text = "".join(outer + line[len(inner) :] if line.startswith(inner) else line for line in body)
        yield Draft(0.25, ((start, end, text),), "block unwrapped")


def _without_else(site: Site, node: ast.If | ast.For | ast.While, end: int) -> Iterator[Draft]:
    last = node.body[-1].end_lineno or 0
    if last and last < node.orelse[0].lineno:
        yield Draft(0.25, ((site.source.line_span(last, last)[1], end, ""),), "else dropped")


def branches(site: Site) -> Iterator[Draft]:
    """The bodies of `if` and `else` exchanged."""
    node = site.node
    if not isinstance(node, ast.If) or not node.orelse or not site.alone_on_lines(node):
        return
    if node.body[0].lineno == node.lineno or (len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If)):
        return
    spans = [(site.lines(block[0])[0], site.lines(block[-1])[1]) for block in (node.body, node.orelse)]
    (a, b), (c, d) = spans
    if b <= c and site.source.text[:d].endswith(("\n", "\r")):
        text = site.source.text
        yield Draft(0.4, ((a, b, text[c:d]), (c, d, text[a:b])), "branches exchanged")


def motion(site: Site) -> Iterator[Draft]:
    """A statement one place up or down, into the block before it or out of its own."""
    node = site.node
    if not isinstance(node, ast.stmt) or is_docstring(node) or not site.alone_on_lines(node):
        return
    block = site.block(node)
    at = block.index(node)
    start, end = site.lines(node)
    text = site.source.text[start:end]
    if not text.endswith(("\n", "\r")):
        text += site.source.newline(node.lineno)
    if at + 1 < len(block) and site.alone_on_lines(block[at + 1]):
        other = site.lines(block[at + 1])
        if other[0] == end and site.source.text[: other[1]].endswith(("\n", "\r")):
            yield Draft(0.3, ((start, other[1], site.source.text[slice(*other)] + text),), "statements exchanged")
    if isinstance(node, SIMPLE):
        yield from _out(site, node, block, text)
        yield from _into(site, node, block, text)


def _out(site: Site, node: ast.stmt, block: list[ast.stmt], text: str) -> Iterator[Draft]:
    """Move the last statement of a block behind the block (a `return` out of its loop)."""
    parent = site.parent
    if (
        block[-1] is not node
        or len(block) < 2
        or not isinstance(parent, ast.stmt)
        or isinstance(parent, ast.FunctionDef | ast.ClassDef)
    ):
        return
    start, end = site.lines(node)
    moved = site.source.indent(parent.lineno) + text[len(site.source.indent(node.lineno)) :]
    close = site.lines(parent)[1]
    if close == end:
        yield Draft(0.45, ((start, end, moved),), "statement moved out")
    elif site.source.text[:close].endswith(("\n", "\r")):
        yield Draft(0.3, ((start, end, ""), (close, close, moved)), "statement moved out")
    for outer in site.ancestors(parent):
        if isinstance(outer, LOOPS) and site.lines(outer)[1] == close:
            further = site.source.indent(outer.lineno) + text[len(site.source.indent(node.lineno)) :]
            if close == end:
                yield Draft(0.3, ((start, end, further),), "statement moved out")
            break


def _into(site: Site, node: ast.stmt, block: list[ast.stmt], text: str) -> Iterator[Draft]:
    """Move a statement to the end of the block before it."""
    at = block.index(node)
    before = block[at - 1] if at else None
    if isinstance(before, ast.For | ast.While | ast.If | ast.With):
        start, end = site.lines(node)
        last = (getattr(before, "orelse", None) or before.body)[-1]
        if last.lineno > before.lineno and site.lines(last)[1] == start:
            moved = site.source.indent(last.lineno) + text[len(site.source.indent(node.lineno)) :]
            pad = site.source.indent(node.lineno) + "pass" + site.source.newline(node.lineno) if len(block) == 1 else ""
            yield Draft(0.35, ((start, end, moved + pad),), "statement moved in")


def control(site: Site) -> Iterator[Draft]:
    """`break`, `continue`, `return` and `pass` for each other, and put behind a statement of a loop."""
    node = site.node
    if isinstance(node, ast.Break | ast.Continue | ast.Pass):
        start, end = site.source.span(node)
        for word, prior in (("break", 0.45), ("continue", 0.45), ("return", 0.15), ("pass", 0.25)):
            yield from site.span_draft(start, end, word, prior, "loop control")
        for name in site.scope.near(node.lineno)[: 2 * site.width]:
            yield from site.span_draft(start, end, f"return {name}", 0.15, "loop control")
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Expr) and not is_docstring(node):
        inside = any(isinstance(outer, LOOPS) for outer in site.ancestors())
        if inside and site.block(node)[-1] is node:
            yield from site.insert_after(node, ["break"], 0.2, "break added")
            yield from site.insert_after(node, ["continue"], 0.15, "continue added")


def returned(site: Site) -> Iterator[Draft]:
    """Another value returned; a `return` where one is missing."""
    node = site.node
    if isinstance(node, ast.Return):
        kind = site.type_of(node.value) if node.value else ""
        kind = kind or site.type_of(ast.Name("return", ast.Load()))
        values = {DEFAULTS.get(kind, "None"): 0.2, "None": 0.12}
        if kind == "bool":
            values |= {"True": 0.25, "False": 0.25}
        for rank, name in enumerate(site.scope.near(node.lineno)[: 4 * site.width]):
            values.setdefault(name, 0.25 / (1 + rank / 3))
        start, end = site.source.span(node)
        for text, prior in values.items():
            yield from site.span_draft(start, end, f"return {text}", prior, "returned value")
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.BinOp | ast.Compare | ast.Name):
        start, _ = site.source.span(node)
        yield Draft(0.35 if site.block(node)[-1] is node else 0.1, ((start, start, "return "),), "return added")
        if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
            base = site.text(node.value.func.value)
            yield Draft(0.15, ((start, start, f"{base} = "),), "result kept")
    function = site.scope.function
    if function is not None and node is function.body[-1] and not isinstance(node, ast.Return | ast.Raise):
        for rank, name in enumerate(site.scope.near((function.end_lineno or 0) + 1)[: 4 * site.width]):
            yield from site.insert_after(function.body[-1], [f"return {name}"], 0.4 / (1 + rank), "return added")


def guards(site: Site) -> Iterator[Draft]:
    """A guard before a statement: an early return for an empty or missing value, a default for None."""
    node = site.node
    function = site.scope.function
    if function is None or not isinstance(node, ast.stmt) or is_docstring(node):
        return
    body = [statement for statement in function.body if not is_docstring(statement)]
    if not body or node is not body[0]:
        return
    kind = site.type_of(ast.Name("return", ast.Load()))
    defaults = list(dict.fromkeys([DEFAULTS.get(kind, "None"), "None", "0", "[]", "''", "False", "True", "-1", "1"]))
    for rank, name in enumerate([n for n in site.scope.parameters if n not in ("self", "cls")][: 3 * site.width]):
        own = site.type_of(ast.Name(name, ast.Load()))
        tests = (
            [f"not {name}"]
            if own not in ("int", "float")
            else [f"{name} < 0", f"{name} == 0", f"{name} < 2", f"{name} == 1"]
        )
        tests += [f"len({name}) == 1", f"len({name}) < 2"] if own in ("list", "str", "tuple") else []
        for order, test in enumerate(tests):
            values = [*defaults[: 4 + 2 * site.width], name]
            for place, value in enumerate(values):
                yield from _guard(site, node, test, f"return {value}", 0.2 / (1 + rank / 2 + order / 2 + place / 3))
        if own == "int":
            cases = [(case, value) for case in (0, 1, 2, 3) for value in (0, 1, 2)]
            for order, (case, result) in enumerate(cases):
                yield from _guard(site, node, f"{name} == {case}", f"return {result}", 0.15 / (1 + rank + order / 6))
        if own in ("NoneType", ""):
            for value in ("[]", "{}", "0", "''"):
                yield from _guard(site, node, f"{name} is None", f"{name} = {value}", 0.15 / (1 + rank))


def _guard(site: Site, node: ast.stmt, test: str, action: str, prior: float) -> Iterator[Draft]:
    yield from site.insert_before(node, [f"if {test}:", site.indent_unit + action], prior, "guard added")


def loop_guards(site: Site) -> Iterator[Draft]:
    """A condition of the function put before a statement in a loop, with `continue` or `break`; or around it."""
    node = site.node
    if not isinstance(node, ast.Assign | ast.AugAssign | ast.Expr | ast.Return) or is_docstring(node):
        return
    loop = next((outer for outer in site.ancestors() if isinstance(outer, ast.For)), None)
    names = [name.id for name in ast.walk(loop.target) if isinstance(name, ast.Name)] if loop is not None else []
    outer = [
        n.id
        for up in site.ancestors()
        if isinstance(up, ast.For)
        for n in ast.walk(up.target)
        if isinstance(n, ast.Name)
    ]
    pairs = [
        f"{a} {sign} {b}" for at, a in enumerate(outer) for b in outer[at + 1 :] for sign in ("==", "!=", "<", ">")
    ]
    conditions = [*pairs[:8], *site.scope.conditions[: 3 * site.width], *(f"{name}" for name in names)]
    for rank, test in enumerate(dict.fromkeys(conditions)):
        if loop is not None and site.block(node) is loop.body and node is loop.body[0]:
            for word in ("continue", "break"):
                yield from _guard(site, node, test, word, 0.12 / (1 + rank / 3))
                yield from _guard(site, node, f"not ({test})", word, 0.1 / (1 + rank / 3))
        if site.alone_on_lines(node):
            yield from _around(site, node, test, 0.12 / (1 + rank / 3))


def _around(site: Site, node: ast.stmt, test: str, prior: float) -> Iterator[Draft]:
    start, end = site.lines(node)
    indent, newline = site.source.indent(node.lineno), site.source.newline(node.lineno)
    body = "".join(site.indent_unit + line for line in site.source.text[start:end].splitlines(keepends=True))
    yield Draft(prior, ((start, end, f"{indent}if {test}:{newline}{body}"),), "statement guarded")


def assignment(site: Site) -> Iterator[Draft]:
    """`+=` for `=`, a copied statement with another name, a target initialised where it is first used."""
    node = site.node
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        start, end = site.source.span(node.targets[0])[1], site.source.span(node.value)[0]
        at = site.source.text.find("=", start, end)
        kind = site.type_of(node.value)
        if (
            at >= 0
            and kind not in ("dict", "bool", "NoneType")
            and isinstance(node.targets[0], ast.Name | ast.Subscript | ast.Attribute)
        ):
            for symbol, prior in (("+=", 0.35), ("-=", 0.12), ("*=", 0.08)):
                yield Draft(prior, ((at, at + 1, symbol),), "augmented assignment")
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Expr) and not is_docstring(node) and site.alone_on_lines(node):
        start, end = site.lines(node)
        text = site.source.text[start:end]
        if text.endswith(("\n", "\r")):
            yield Draft(0.12, ((end, end, text),), "statement repeated")


def comprehended(site: Site) -> Iterator[Draft]:
    """Another kind of comprehension (a set for a list), where duplicates or order are the bug."""
    node = site.node
    if isinstance(node, COMPREHENSIONS) and not isinstance(node, ast.DictComp):
        text = site.text(node)
        if text[0] == "[":
            yield from site.put(node, "{" + text[1:-1] + "}", 0.15, "set for list")
        elif text[0] == "{":
            yield from site.put(node, "[" + text[1:-1] + "]", 0.2, "list for set")


def mutable_default(site: Site) -> Iterator[Draft]:
    """`None` for a mutable default value, with the value made in the body."""
    function = site.scope.function
    if function is None or site.node is not function.body[0]:
        return
    args = function.args
    pairs = list(
        zip([*args.posonlyargs, *args.args][-len(args.defaults) :] if args.defaults else [], args.defaults, strict=True)
    )
    pairs += [
        (arg, default) for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True) if default is not None
    ]
    body = [statement for statement in function.body if not is_docstring(statement)]
    for arg, default in pairs:
        if isinstance(default, ast.List | ast.Dict | ast.Set | ast.Call) and body:
            value = site.text(default)
            for guard in site.insert_before(
                body[0], [f"if {arg.arg} is None:", f"{site.indent_unit}{arg.arg} = {value}"], 0.6, ""
            ):
                yield Draft(0.6, ((*site.source.span(default), "None"), *guard.edits), "mutable default")
