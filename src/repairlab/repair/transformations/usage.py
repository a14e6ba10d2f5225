"""usage: what the rest of a file does with the same function, the same value, the same kind of place.

(Barr et al., "The plastic surgery hypothesis", FSE 2014: 43 % of a change is there already in the version that it
changes. TSSB-3M: "add function around expression" 117,000.) A value lacks a call that others get; a literal is wrong
where others are compared with, or assigned to, the same thing. What calls are given elsewhere, `arguments` asks.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from repairlab.repair.transformations.site import Draft, Site
from repairlab.trial.source import Source, once

SHORT = 30  # characters of a callee, an argument or a literal that is worth repeating


@dataclass
class Usage:
    """One file's calls and literals, by what they are used with."""

    arguments: dict[str, list[list[str]]] = field(default_factory=dict)  # callee → its argument lists
    keywords: dict[str, Counter[str]] = field(default_factory=dict)  # callee → key=value texts
    wrappers: Counter[str] = field(default_factory=Counter)  # callees that are given one argument
    methods: Counter[str] = field(default_factory=Counter)  # methods that are given none
    literals: dict[str, Counter[str]] = field(default_factory=dict)  # expression → literals compared with or assigned


@once
def usage_of(source: Source) -> Usage:
    """Return the usage of a file."""
    found = Usage()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            _call(found, source, node)
        elif isinstance(node, ast.Compare):
            for other in node.comparators:
                _pair(found, source, node.left, other)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            _pair(found, source, node.targets[0], node.value)
    return found


def _call(usage: Usage, source: Source, node: ast.Call) -> None:
    callee = source.segment(node.func)
    if len(callee) > SHORT or any(isinstance(arg, ast.Starred) for arg in node.args):
        return
    texts = [source.segment(arg) for arg in node.args]
    usage.arguments.setdefault(callee, []).append(texts)
    for keyword in node.keywords:
        text = f"{keyword.arg}={source.segment(keyword.value)}"
        if keyword.arg and len(text) <= SHORT:
            usage.keywords.setdefault(callee, Counter())[text] += 1
    if len(texts) == 1 and not node.keywords and not callee.startswith("self."):
        usage.wrappers[callee] += 1
    elif not texts and not node.keywords and isinstance(node.func, ast.Attribute):
        usage.methods[node.func.attr] += 1


def _pair(usage: Usage, source: Source, one: ast.expr, two: ast.expr) -> None:
    held = two.elts if isinstance(two, ast.Tuple | ast.List | ast.Set) else [two]
    for literal in held:
        if isinstance(literal, ast.Constant) and not isinstance(one, ast.Constant):
            text = source.segment(literal)
            if len(text) <= SHORT:
                usage.literals.setdefault(source.segment(one), Counter())[text] += 1


def ordered(counted: Counter[str]) -> list[str]:
    """Return what was counted, the commonest first."""
    return [text for text, _ in sorted(counted.items(), key=lambda item: (-item[1], item[0]))]


def applied(site: Site) -> Iterator[Draft]:
    """A function of one argument, or a method of none, that the file uses elsewhere, applied to a value."""
    node, parent = site.node, site.parent
    if not isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.Subscript | ast.ListComp | ast.BinOp):
        return
    if isinstance(getattr(node, "ctx", None), ast.Store | ast.Del) or isinstance(parent, ast.Attribute | ast.Expr):
        return
    base = isinstance(parent, ast.Call) and node is parent.func
    if base or (isinstance(parent, ast.Subscript) and node is parent.value):
        return
    known, text = usage_of(site.source), site.text(node)
    for rank, callee in enumerate(ordered(known.wrappers)[: 8 * site.width]):
        if not text.startswith(f"{callee}("):
            yield from site.put(node, f"{callee}({text})", 0.12 / (1 + rank / 4), "call as elsewhere")
    for rank, name in enumerate(ordered(known.methods)[: 5 * site.width]):
        if site.type_of(node) not in ("int", "float", "bool"):
            yield from site.put(node, f"{site.tight(node)}.{name}()", 0.1 / (1 + rank / 4), "method as elsewhere")


def literal(site: Site) -> Iterator[Draft]:
    """A literal that is compared with, or assigned to, the same expression elsewhere in the file."""
    node, parent = site.node, site.parent
    if not isinstance(node, ast.Constant):
        return
    partner = None
    if isinstance(parent, ast.Compare):
        partner = parent.left if node in parent.comparators else None
    elif isinstance(parent, ast.Assign) and len(parent.targets) == 1:
        partner = parent.targets[0]
    if partner is not None:
        others = ordered(usage_of(site.source).literals.get(site.text(partner), Counter()))
        for rank, text in enumerate([text for text in others if text != site.text(node)][: 8 * site.width]):
            yield from site.put(node, text, 0.4 / (1 + rank / 3), "literal as elsewhere")


def member(site: Site) -> Iterator[Draft]:
    """Another attribute of `self` that the class uses, the commonest first."""
    node = site.node
    if not isinstance(node, ast.Attribute) or getattr(node.value, "id", "") != "self":
        return
    owner = next((outer for outer in site.ancestors() if isinstance(outer, ast.ClassDef)), None)
    if owner is None:
        return
    found: dict[ast.ClassDef, list[str]] = site.source.__dict__.setdefault("_members", {})
    if owner not in found:
        found[owner] = ordered(Counter(_members(owner)))
    called = isinstance(site.parent, ast.Call) and site.parent.func is node
    methods = {child.name for child in owner.body if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)}
    end = site.source.span(node)[1]
    names = [name for name in found[owner] if name != node.attr and (name in methods) == called]
    for rank, name in enumerate(names[: 8 * site.width]):
        yield from site.span_draft(end - len(node.attr), end, name, 0.4 / (1 + rank / 4), "attribute")


def _members(owner: ast.ClassDef) -> list[str]:
    nodes = [node for node in ast.walk(owner) if isinstance(node, ast.Attribute)]
    return [node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "self"]
