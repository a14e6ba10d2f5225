"""loading: the search where the tests cannot even be collected.

The state is the text of the editable files. From what stopped the load (where, which exception) come proposals: a token
where a file does not parse, another import, or the ordinary transformations on the lines of the traceback. Each is
judged by loading everything anew. What loads and passes all tests is plausible; what loads and fails some is a base for
the ordinary search; what gets further than before, to a load that another error stops, is built upon.

Deterministic up to the clock, like the ordinary search.
"""

import ast
import heapq
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from repairlab.repair import imports, syntax
from repairlab.repair.candidates import Change, generate
from repairlab.repair.literals import project_of
from repairlab.repair.ranking import Plausible
from repairlab.repair.transformations import Project, Scope, Site
from repairlab.repair.transformations.imports import undefined
from repairlab.trial.bundle import Bundle
from repairlab.trial.source import UNPARSABLE, Edit, Source, Undecodable
from repairlab.trial.testrun import Line, TestRun
from repairlab.trial.validation import Cause, Loaded, Server

MAX_STATES = 12  # loads that got further, and are built upon
MAX_DEPTH = 4
GENERAL = 120  # ordinary candidates of one state, times the effort
AFTER_FIRST = 12  # proposals judged after the first plausible one, times the effort
MAX_BASES = 3
OK = ("p", "s", "x")


@dataclass(frozen=True, slots=True)
class Proposal:
    """Other texts of some files, and the change as it will be told."""

    texts: Mapping[str, str]
    line: Line
    note: str
    score: float


@dataclass(frozen=True)
class Base:
    """Texts with which everything loads, how the tests came out, and the changes that led there."""

    texts: Mapping[str, str]
    changes: tuple[Change, ...]
    loaded: Loaded
    score: float

    @property
    def passed(self) -> int:
        """How many tests pass."""
        return sum(letter in OK for _, letter in self.loaded.outcomes)


@dataclass
class Loading:
    """One search for texts that load; `plausible` and `bases` are its result at any moment."""

    bundle: Bundle
    effort: int
    deadline: float
    limit_s: float  # CPU seconds of one test
    plausible: list[Plausible] = field(default_factory=list)
    bases: list[Base] = field(default_factory=list)
    tests: list[TestRun] = field(default_factory=list)
    tried: int = 0
    seconds: float = 0.0
    _seen: set[tuple[tuple[str, str], ...]] = field(default_factory=set)
    _stop_at: float = float("inf")

    def run(self, server: Server, causes: list[Cause]) -> None:
        """Search until the deadline, exhaustion, or long enough after the first plausible patch."""
        began = time.monotonic()
        states: list[tuple[float, int, dict[str, str], tuple[str, ...], list[Cause]]] = [(-1.0, 0, {}, (), causes)]
        count = 0
        try:
            while states and count < MAX_STATES * self.effort:
                weight, _, texts, notes, causes = heapq.heappop(states)
                for proposal, loaded in self._judged(server, texts, causes):
                    if _further(causes, loaded) and len(notes) + 1 < MAX_DEPTH:
                        count += 1
                        state = {**texts, **proposal.texts}
                        entry = (weight * proposal.score, count, state, (*notes, proposal.note), loaded.causes)
                        heapq.heappush(states, entry)
                    elif not loaded.causes and loaded.ids and not loaded.lost:
                        self._loads({**texts, **proposal.texts}, notes, proposal, loaded, -weight)
                if self.plausible or self.bases:
                    return
        finally:
            self.seconds = time.monotonic() - began

    def _judged(self, server: Server, texts: dict[str, str], causes: list[Cause]) -> Iterator[tuple[Proposal, Loaded]]:
        for proposal in self._proposals(server, texts, causes):
            left = self.deadline - time.monotonic()
            if left <= 0 or self.tried >= self._stop_at:
                return
            key = tuple(sorted({**texts, **proposal.texts}.items()))
            if key in self._seen:
                continue
            self._seen.add(key)
            self.tried += 1
            wall_s = max(0.5, min(left, 60.0))
            yield proposal, server.load({**texts, **proposal.texts}, limit_s=self.limit_s, wall_s=wall_s)

    def _loads(
        self, texts: dict[str, str], notes: tuple[str, ...], proposal: Proposal, loaded: Loaded, weight: float
    ) -> None:
        score = weight * proposal.score
        edits = tuple(edit for path in sorted(texts) for edit in trimmed(self.bundle.sources[path], texts[path]))
        *before, last = [*notes, proposal.note]
        earlier = [Change((), proposal.line, "load", note, 1.0) for note in before]
        changes = (*earlier, Change(edits, proposal.line, "load", last, score))
        base = Base(texts, changes, loaded, score)
        if loaded.outcomes and len(loaded.outcomes) == len(loaded.ids) and base.passed == len(loaded.ids):
            if not self.plausible:
                self._stop_at = self.tried + AFTER_FIRST * self.effort
                outcomes = dict(loaded.outcomes)
                self.tests = [TestRun(t, "s" if outcomes[n] == "s" else "e") for n, t in enumerate(loaded.ids)]
            self.plausible.append(Plausible(changes, score, self.tried))
        else:
            self.bases = sorted([*self.bases, base], key=lambda base: (-base.passed, -base.score))[:MAX_BASES]

    def _proposals(self, server: Server, texts: Mapping[str, str], causes: list[Cause]) -> Iterator[Proposal]:
        bundle = self.bundle.rebased(texts) if texts else self.bundle
        seen: set[str] = set()
        for cause in causes[:3]:
            lines = [(server.relative(path), line) for path, line in reversed(cause.frames)]
            lines = [line for line in lines if line[0] in bundle.sources]
            key = f"{cause.kind} {cause.message} {lines[:1]}"
            if key not in seen:
                seen.add(key)
                found = [_proposal(bundle, change) for change in imports.absent(bundle, cause)]
                found += self._of_cause(bundle, cause, lines) if lines else []
                yield from sorted(found, key=lambda proposal: -proposal.score)

    def _of_cause(self, bundle: Bundle, cause: Cause, lines: list[Line]) -> Iterator[Proposal]:
        source = bundle.sources[lines[0][0]]
        try:
            _ = source.tree
        except UNPARSABLE:
            for mend in syntax.mends(source.text):
                if _encodes(source, mend.text):
                    yield Proposal({source.path: mend.text}, (source.path, mend.line), mend.note, mend.prior)
            return
        for change in imports.at_load(bundle, cause, lines):
            yield _proposal(bundle, change)
        yield from self._general(bundle, cause, lines)

    def _general(self, bundle: Bundle, cause: Cause, lines: list[Line]) -> Iterator[Proposal]:
        """The ordinary candidates, of the lines in the traceback first."""
        suspicion = {line: 0.9**depth for depth, line in reversed(list(enumerate(lines)))}
        sources = {path: bundle.sources[path] for path in dict.fromkeys(path for path, _ in lines)}
        project = project_of(bundle.files, bundle.sources, {}, self.effort)
        if cause.base == "NameError":
            for change in _named(sources[lines[0][0]], cause.name, lines[0], project):
                yield _proposal(bundle, change)
        found = [
            Change(c.edits, c.line, c.family, c.note, c.score * (1.0 if c.line in suspicion else 0.1))
            for c in generate(sources, suspicion, project)
        ]
        for change in sorted(found, key=lambda c: (-c.score, c.line, c.key))[: GENERAL * self.effort]:
            yield _proposal(bundle, change)


def _named(source: Source, name: str, line: Line, project: Project) -> Iterator[Change]:
    """Yield the imports of a name that is missing also where no ordinary edit looks: in annotations and decorators."""
    for node in source.nodes:
        if isinstance(node, ast.Name) and node.id == name and node.lineno == line[1]:
            for draft in undefined(Site(source, node, Scope(source, None), project)):
                yield Change(
                    tuple(Edit(source.path, *e) for e in draft.edits), line, "imports", draft.note, draft.prior
                )


def _proposal(bundle: Bundle, change: Change) -> Proposal:
    paths = dict.fromkeys(edit.path for edit in change.edits)
    texts = {p: bundle.sources[p].edited([e for e in change.edits if e.path == p]) for p in paths}
    return Proposal(texts, change.line, change.note, min(1.0, change.score))


def _encodes(source: Source, text: str) -> bool:
    try:
        Source(source.path, text, source.encoding).patched(())
    except Undecodable:
        return False
    return True


def _further(before: list[Cause], after: Loaded) -> bool:
    """True where fewer files fail to load, or the first fails for another reason."""
    if after.lost or not after.causes:
        return False
    told = {(cause.where, cause.kind, cause.message) for cause in before}
    now = [(cause.where, cause.kind, cause.message) for cause in after.causes]
    return len(now) <= len(before) and (len(now) < len(before) or not set(now) <= told)


def trimmed(source: Source, text: str) -> list[Edit]:
    """Return the one edit that makes `text` of a source, as small as can be; none where they are the same."""
    old, first = source.text, 0
    if old == text:
        return []
    shorter = min(len(old), len(text))
    while first < shorter and old[first] == text[first]:
        first += 1
    last = 0
    while last < shorter - first and old[-1 - last] == text[-1 - last]:
        last += 1
    return [Edit(source.path, first, len(old) - last, text[first : len(text) - last])]
