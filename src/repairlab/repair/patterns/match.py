"""match: generalised edits applied to suspicious code.

A template is tried wherever the syntax is that of its first node. Where it matches, only the places in which its two
halves differ are edited, so what it needs to be recognised stays to the byte. What a hole holds is written as it stands
in the file, in parentheses where it needs them.
"""

import ast
import builtins
import copy
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any

from repairlab.documents import Strategy
from repairlab.patterns import Binding, differences, matched
from repairlab.patterns.templates import BODIES, UNPARSABLE, Difference, elided, fields, hole_of, mangled
from repairlab.repair.candidates import SHARPNESS, Change, blame_of, located, scope_of
from repairlab.repair.idle import Idle
from repairlab.repair.patterns.library import Edit, Library
from repairlab.repair.transformations import Project, Site
from repairlab.trial.source import Edit as Span
from repairlab.trial.source import Source, overlapping
from repairlab.trial.testrun import Line

MAX_TRIALS = 200_000  # templates held against places, in one attempt
MAX_FREE = 2  # holes that only the second half has
FREE_NAMES, FREE_CHOICES = 6, 12
NEW_NAME = "item"
TELLING = 12  # nodes of a template that make it as telling as can be
_BUILTINS = frozenset(dir(builtins))


class Unfit(Exception):
    """The edit cannot be written here."""


def applied(
    library: Library,
    sources: Mapping[str, Source],
    suspicion: Mapping[Line, float],
    project: Project,
    until: float = float("inf"),
) -> list[Change]:
    """Return the candidates of all edit patterns, the likeliest first; past `until` (monotonic), those found so far."""
    found: dict[tuple[Span, ...], Change] = {}
    for site, edit, place, blame in islice(_places(library, sources, suspicion, project), MAX_TRIALS):
        if time.monotonic() >= until:
            break
        try:
            bound = _bound(edit, place)
            changes = list(_changes(site, edit, place, bound, blame)) if bound is not None else []
        except UNPARSABLE:  # nested too deep
            continue
        for change in changes:
            known = found.get(change.key)
            if known is None or known.score < change.score:
                found[change.key] = change
    return sorted(found.values(), key=lambda change: (-change.score, change.line, change.key))


def _bound(edit: Edit, place: Sequence[ast.AST]) -> Binding | None:
    """Return what the holes hold at a place, None where it does not look like the pattern."""
    template, bound = edit.template, dict[str, ast.expr | str]()
    if len(place) != len(template.before):
        return None
    pairs = zip(_heads(edit), place, strict=True)
    return bound if all(matched(one, two, template.holes, bound) for one, two in pairs) else None


def _heads(edit: Edit) -> Sequence[ast.AST]:
    return [edit.template.head] if edit.template.expression else edit.template.before


def _places(
    library: Library, sources: Mapping[str, Source], suspicion: Mapping[Line, float], project: Project
) -> Iterator[tuple[Site, Edit, Sequence[ast.AST], float]]:
    """Yield each suspicious place with each pattern whose first node has its syntax."""
    idle = Idle(sources, suspicion)
    by_head = library.by_head
    for path in sorted({path for path, _ in suspicion} & set(sources)) if by_head else ():
        source = sources[path]
        try:
            nodes = list(located(source))
        except UNPARSABLE:
            continue
        for node, function in nodes:
            if not (edits := by_head.get(type(node))):
                continue
            blame = blame_of(source, node, function, suspicion, idle)
            site = Site(source, node, scope_of(source, function), project)
            for edit in edits:
                window = _window(site, edit)
                worst = max(blame, *(_worst(source, one, suspicion) for one in window)) if len(window) > 1 else blame
                if worst:
                    yield site, edit, window, worst


def _worst(source: Source, node: ast.AST, suspicion: Mapping[Line, float]) -> float:
    first, last = getattr(node, "lineno", 1), getattr(node, "end_lineno", 1)
    return max((suspicion.get((source.path, line), 0.0) for line in range(first, last + 1)), default=0.0)


def _window(site: Site, edit: Edit) -> Sequence[ast.AST]:
    if edit.template.expression or not isinstance(site.node, ast.stmt):
        return [site.node]
    block = site.block(site.node)
    at = block.index(site.node)
    return block[at : at + len(edit.template.before)]


def _changes(site: Site, edit: Edit, place: Sequence[ast.AST], bound: Binding, blame: float) -> Iterator[Change]:
    pattern = edit.pattern
    quality = (pattern.quality.succeeded + 1) / (pattern.quality.transplants + 2)
    prior = (0.5 + quality / 2) * (0.5 + min(edit.template.concrete, TELLING) / TELLING / 2)
    for rank, filled in enumerate(_filled(site, edit, bound)):
        try:
            spans = _spans(site, edit, place, filled)
        except (Unfit, LookupError, *UNPARSABLE):
            continue
        edits = tuple(Span(site.source.path, *span) for span in spans)
        if edits and not overlapping(edits):
            line = (site.source.path, bisect_right(site.source.starts, min(span[0] for span in spans)))
            score = prior * blame**SHARPNESS / (1 + rank)
            note = f"pattern {pattern.told}"
            yield Change(edits, line, "patterns", note, score, Strategy.PATTERN_TRANSPLANT, pattern.told)


def _filled(site: Site, edit: Edit, bound: Binding) -> Iterator[Binding]:
    """Yield the bindings, with new names for what only the second half binds, and names in scope for what it uses."""
    template = edit.template
    taken = {*site.scope.locals, *site.scope.module_names}
    new = (name for number in range(99) if (name := NEW_NAME + str(number or "")) not in taken)
    bound = {**bound, **dict(zip(template.made, new, strict=False))}
    if not bound.keys() >= {*template.made}:
        return
    free = [hole for hole in template.free if hole not in template.made]
    if len(free) > MAX_FREE:
        return
    names = [name for name in site.scope.near(getattr(site.node, "lineno", 1)) if name not in bound.values()]
    choices = product(names[: FREE_NAMES * site.width], repeat=len(free))
    for choice in islice(choices, FREE_CHOICES * site.width):
        yield {**bound, **dict(zip(free, choice, strict=True))}


def _spans(site: Site, edit: Edit, place: Sequence[ast.AST], bound: Binding) -> list[tuple[int, int, str]]:
    template, spans = edit.template, []
    counterpart: dict[ast.AST, ast.AST] = {}
    for one, two in zip(_heads(edit), place, strict=True):
        _align(one, two, counterpart)
    known = {*site.scope.locals, *site.scope.module_names, *_BUILTINS}
    for difference in differences(template.before, template.after):
        made = [_substituted(root, bound) for root in difference.after]
        if any(name not in known for root in difference.after for name in _plain_names(root)):
            raise Unfit
        spans.append(_span(site, difference, counterpart, place, made, bound))
    return spans


def _align(template: ast.AST, found: ast.AST, counterpart: dict[ast.AST, ast.AST]) -> None:
    """Note which node of the file each node of a template has matched."""
    counterpart[template] = found
    if hole_of(template):
        return
    for (name, one), (_, two) in zip(fields(template), fields(found), strict=True):
        if isinstance(one, ast.AST) and isinstance(two, ast.AST):
            _align(one, two, counterpart)
        elif isinstance(one, list) and isinstance(two, list) and not (name in BODIES and len(one) != len(two)):
            for inner, other in zip(one, two, strict=True):
                if isinstance(inner, ast.AST) and isinstance(other, ast.AST) and type(inner) is type(other):
                    _align(inner, other, counterpart)
                elif isinstance(inner, ast.AST) and hole_of(inner):
                    counterpart[inner] = other


def _plain_names(root: ast.AST) -> Iterator[str]:
    stored = {n.id for n in ast.walk(root) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    stored |= {n.arg for n in ast.walk(root) if isinstance(n, ast.arg)}
    for node in ast.walk(root):
        if isinstance(node, ast.Name) and not hole_of(node) and node.id not in stored:
            yield node.id


class _Filling(ast.NodeTransformer):
    """Puts into the holes what they are bound to."""

    def __init__(self, bound: Binding) -> None:
        self.bound = bound

    def visit(self, node: ast.AST) -> ast.AST:
        """Return the node with its holes filled."""
        if isinstance(node, ast.Name) and (hole := hole_of(node)):
            value = self.bound[hole]
            return ast.Name(value, node.ctx) if isinstance(value, str) else copy.deepcopy(value)
        for name, value in ast.iter_fields(node):
            if isinstance(value, str) and not isinstance(node, ast.Constant) and (hole := hole_of(value)):
                bound = self.bound[hole]
                if not isinstance(bound, str):
                    raise Unfit
                setattr(node, name, bound)
        return self.generic_visit(node)


def _substituted(root: ast.AST, bound: Binding) -> ast.AST:
    return _Filling(bound).visit(copy.deepcopy(root))


def _text(site: Site, template: ast.AST, filled: ast.AST, bound: Binding) -> str:
    """Return the text of a filled template, with what its holes hold as the file has it, where that means the same."""
    plain = ast.unparse(filled)
    raw = ast.unparse(template)
    for hole, value in bound.items():
        text = value if isinstance(value, str) else site.text(value)
        if "\n" in text:
            return plain
        raw = raw.replace(mangled(hole), text)
    try:
        return raw if ast.dump(ast.parse(raw)) == ast.dump(ast.parse(plain)) else plain
    except UNPARSABLE:
        return plain


def _span(
    site: Site,
    difference: Difference,
    counterpart: Mapping[ast.AST, ast.AST],
    place: Sequence[ast.AST],
    made: Sequence[ast.AST],
    bound: Binding,
) -> tuple[int, int, str]:
    """Return the edit of one place."""
    texts = [_text(site, one, two, bound) for one, two in zip(difference.after, made, strict=True)]
    old = [counterpart[node] for node in difference.before]
    if len(old) == len(made) == 1 and isinstance(old[0], ast.expr):
        draft = next(site.put(old[0], texts[0], 1.0, ""), None)
        if draft is None:
            raise Unfit
        return draft.edits[0]
    return _statements(site, difference, counterpart, place, texts)


def _statements(
    site: Site,
    difference: Difference,
    counterpart: Mapping[ast.AST, ast.AST],
    place: Sequence[ast.AST],
    texts: Sequence[str],
) -> tuple[int, int, str]:
    """Return the edit that puts whole statements in the place of others, or between others."""
    lines = [line for text in texts for line in text.split("\n")]
    old = [node for item in difference.before if isinstance(node := counterpart[item], ast.stmt)]
    if not old:
        parent = counterpart[difference.parent] if difference.parent is not None else None
        block: Sequence[Any] = getattr(parent, difference.field) if parent is not None else place
        draft = (
            next(site.insert_before(block[difference.at], lines, 1.0, ""), None)
            if difference.at < len(block)
            else next(site.insert_after(block[-1], lines, 1.0, ""), None)
        )
        if draft is None:
            raise Unfit
        return draft.edits[0]
    if len(old) != len(difference.before) or any(elided(node) for node in difference.after):
        raise Unfit
    if not (site.alone_on_lines(old[0]) and site.alone_on_lines(old[-1])):
        raise Unfit
    start, end = site.lines(old[0])[0], site.lines(old[-1])[1]
    indent, newline = site.source.indent(old[0].lineno), site.source.newline(old[0].lineno)
    text = "".join(indent + line + newline for line in lines)
    return start, end, text if site.source.text[:end].endswith(("\n", "\r")) else text.removesuffix(newline)
