"""contexts: the statement that stands beside this one elsewhere in the file, and not here.

(CapGen, Wen et al., ICSE 2018, and ssFix, Xin and Reiss, ASE 2017: the likeliest ingredients are those whose context
is like that of the place; "plastic surgery": Barr et al., FSE 2014.) Methods of one class, branches of one `if` and
variants of one function repeat each other. Where a statement is followed, or preceded, by another one in most of its
places, the place without it lacks it; names that differ between the two places are exchanged.
"""

import ast
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from repairlab.repair.transformations.gaps import gaps
from repairlab.repair.transformations.ingredients import is_docstring
from repairlab.repair.transformations.site import Draft, Function, Site
from repairlab.trial.source import Source, once

NOTE = "statement as elsewhere"
EXACT, RENAMED, BEGINNING = 0.5, 0.3, 0.12
MOST = 6  # neighbours of one statement; and how many places of one shape are looked at
PLACES = 12
LONGEST = 200  # characters of a statement that is copied
SIMPLE = (ast.Assign, ast.AugAssign, ast.Expr, ast.Continue, ast.Break, ast.Raise, ast.Delete, ast.Assert)


@dataclass
class Contexts:
    """The neighbours of the statements of one file, by their text and by their shape."""

    exact: dict[str, list[tuple[ast.stmt, ast.stmt | None, ast.stmt | None]]] = field(default_factory=dict)
    shaped: dict[str, list[tuple[ast.stmt, ast.stmt | None, ast.stmt | None]]] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)
    parsed: dict[str, ast.stmt] = field(default_factory=dict)


@once
def contexts_of(source: Source) -> Contexts:
    """Return the contexts of a file."""
    found = Contexts()
    for node in source.nodes:
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                _read(found, source, node, [one for one in block if not is_docstring(one)])
    for places in (*found.exact.values(), *found.shaped.values()):
        places.sort(key=_line)
    return found


def _read(known: Contexts, source: Source, owner: ast.AST, block: list[ast.stmt]) -> None:
    for at, one in enumerate(block):
        before = block[at - 1] if at else None
        after = block[at + 1] if at + 1 < len(block) else None
        known.exact.setdefault(head(source, one), []).append((one, before, after))
        known.shaped.setdefault(shape(one), []).append((one, before, after))
    if isinstance(owner, Function) and block and copied(source, block[0]):
        text = source.segment(block[0])
        known.starts[text] += 1
        known.parsed[text] = block[0]


def copied(source: Source, node: ast.stmt | None) -> bool:
    """True of a statement of one line that can be copied."""
    if node is None or not isinstance(node, SIMPLE) or is_docstring(node):
        return False
    return node.lineno == node.end_lineno and len(source.segment(node)) <= LONGEST


def head(source: Source, node: ast.stmt) -> str:
    """Return the text of a statement; of a compound one its first line."""
    return source.segment(node) if isinstance(node, (*SIMPLE, ast.Return)) else source.line_text(node.lineno).strip()


def header(node: ast.stmt) -> list[ast.AST]:
    """Return the nodes of a statement, of a compound one those before its blocks, in the order of the text."""
    parts = [value for name, value in ast.iter_fields(node) if name not in ("body", "orelse", "finalbody", "handlers")]
    tops = [part for value in parts for part in (value if isinstance(value, list) else [value])]
    return [node, *(inner for top in tops if isinstance(top, ast.AST) for inner in ast.walk(top))]


def shape(node: ast.stmt) -> str:
    """Return the form of a statement with its names left open."""
    return " ".join(
        f"{type(n).__name__}:{n.value!r}" if isinstance(n, ast.Constant)
        else f".{n.attr}" if isinstance(n, ast.Attribute)
        else type(n).__name__
        for n in header(node)
    )[:2000]  # fmt: skip


def renaming(theirs: ast.stmt, ours: ast.stmt) -> dict[str, str] | None:
    """Return which names of one statement stand for which of the other, None where one stands for two."""
    found: dict[str, str] = {}
    one = [n.id for n in header(theirs) if isinstance(n, ast.Name)]
    two = [n.id for n in header(ours) if isinstance(n, ast.Name)]
    for old, new in zip(one, two, strict=False):
        if found.setdefault(old, new) != new:
            return None
    return found


def renamed(source: Source, node: ast.stmt, names: dict[str, str]) -> str:
    """Return the text of a statement with names exchanged."""
    base, _ = source.span(node)
    text = source.segment(node)
    parts = [n for n in ast.walk(node) if isinstance(n, ast.Name) and names.get(n.id, n.id) != n.id]
    for part in sorted(parts, key=lambda n: (-n.lineno, -n.col_offset)):
        start, end = (offset - base for offset in source.span(part))
        text = text[:start] + names[part.id] + text[end:]
    return text


def beside(site: Site) -> Iterator[Draft]:
    """What precedes, or follows, this statement at its other places in the file; what functions here begin with."""
    node, function = site.node, site.scope.function
    if (
        function is None
        or not isinstance(node, ast.stmt)
        or is_docstring(node)
        or isinstance(node, Function | ast.ClassDef)
    ):
        return
    block = site.block(node)
    at = block.index(node)
    near = {head(site.source, one) for one in block[max(0, at - 1) : at + 2]}
    for places, scale in ((_same(site, node), EXACT), (_alike(site, node), RENAMED)):
        befores, afters = Counter[str](), Counter[str]()
        for other, before, after in places:
            befores.update(_fitting(site, other, node, before))
            afters.update(_fitting(site, other, node, after))
        for texts, insert in ((befores, site.insert_before), (afters, site.insert_after)):
            for rank, (text, count) in enumerate(
                sorted(texts.items(), key=lambda item: (-item[1], item[0]))[: MOST * site.width]
            ):
                if text not in near and not (insert is site.insert_after and _leaves(node)):
                    share = 0.5 + 0.5 * min(1.0, count / max(1, len(places)))
                    yield from insert(node, [text], scale * share / (1 + rank / 2), NOTE)
    if block is function.body and node is next((one for one in block if not is_docstring(one)), None):
        yield from _begun(site, node, near)


def _leaves(node: ast.stmt) -> bool:
    return isinstance(node, ast.Return | ast.Raise | ast.Continue | ast.Break)


Place = tuple[ast.stmt, ast.stmt | None, ast.stmt | None]


def _line(place: Place) -> int:
    return place[0].lineno


def _same(site: Site, node: ast.stmt) -> list[Place]:
    places = _around(contexts_of(site.source).exact.get(head(site.source, node), []), node)
    return [place for place in places if place[0] is not node][:PLACES]


def _alike(site: Site, node: ast.stmt) -> list[Place]:
    text = head(site.source, node)
    if isinstance(node, ast.Continue | ast.Break | ast.Pass):
        return []
    places = _around(contexts_of(site.source).shaped.get(shape(node), []), node)
    return [place for place in places if head(site.source, place[0]) != text][:PLACES]


def _around(places: list[Place], node: ast.stmt) -> list[Place]:
    """Return the places next to a statement, the nearest first; a file may have thousands of one shape."""
    at = bisect_left(places, node.lineno, key=_line)
    near = places[max(0, at - PLACES) : at + PLACES + 1]
    return sorted(near, key=lambda place: (abs(place[0].lineno - node.lineno), place[0].lineno))


def _fitting(site: Site, theirs: ast.stmt, ours: ast.stmt, neighbour: ast.stmt | None) -> list[str]:
    """Return the text of a neighbour as it would stand here, if it can."""
    if neighbour is None or not copied(site.source, neighbour):
        return []
    names = renaming(theirs, ours)
    if names is None:
        return []
    text = renamed(site.source, neighbour, names)
    stored = {n.id for n in ast.walk(neighbour) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    read = {n.id for n in ast.walk(neighbour) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    own = gaps(site)
    known = own.bound | {names.get(name, name) for name in stored}
    return [text] if all(names.get(name, name) in known or own.free(name) for name in read) else []


def _begun(site: Site, node: ast.stmt, near: set[str]) -> Iterator[Draft]:
    known = contexts_of(site.source)
    usual = [
        text
        for text, count in sorted(known.starts.items(), key=lambda item: (-item[1], item[0]))
        if count > 1 and text not in near and gaps(site).fits(known.parsed[text])
    ]
    for rank, text in enumerate(usual[: MOST * site.width]):
        yield from site.insert_before(node, [text], BEGINNING / (1 + rank / 2), NOTE)
