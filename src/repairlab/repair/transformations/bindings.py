"""bindings: the statement that is missing for certain: what is read is bound nowhere, what is bound is read nowhere.

(TBar FP4 "insert missed statement"; PyFixer and PyTER, a name without a binding; Fosdick and Osterweil, data-flow
anomalies.) What a lost statement bound is then without a value, what it alone read is unread. The value comes from
where the same name is bound elsewhere in the file, a sibling of the statement, an attribute or a function called
alike, or the way in which the name is used.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator

from repairlab.repair.transformations.callees import Callee
from repairlab.repair.transformations.contexts import renamed
from repairlab.repair.transformations.gaps import called, gaps
from repairlab.repair.transformations.ingredients import is_docstring, pool
from repairlab.repair.transformations.site import LOOPS, Draft, Function, Site
from repairlab.repair.transformations.usage import ordered, usage_of
from repairlab.trial.source import Source, once

NEAREST, MOST_CALLS = 20, 1000  # assignments of one name, and calls of a file, that are looked at
SHORT = 50  # characters of a call that is worth repeating
NOTE = "name bound"
CERTAIN = 1.5  # of these drafts: nothing can pass that leaves the name without a value
OUTER = 0.5  # of the prior, for each block further out
METHODS = {
    "append": "[]", "extend": "[]", "insert": "[]", "sort": "[]", "reverse": "[]", "pop": "[]", "add": "set()",
    "discard": "set()", "union": "set()", "setdefault": "{}", "items": "{}", "keys": "{}", "values": "{}",
    "get": "{}", "appendleft": "deque()", "popleft": "deque()", "join": "''", "write": "StringIO()",
}  # fmt: skip
FORMS = ("{}", "iter({})", "len({})", "list({})", "next({})", "tuple({})", "set({})", "str({})", "{}[0]", "{} - 1")
BY_NAME = (
    (re.compile(r"it|iter\w*|\w*_it(er)?"), "iter({})"),
    (re.compile(r"n|\w*(len|length|size|count|total)\w*"), "len({})"),
    (re.compile(r"seen|\w*_set"), "set({})"),
    (re.compile(r"lst|items|pool|\w*_list"), "list({})"),
)
_DIGITS = re.compile(r"[A-Za-z]+|\d+|_")


def bound(site: Site) -> Iterator[Draft]:
    """A value for a name that nothing binds, before the first statement that reads it."""
    node = site.node
    if not isinstance(node, ast.stmt) or site.scope.function is None or is_docstring(node):
        return
    for name in [name for name, first in gaps(site).unbound.items() if first is node][:4]:
        values = sorted(_values(site, node, name).items(), key=lambda item: (-item[1], item[0]))
        for text, prior in values[: 24 * site.width]:
            yield from _placed(site, node, text, CERTAIN * prior)


def _placed(site: Site, node: ast.stmt, text: str, prior: float) -> Iterator[Draft]:
    """Put a statement before `node`, or before a block around it: outside of the loop first where it is a start."""
    hosts: list[ast.stmt] = [node]
    for outer in site.ancestors(node):
        if isinstance(outer, Function):
            break
        if isinstance(outer, ast.stmt):
            hosts.append(outer)
    looped = max((at for at, host in enumerate(hosts) if isinstance(host, LOOPS)), default=0)
    starts = _is_start(text)
    for at, host in enumerate(hosts):
        away = abs(at - looped) if starts else at
        yield from site.insert_before(host, [text], prior * OUTER**away, NOTE)


def _is_start(text: str) -> bool:
    value = text.partition(" = ")[2]
    return (
        value in ("[]", "{}", "set()", "''", "deque()")
        or value.lstrip("-").isdigit()
        or value in ("None", "False", "True")
    )


def _values(site: Site, node: ast.stmt, name: str) -> dict[str, float]:
    """Return the statements that bind `name`, by how likely they are."""
    found: dict[str, float] = {}
    for rank, text in enumerate(_elsewhere(site, name)[: 6 * site.width]):
        _put(found, text, 1.0 / (1 + rank / 3))
    for rank, text in enumerate(_siblings(site, name)[: 4 * site.width]):
        _put(found, text, 0.8 / (1 + rank / 2))
    for rank, value in enumerate(_called_alike(site, name)[: 6 * site.width]):
        _put(found, f"{name} = {value}", 0.5 / (1 + rank / 3))
    for rank, value in enumerate(first_values(site, name)):
        _put(found, f"{name} = {value}", 0.5 / (1 + rank))
    lost = [other for other in gaps(site).unread if other != name]
    near = [other for other in site.scope.near(node.lineno) if other not in ("self", "cls", name)]
    for rank, other in enumerate(list(dict.fromkeys([*lost, *near]))[: 4 * site.width]):
        share = (0.6 if other in lost else 0.25) / (1 + rank / 2)
        forms = [form for pattern, form in BY_NAME if pattern.fullmatch(name)]
        asked = [f"{{}}.{method}()" for method in ordered(usage_of(site.source).methods)[:3]] if other in lost else []
        for order, form in enumerate(dict.fromkeys([*forms, FORMS[0], *asked, *FORMS])):
            _put(found, f"{name} = {form.format(other)}", share / (1 + order / (4 if forms else 2)))
    known = [text for text, _ in site.scope.expressions if not re.search(rf"\b{re.escape(name)}\b", text)]
    for rank, text in enumerate(known[: 12 * site.width]):
        _put(found, f"{name} = {text}", 0.12 / (1 + rank / 6))
    for rank, text in enumerate(_calls_of_file(site)[: 8 * site.width]):
        _put(found, f"{name} = {text}", 0.2 / (1 + rank / 4))
    return found


def _calls_of_file(site: Site) -> list[str]:
    """Return the calls of the rest of the file that can stand here: those that read what nothing reads first."""
    known: list[str] | None = site.scope.__dict__.get("_calls_of_file")
    if known is None:
        own, found = gaps(site), Counter[str]()
        lost = set(own.unread)
        for node in [n for n in site.source.nodes if isinstance(n, ast.Call)][:MOST_CALLS]:
            if node.lineno == node.end_lineno and own.fits(node):
                text = site.text(node)
                if len(text) <= SHORT:
                    reads = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                    found[text] += 1 + 5 * len(reads & lost) + 2 * bool(reads & set(site.scope.locals))
        known = site.scope.__dict__["_calls_of_file"] = ordered(found)
    return known


def _put(found: dict[str, float], text: str, prior: float) -> None:
    found[text] = max(prior, found.get(text, 0.0))


def assignments(source: Source, name: str, line: int) -> list[ast.stmt]:
    """Return the one-line statements of a file that bind a name, the nearest to a line first, some at most."""
    those = _assignments(source).get(name, [])
    return sorted(those, key=lambda node: (abs(node.lineno - line), node.lineno))[:NEAREST]


@once
def _assignments(source: Source) -> dict[str, list[ast.stmt]]:
    """Return the one-line statements of a file that bind each name."""
    found: dict[str, list[ast.stmt]] = {}
    for node in source.nodes:
        if isinstance(node, ast.Assign) and node.lineno == node.end_lineno:
            for target in node.targets:
                for part in ast.walk(target):
                    if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                        found.setdefault(part.id, []).append(node)
    return found


def _elsewhere(site: Site, name: str) -> list[str]:
    """Return the statements that bind `name` elsewhere in the file, the nearest first; one name may be another here."""
    line = getattr(site.node, "lineno", 0)
    those = assignments(site.source, name, line)
    own, found = gaps(site), dict.fromkeys(site.text(node) for node in those if gaps(site).fits(node))
    near = [other for other in site.scope.near(line) if other not in ("self", "cls", name)]
    for node in those[:4]:
        strange = own.strange(node)
        if len(strange) == 1:
            for other in [*own.unread, *near][:5]:
                found[renamed(site.source, node, {next(iter(strange)): other})] = None
    return list(found)


def _siblings(site: Site, name: str) -> list[str]:
    """Return the function's own assignments to a name like `name`, with what is unlike exchanged: b for a, 2 for 1."""
    own, found = pool(site), dict[str, None]()
    for node in own.simple:
        if not isinstance(node, ast.Assign):
            continue
        for part in (part for target in node.targets for part in ast.walk(target)):
            if isinstance(part, ast.Name) and (pair := _unlike(part.id, name)):
                text = _exchanged(site.text(node), *pair, known=own.known)
                if text != site.text(node) and _reads_known(site, text, name):
                    found[text] = None
    return list(found)


def _unlike(one: str, two: str) -> tuple[str, str] | None:
    """Return the one piece in which two names differ, a letter or a number at least being alike, or None."""
    if one == two:
        return None
    head = next(
        (at for at, pair in enumerate(zip(one, two, strict=False)) if pair[0] != pair[1]), min(len(one), len(two))
    )
    rest = min(len(one), len(two)) - head
    pairs = zip(reversed(one), reversed(two), strict=False)
    tail = min(rest, next((at for at, pair in enumerate(pairs) if pair[0] != pair[1]), rest))
    left, right = one[head : len(one) - tail], two[head : len(two) - tail]
    return (left, right) if head + tail and left and right and len(left) <= 8 else None


def _exchanged(text: str, one: str, two: str, known: frozenset[str]) -> str:
    """Exchange a piece in all words of a text, where that gives words that the file knows."""

    def word(found: re.Match[str]) -> str:
        old = found.group()
        for place in range(len(old)):
            new = old[:place] + two + old[place + len(one) :]
            if old.startswith(one, place) and new in known:
                return new
        return old

    return re.sub(r"[A-Za-z_]\w*", word, text)


def _reads_known(site: Site, text: str, name: str) -> bool:
    try:
        node = ast.parse(text).body[0]
    except SyntaxError:
        return False
    bound_here = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return name in bound_here and gaps(site).fits(node)


def _called_alike(site: Site, name: str) -> list[str]:
    """Return attributes called like `name`, and calls of functions whose parameters have names that are here."""
    own = gaps(site)
    found = [f"self.{name}", f"self._{name}"] if "self" in site.scope.parameters else []
    found = [text for text in found if text[5:] in site.project.attributes]
    if name in site.project.attributes:
        found += [f"{owner}.{name}" for owner in site.scope.parameters if owner not in ("self", "cls")][:3]
    calls = sorted(calls_by_name(site), key=lambda call: (not _alike(call, name), len(call)))
    return [*found, *(call for call in calls if not re.search(rf"\b{re.escape(name)}\(", call))][: 6 + len(own.unread)]


def _alike(call: str, name: str) -> bool:
    words = set(_DIGITS.findall(call.partition("(")[0].lower()))
    return bool(words & set(_DIGITS.findall(name.lower())))


def calls_by_name(site: Site) -> list[str]:
    """Return calls of the project's functions, and of the class's own methods, with the locals that parameters name."""
    known: list[str] | None = site.scope.__dict__.get("_calls_by_name")
    if known is None:
        own = gaps(site).owner_class
        methods = {n.name for n in own.body if isinstance(n, Function)} if own is not None else set()
        found: list[str] = []
        for name, callees in site.project.callees.items():
            for callee in callees:
                here = callee.path == site.source.path
                if name in methods and "self" in site.scope.parameters and here:
                    found += _call(site, f"self.{name}", callee)
                elif name in site.scope.module_names:
                    found += _call(site, name, callee)
        known = site.scope.__dict__["_calls_by_name"] = list(dict.fromkeys(found))
    return known


def _call(site: Site, function: str, callee: Callee) -> list[str]:
    wanted = callee.named[: callee.least] or callee.named[:1]
    if callee.line == getattr(site.scope.function, "lineno", 0) or not all(
        name in site.scope.locals for name in wanted
    ):
        return []
    return [f"{function}({', '.join(wanted)})"]


def first_values(site: Site, name: str) -> list[str]:
    """Return what a name may begin as, by what is done with it."""
    found: dict[str, None] = {}
    for node in gaps(site).nodes:
        if not isinstance(node, ast.Name) or node.id != name:
            continue
        parent = site.source.parents.get(node)
        if isinstance(parent, ast.Attribute) and parent.attr in METHODS:
            found[METHODS[parent.attr]] = None
        elif isinstance(parent, ast.AugAssign) and parent.target is node:
            text = site.type_of(parent.value) == "str"
            found.update(dict.fromkeys(("''", "[]") if text else ("0", "1", "[]")))
        elif isinstance(parent, ast.Subscript) and parent.value is node:
            found.update(dict.fromkeys(("{}", "[]")))
        elif isinstance(parent, ast.Compare) and isinstance(parent.ops[0], ast.Is | ast.IsNot):
            found["None"] = None
        elif isinstance(parent, ast.Compare) and isinstance(parent.ops[0], ast.In | ast.NotIn):
            found.update(dict.fromkeys(("set()", "[]", "{}")))
        elif isinstance(parent, ast.If | ast.While | ast.UnaryOp | ast.BoolOp):
            found.update(dict.fromkeys(("False", "None", "True")))
    return list(dict.fromkeys([*found, "0", "None", "[]", "1", "''", "True", "False", "{}", "object()", "-1"]))


def used(site: Site) -> Iterator[Draft]:
    """A statement that reads what nothing reads: a parameter kept, a method called that nothing calls."""
    node, function = site.node, site.scope.function
    if function is None or not isinstance(node, ast.stmt) or is_docstring(node) or node is function:
        return
    if "self" in site.scope.parameters:
        named = [name for name in gaps(site).unread if name in site.scope.parameters]
        if function.name == "__init__":
            named += [name for name in site.scope.parameters[1:] if name in site.project.attributes]
        alike = [name for name in gaps(site).unset_attributes if name.lstrip("_") in site.scope.parameters]
        for name in dict.fromkeys([*named, *(name.lstrip("_") for name in alike)][: 4 * site.width]):
            yield from _kept(site, node, function, name)
    for rank, call in enumerate(_calls(site)[: 6 * site.width]):
        value = call.partition("(")[2].rstrip(")").partition(",")[0]
        for text in (f"{value} = {call}", call):
            if value or text == call:
                yield from site.insert_before(node, [text], 0.3 / (1 + rank), "call added")


def _kept(site: Site, node: ast.stmt, function: Function, name: str) -> Iterator[Draft]:
    """`self.x = x`: behind the parameter before it, or at the end of the constructor."""
    stored = {n.attr for n in gaps(site).nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    before = site.scope.parameters[: site.scope.parameters.index(name)]
    last = next((other for other in reversed(before) if other in stored or f"_{other}" in stored), None)
    scale = 0.8 if function.name == "__init__" else 0.4
    for form in (f"self.{name}", f"self._{name}"):
        unset = form[5:] in gaps(site).unset_attributes
        weight = 1.2 * scale if unset else scale if form[5:] in site.project.attributes else scale / 8
        if isinstance(node, ast.Assign) and last and site.text(node.targets[0]) in (f"self.{last}", f"self._{last}"):
            yield from site.insert_after(node, [f"{form} = {name}"], 1.5 * weight, "attribute set")
        elif node is function.body[-1] and not isinstance(node, ast.Return):
            yield from site.insert_after(node, [f"{form} = {name}"], weight, "attribute set")
        elif site.block(node) is function.body:
            yield from site.insert_before(node, [f"{form} = {name}"], weight / 2, "attribute set")


def _calls(site: Site) -> list[str]:
    """Return the calls by name of private functions that the file mentions nowhere, and of what takes a lost name."""
    mentioned, lost = called(site.source), set(gaps(site).unread)
    names = {call: call.partition("(")[0].rpartition(".")[2] for call in calls_by_name(site)}
    unused = [call for call, name in names.items() if not mentioned[name] and name[-2:] != "__"]
    private = [call for call in unused if names[call][:1] == "_"]
    taking = [call for call in names if lost & set(re.split(r"\W+", call.partition("(")[2]))]
    return list(dict.fromkeys([*private, *taking]))
