"""transplant: whole verified functions in the place of suspicious ones.

A suspicious function keeps its decorators, signature and docstring to the byte; the body becomes that of a verified
function which is like it in code, name or words, its parameters renamed. What the verified one imports and calls comes
along: imports after the file's own, helpers before the definition, under other names where theirs are taken. Where the
parameters are not the same in the same order, that is the work of the signature adapter, and the candidate says what it
mapped and could not map.
"""

import ast
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile

from repairlab.documents import Strategy
from repairlab.patterns import BadTemplate, fingerprint, similarity
from repairlab.patterns.functions import Function, bound_by, parameters
from repairlab.patterns.templates import UNPARSABLE, same
from repairlab.repair.candidates import Change
from repairlab.repair.patterns.library import Library, Whole, is_method
from repairlab.repair.patterns.mapping import Fit, Unmapped, fits
from repairlab.repair.patterns.renaming import body_text, free, names_in, renamed
from repairlab.repair.transformations import Project
from repairlab.trial.source import Edit, Source, overlapping
from repairlab.trial.testrun import Line

LEAST_LIKE = 0.2  # similarity below which a function is another
MOST = 40  # candidates of a strategy, times the effort: most need a fresh import
FUNCTIONS, PATTERNS, FITS = 6, 8, 3  # suspicious functions, verified ones for each, mappings of each; times the effort
ROUGH = 3  # as many are looked at closer as are then tried
TOLD = 12


@dataclass
class Transplants:
    """The candidates of all function patterns, likeliest first; `unmapped` says which did not fit, and why.

    Past `until` (monotonic) no further suspicious function is looked at.
    """

    library: Library
    sources: Mapping[str, Source]
    suspicion: Mapping[Line, float]
    project: Project
    unmapped: list[str] = field(default_factory=list)
    until: float = float("inf")

    def of(self, strategy: Strategy) -> list[Change]:
        """Return those of one strategy."""
        return [change for change in self._all if change.strategy is strategy][: MOST * self.project.width]

    @cached_property
    def _all(self) -> list[Change]:
        targets = takewhile(lambda _: time.monotonic() < self.until, self._targets())
        found = [change for _, target in targets for change in self._changes(target)]
        return sorted(found, key=lambda change: (-change.score, change.line, change.key))

    def _targets(self) -> list[tuple[float, "Target"]]:
        found = []
        for path in sorted({path for path, _ in self.suspicion} & set(self.sources)) if self.library.functions else ():
            source = self.sources[path]
            try:
                functions = list(source.definitions())
            except UNPARSABLE:
                continue
            for function in functions:
                lines = range(function.lineno, (function.end_lineno or function.lineno) + 1)
                blame = max(self.suspicion.get((path, line), 0.0) for line in lines)
                if blame:
                    found.append((blame, Target(source, function, blame)))
        found.sort(key=lambda item: (-item[0], item[1].source.path, item[1].function.lineno))
        return found[: FUNCTIONS * self.project.width]

    def _changes(self, target: "Target") -> Iterator[Change]:
        try:
            likes = self._likes(target)
        except UNPARSABLE:  # nested too deep to be copied
            self.unmapped.append(f"{target.function.name} cannot be compared")
            return
        for alike, whole in likes:
            try:
                yield from self._fitted(target, whole, alike)
            except Unmapped as error:
                self.unmapped.append(f"{whole.pattern.told} for {target.function.name}: {error}")

    def _likes(self, target: "Target") -> list[tuple[float, Whole]]:
        """Return the verified functions that are like a suspicious one; the words of docstrings count among those."""
        marks, method = fingerprint(target.function), is_method(target.function)
        rough = [(similarity(marks, whole.marks), whole) for whole in self.library.functions if whole.method == method]
        rough.sort(key=lambda item: (-item[0], item[1].pattern.id))
        likes = []
        for _, whole in rough[: ROUGH * PATTERNS * self.project.width]:
            try:
                own = fingerprint(whole.function)
            except (BadTemplate, *UNPARSABLE) as error:
                self.unmapped.append(f"{whole.pattern.told}: {str(error)[:100]}")
                continue
            alike, kind = similarity(marks, own), type(whole.function) is type(target.function)
            if alike >= LEAST_LIKE and kind and own.ast_sha256 != marks.ast_sha256:
                likes.append((alike, whole))
        return sorted(likes, key=lambda item: (-item[0], item[1].pattern.id))[: PATTERNS * self.project.width]

    def _fitted(self, target: "Target", whole: Whole, alike: float) -> Iterator[Change]:
        key = target.source.path, target.first_line
        types = {name: kind for (path, line, name), kind in self.project.types.items() if (path, line) == key}
        ours, theirs = parameters(whole.function), parameters(target.function)
        for rank, fit in enumerate(fits(ours, theirs, types, FITS * self.project.width, method=whole.method)):
            try:
                edits = target.edits(whole, fit)
            except (Unmapped, *UNPARSABLE):
                continue
            quality = (whole.pattern.quality.succeeded + 1) / (whole.pattern.quality.transplants + 2)
            score = target.blame * alike * (0.5 + quality / 2) / (1 + rank)
            strategy = Strategy.PATTERN_TRANSPLANT if fit.straight else Strategy.SIGNATURE_ADAPTER
            told = f"function {whole.pattern.told}" + (f" ({fit.told})" if fit.told else "")
            if not overlapping(edits):
                line = target.source.path, target.function.lineno
                yield Change(tuple(edits), line, "patterns", told, score, strategy, whole.pattern.told)

    @property
    def told(self) -> str:
        """What could not be mapped, in words."""
        return "; ".join(self.unmapped[:TOLD])


@dataclass
class Target:
    """A suspicious function."""

    source: Source
    function: Function
    blame: float

    @property
    def first_line(self) -> int:
        """The line of its first decorator, or its own."""
        return min([self.function.lineno, *(d.lineno for d in self.function.decorator_list)])

    def edits(self, whole: Whole, fit: Fit) -> list[Edit]:
        """Return the edits that put a verified function here; raise `Unmapped` where it cannot stand here."""
        names, brought = self._names(whole, fit)
        text = renamed(whole.pattern.function.source if whole.pattern.function else "", names)
        assignments = [f"{names.get(ours, ours)} = {value}" for ours, value in fit.defaults.items()]
        path, inserted = self.source.path, dict[int, str]()
        for at, new in brought:
            inserted[at] = inserted.get(at, "") + new
        return [
            Edit(path, *self._body(text, assignments)),
            *(Edit(path, at, at, new) for at, new in inserted.items() if new),
        ]

    def _body(self, text: str, assignments: list[str]) -> tuple[int, int, str]:
        body = self.function.body
        documented = ast.get_docstring(self.function, clean=False) is not None
        if (
            body[0].lineno <= self.function.lineno
            or self.source.line_text(body[0].lineno)[: body[0].col_offset].strip()
        ):
            raise Unmapped("it stands on the line of its def")
        indent, newline = self.source.indent(body[0].lineno), self.source.newline(body[0].lineno)
        made = body_text(text, indent, newline, assignments)
        last = self.function.end_lineno or body[-1].lineno
        first = (body[0].end_lineno or body[0].lineno) + 1 if documented else self._first(body[0])
        if self._shared(last):
            raise Unmapped("something else stands on its last line")
        start, end = (
            self.source.line_span(first, last) if first <= last else (self.source.line_span(last, last)[1],) * 2
        )
        ended = self.source.text[:end].endswith(("\n", "\r"))
        if not ended and start == end:
            return start, end, newline + made.removesuffix(newline)
        return start, end, made if ended else made.removesuffix(newline)

    @staticmethod
    def _first(node: ast.stmt) -> int:
        decorators: list[ast.expr] = getattr(node, "decorator_list", [])
        return min([node.lineno, *(d.lineno for d in decorators)])

    def _shared(self, line: int) -> bool:
        last = self.function.body[-1]
        rest = self.source.text[self.source.span(last)[1] : self.source.line_span(line, line)[1]].strip()
        return bool(rest) and not rest.startswith("#")

    def _names(self, whole: Whole, fit: Fit) -> tuple[dict[str, str], list[tuple[int, str]]]:
        """Return the new names of what the verified function mentions, and what must be put elsewhere in the file."""
        pattern = whole.pattern.function
        assert pattern is not None
        module = {name: node for node in self.source.tree.body for name in bound_by(node)}
        names = {**fit.given, pattern.name: self.function.name}
        imports, helpers = [], []
        taken = {*module, *names_in(whole.function), *(p.name for p in parameters(self.function))}
        for line in pattern.imports:
            (node,) = ast.parse(line).body
            (bound,) = bound_by(node)
            if bound in module and not self._binds(bound, line):
                names[bound] = free(bound, taken)
                imports.append(renamed(line, {bound: names[bound]}).strip())
            elif bound not in module:
                imports.append(line)
            taken.add(names.get(bound, bound))
        for helper in pattern.helpers:
            (node,) = ast.parse(helper).body
            (bound,) = bound_by(node)
            if bound in module and same(node, module[bound]):
                continue
            if bound in module or bound == self.function.name:
                names[bound] = free(bound, taken)
            taken.add(names.get(bound, bound))
            helpers.append(renamed(helper, {key: value for key, value in names.items() if key not in fit.given}))
        self._own_names(whole, fit, names, taken)
        return names, [
            (self._after_imports(), self._lines(imports)),
            (self._before_definition(), self._blocks(helpers)),
        ]

    def _binds(self, name: str, line: str) -> bool:
        """True where the file imports the same thing under the same name."""
        wanted = ast.dump(ast.parse(line).body[0])
        for node in self.source.tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom) and name in bound_by(node):
                for alias in node.names:
                    alone = (
                        ast.Import([alias]) if isinstance(node, ast.Import) else ast.ImportFrom(node.module, [alias], 0)
                    )
                    if ast.dump(ast.parse(ast.unparse(alone)).body[0]) == wanted:
                        return True
        return False

    def _own_names(self, whole: Whole, fit: Fit, names: dict[str, str], taken: set[str]) -> None:
        """Give variables other names where those of the parameters are theirs."""
        used = {*fit.given.values(), self.function.name}
        for name in sorted(names_in(whole.function) - set(names)):
            if name in used and names.get(name, name) == name and fit.given.get(name) != name:
                names[name] = free(name, taken | used)
                taken.add(names[name])
        for key in [key for key, value in names.items() if key == value]:
            del names[key]

    def _after_imports(self) -> int:
        """Return the offset behind the file's first block of imports, or behind its docstring."""
        at = 0
        for node in self.source.tree.body:
            string = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if not isinstance(node, ast.Import | ast.ImportFrom) and not (string and at == 0):
                break
            at = node.end_lineno or node.lineno
        if not at:
            first = self.source.tree.body[0]
            return self.source.line_span(self._first(first), self._first(first))[0]
        return self.source.line_span(at, at)[1]

    def _before_definition(self) -> int:
        """Return the offset of the line where the statement of the module that holds the function begins."""
        node: ast.AST = self.function
        while (above := self.source.parents[node]) is not self.source.tree:
            node = above
        assert isinstance(node, ast.stmt)
        return self.source.line_span(self._first(node), self._first(node))[0]

    def _lines(self, lines: list[str]) -> str:
        newline = self.source.newline(1)
        imported = any(isinstance(node, ast.Import | ast.ImportFrom) for node in self.source.tree.body)
        return "".join(line + newline for line in lines) + ("" if imported or not lines else 2 * newline)

    def _blocks(self, texts: list[str]) -> str:
        newline = self.source.newline(self.function.lineno)
        return "".join(text.rstrip("\n").replace("\n", newline) + 3 * newline for text in texts)
