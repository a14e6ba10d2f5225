"""candidates: the stream of candidates for one state of the bundle, best first.

A candidate's score is the prior of its transformation times the suspiciousness of its line. The order is total and
depends on nothing but the bundle, the localization and the effort, so a search can be repeated.
"""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from repairlab.documents import Strategy
from repairlab.repair.idle import Idle
from repairlab.repair.transformations import Draft, Project, Scope, Site, drafts
from repairlab.repair.transformations.site import Function
from repairlab.trial.source import UNPARSABLE, Edit, Source, overlapping
from repairlab.trial.testrun import Line

TRIED = 0.2  # of the score, for what an attempt before this one has tried: it is there to be built upon
SHARPNESS = 1.5  # how much more a suspicious line counts than a likely edit
EVERYWHERE = 0.3  # of the prior, for another name at all its mentions in the suspicious code of all files
RENAMES = frozenset(("attribute", "method", "function", "key"))
LONGEST = 400  # characters of an expression that edits are proposed for
ALL_SITES = 0.5  # of the prior, for the same edit at all matching places of a function


@dataclass(frozen=True, slots=True)
class Change:
    """One candidate: its edits, where it stands, what made it, and how likely it is."""

    edits: tuple[Edit, ...]
    line: Line
    family: str
    note: str
    score: float
    strategy: Strategy = Strategy.HEURISTIC_MICROFIX
    pattern_id: str | None = None
    needed: bool = False  # nothing can pass without such a change

    @property
    def key(self) -> tuple[Edit, ...]:
        """What makes two candidates the same."""
        return tuple(sorted(self.edits))


def generate(sources: Mapping[str, Source], suspicion: Mapping[Line, float], project: Project) -> list[Change]:
    """Return all candidates for the suspicious lines of `sources`, best first, each once."""
    best: dict[tuple[Edit, ...], Change] = {}
    idle = Idle(sources, suspicion)
    renames: list[Change] = []
    for path in sorted({path for path, _ in suspicion} & set(sources)):
        try:
            found = list(_of_source(sources[path], suspicion, project, idle))
        except UNPARSABLE:
            continue
        renames += [change for change in found if change.note in RENAMES and len(change.edits) == 1]
        _keep(best, [*found, *_at_all_sites(sources[path], found)])
    _keep(best, _everywhere(sources, renames))
    return sorted(best.values(), key=lambda change: (-change.score, change.line, change.key))


def _keep(best: dict[tuple[Edit, ...], Change], changes: Iterable[Change]) -> None:
    for change in changes:
        known = best.get(change.key)
        if known is None or known.score < change.score:
            best[change.key] = change


def widened(wide: Iterable[Change], tried: Iterable[Change]) -> list[Change]:
    """Return the candidates of a wider search, those that a narrower one has tried already with less of a score."""
    known = {change.key for change in tried}
    scored = [replace(change, score=change.score * TRIED) if change.key in known else change for change in wide]
    return sorted(scored, key=lambda change: (-change.score, change.line, change.key))


def _of_source(source: Source, suspicion: Mapping[Line, float], project: Project, idle: Idle) -> Iterator[Change]:
    for node, function in located(source):
        blame = blame_of(source, node, function, suspicion, idle)
        if not blame or _endless(source, node):
            continue
        site = Site(source, node, scope_of(source, function), project)
        line = (source.path, getattr(node, "lineno", 1))
        for family, draft in drafts(site):
            if draft.prior > 0 and not _empty(source, draft):
                edits = tuple(Edit(source.path, *edit) for edit in draft.edits)
                if not overlapping(edits):
                    yield Change(edits, line, family, draft.note, draft.prior * blame**SHARPNESS)


def _endless(source: Source, node: ast.AST) -> bool:
    """True of an expression that is longer than anybody meant to read; its parts are looked at by themselves.

    A sum of a thousand terms is a thousand sums, each of which has every other as an operand.
    """
    if not isinstance(node, ast.expr):
        return False
    start, end = source.span(node)
    return end - start > LONGEST


def _empty(source: Source, draft: Draft) -> bool:
    return all(source.text[start:end] == text for start, end, text in draft.edits)


def located(source: Source) -> Iterator[tuple[ast.AST, Function | None]]:
    """Yield each node with the function that it stands in, in the order of the text."""
    stack: list[tuple[ast.AST, Function | None]] = [(source.tree, None)]
    while stack:
        node, function = stack.pop()
        yield node, function
        inner = node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        stack += [(child, inner) for child in reversed(list(_children(node)))]


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes below, annotations and imports left out: edits there cost a fresh import and repair nothing."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.Import | ast.ImportFrom):
                yield child


def scope_of(source: Source, function: Function | None) -> Scope:
    """Return the names that a function (None: the module) can use; made once."""
    known: dict[Function | None, Scope] = source.__dict__.setdefault("_scopes", {})
    if function not in known:
        known[function] = Scope(source, function)
    return known[function]


def blame_of(
    source: Source, node: ast.AST, function: Function | None, suspicion: Mapping[Line, float], idle: Idle
) -> float:
    """Return the suspiciousness of a node: of its own line or of the statement that it is part of."""
    line = getattr(node, "lineno", None)
    if line is None:
        return 0.0
    statement: ast.AST = node
    while not isinstance(statement, ast.stmt) and statement in source.parents:
        statement = source.parents[statement]
    lines = {line, getattr(statement, "lineno", line)}
    if function is None or (isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement is not node):
        return idle.blame(source, statement)
    return max((suspicion.get((source.path, number), 0.0) for number in lines), default=0.0)


def _everywhere(sources: Mapping[str, Source], changes: Iterable[Change]) -> Iterator[Change]:
    """Yield, for another name of a thing that several functions or files mention, the edit of all its mentions."""
    groups: defaultdict[tuple[str, str, str], dict[Edit, Change]] = defaultdict(dict)
    for change in changes:
        (edit,) = change.edits
        groups[sources[edit.path].text[edit.start : edit.end], edit.text, change.note][edit] = change
    for group in groups.values():
        if 2 <= len(group) <= 12 and not overlapping(group):
            first = max(group.values(), key=lambda change: change.score)
            note = first.note + ", everywhere"
            yield replace(first, edits=tuple(group), note=note, score=first.score * EVERYWHERE)


def _at_all_sites(source: Source, changes: Iterable[Change]) -> Iterator[Change]:
    """Yield, for edits that several places of one function would take alike, the edit of all of them at once."""
    groups: defaultdict[tuple[int, str, str, str], list[Change]] = defaultdict(list)
    ends = sorted((d.lineno, d.end_lineno or d.lineno) for d in source.definitions())
    owners = {line: first for first, last in ends for line in range(first, last + 1)}  # the innermost comes last
    for change in changes:
        if len(change.edits) == 1:
            (edit,) = change.edits
            old = source.text[edit.start : edit.end]
            if old and len(old) < 60:
                groups[owners.get(change.line[1], 0), old, edit.text, change.note].append(change)
    for group in groups.values():
        edits = tuple({change.edits[0]: None for change in group})
        if 2 <= len(edits) <= 12 and not overlapping(edits):
            first = max(group, key=lambda change: change.score)
            yield Change(edits, first.line, first.family, first.note + ", at all places", first.score * ALL_SITES)
