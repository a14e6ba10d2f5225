"""generalise: from a file before and after a repair to patterns of the edit.

Each place that differs becomes a template: the smallest node around it that says enough to be recognised. Names of
variables become holes, and so does any attribute, subscript or longer literal that stands alike before and after.
Builtins, imported names, methods and small literals stay: they are what the pattern is about.
"""

import ast
import builtins
import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from repairlab.documents import EditPattern, HoleKind
from repairlab.patterns.templates import (
    BODIES,
    UNPARSABLE,
    BadTemplate,
    Difference,
    compiled,
    differences,
    mangled,
    matched,
    parsed,
    same,
    written,
)

MAX_PLACES = 6  # a patch that changes more is a rewrite
TELLING = 2, 5  # nodes that a template names: the least with which it may match anywhere, and what tells much
MAX_SIZE = 80  # nodes of one side
LETTERS = "abcdefghijklmnopqrstuvw"
_PLAIN = (0, 1, -1, 2, True, False, None, "", "\n", " ", ...)
_BUILTINS = frozenset(dir(builtins))


def edit_patterns(before: str, after: str) -> list[EditPattern]:
    """Return the patterns of the edit that turned one text into the other; none where it was a rewrite."""
    if "$" in before + after or "_hole_" in before + after:
        return []  # what a template could not tell from its holes
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trees = ast.parse(before), ast.parse(after)
        places = list(differences(trees[0].body, trees[1].body))
        if not 0 < len(places) <= MAX_PLACES:
            return []
        pair = _Pair(*trees)
        found = {(p.before, p.after): p for place in pair.joined(places) for p in pair.patterns(place)}
        return list(found.values())
    except UNPARSABLE:  # the last two: nested too deep to be compared
        return []


@dataclass
class _Pair:
    """Two versions of a file."""

    before: ast.Module
    after: ast.Module
    up: dict[ast.AST, ast.AST] = field(init=False)
    kept: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        trees = (self.before, self.after)
        self.up = {child: node for tree in trees for top in ast.walk(tree) for child, node in _children(top)}
        imports = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
        names = {(a.asname or a.name).partition(".")[0] for node in imports for a in node.names}
        self.kept = _BUILTINS | names

    def joined(self, places: Sequence[Difference]) -> Iterator[Difference]:
        """Yield the places, those within one statement as one."""
        by_statement: dict[ast.AST, list[Difference]] = {}
        for place in places:
            inner = place.before[0] if place.before else place.parent
            owner = None if place.field else self._statement(inner)
            if owner is None:
                yield place
            else:
                by_statement.setdefault(owner, []).append(place)
        for group in by_statement.values():
            yield group[0] if len(group) == 1 else self._common(group)

    def _statement(self, node: ast.AST | None) -> ast.AST | None:
        while node is not None and not isinstance(node, ast.stmt):
            node = self.up.get(node)
        return node

    def _common(self, group: Sequence[Difference]) -> Difference:
        """Return the smallest pair of nodes around all places of one statement."""
        one, two = group[0].before[0], group[0].after[0]
        inside = set(ast.walk(one))
        while not all(place.before[0] in inside for place in group):
            one, two = self.up[one], self.up[two]
            inside = set(ast.walk(one))
        return Difference([one], [two])

    def patterns(self, place: Difference) -> Iterator[EditPattern]:
        """Yield the patterns of one place: a general one, and one that tells more of what stood around it."""
        alone = len(place.before) == len(place.after) == 1 and not place.field
        around = [self._climbed(place, telling) for telling in TELLING] if alone else [self._neighbours(place)]
        yield from filter(None, map(self._pattern, around))

    def _pattern(self, sides: tuple[Sequence[ast.AST], Sequence[ast.AST]]) -> EditPattern | None:
        holes = _Holes(self.kept, *sides)
        try:
            old, new = [[holes.visit(_without_bodies(node, sides)) for node in side] for side in sides]
            made = EditPattern(before=written(old), after=written(new), holes=holes.kinds())
            made = msgspec.convert(msgspec.to_builtins(made), EditPattern)
            template = compiled(made)
        except (BadTemplate, msgspec.ValidationError, *UNPARSABLE):
            return None
        fits = all(
            matched(one, two, template.holes, holes.found)
            for one, two in zip(parsed(made.before), _statements(sides[0]), strict=True)
        )
        return made if fits and template.concrete >= 1 + template.expression else None

    def _climbed(self, place: Difference, telling: int) -> tuple[Sequence[ast.AST], Sequence[ast.AST]]:
        one, two = place.before[0], place.after[0]
        while not isinstance(one, ast.stmt):
            if isinstance(one, ast.expr) and self._telling(one) >= telling:
                break
            above = self.up[one]
            if _size(above) > MAX_SIZE and isinstance(one, ast.expr):
                break
            one, two = above, self.up[two]
        return [one], [two]

    def _telling(self, node: ast.AST) -> int:
        inner = [n for n in ast.walk(node) if isinstance(n, ast.expr | ast.keyword)]
        return sum(not isinstance(n, ast.Name) or n.id in self.kept for n in inner)

    def _neighbours(self, place: Difference) -> tuple[Sequence[ast.AST], Sequence[ast.AST]]:
        """Return whole statements, with one more on each side where nothing stood before or stands after."""
        if place.before and place.after:
            return place.before, place.after
        block: Sequence[ast.AST] = getattr(place.parent, place.field) if place.parent else self.before.body
        end = place.at + len(place.before)
        head, tail = block[max(0, place.at - 1) : place.at], block[end : end + 1]
        return [*head, *place.before, *tail], [*head, *place.after, *tail]


def _children(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    return ((child, node) for child in ast.iter_child_nodes(node))


def _size(node: ast.AST) -> int:
    return sum(1 for _ in ast.walk(node))


def _statements(side: Sequence[ast.AST]) -> list[ast.AST]:
    return [ast.Expr(node) if isinstance(node, ast.expr) else node for node in side]


def _without_bodies(node: ast.AST, sides: Sequence[Sequence[ast.AST]]) -> ast.AST:
    """Return a copy of `node` with `...` for the bodies that its like on the other side has too."""
    made = copy.deepcopy(node)
    if not isinstance(node, ast.stmt):
        return made
    others = [other for side in sides if node not in side for other in side if type(other) is type(node)]
    likes = [node] if all(node in side for side in sides) else others
    for name in BODIES:
        body = getattr(node, name, None)
        statements = isinstance(body, list) and body and all(isinstance(item, ast.stmt) for item in body)
        if statements and any(same(body, getattr(like, name, None)) for like in likes):
            setattr(made, name, [ast.Expr(ast.Constant(...))])
    return made


class _Holes(ast.NodeTransformer):
    """Puts holes where names and shared expressions stand; the same hole on both sides for the same thing."""

    def __init__(self, kept: frozenset[str], before: Sequence[ast.AST], after: Sequence[ast.AST]) -> None:
        self.kept = kept
        self.letters: dict[str, str] = {}
        self.names: set[str] = set()
        old, new = ({ast.dump(n) for root in side for n in ast.walk(root)} for side in (before, after))
        self.shared = old & new
        self.found: dict[str, ast.expr | str] = {}
        places = [root for place in differences(_statements(before), _statements(after)) for root in place.before]
        self.moving = {ast.dump(node) for node in places}
        for root in (*before, *after):
            for node in ast.walk(root):
                if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                    self.names.add(node.id)
                if isinstance(node, ast.arg):
                    self.names.add(node.arg)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    self.names.add(node.func.id)

    def kinds(self) -> dict[str, HoleKind]:
        """Return what each hole stands for."""
        return {
            letter: HoleKind.NAME if key in self.names else HoleKind.EXPRESSION for key, letter in self.letters.items()
        }

    def _letter(self, key: str) -> str:
        if key not in self.letters:
            if len(self.letters) >= len(LETTERS):
                raise BadTemplate("has too many holes")
            self.letters[key] = LETTERS[len(self.letters)]
        return mangled(self.letters[key])

    def visit(self, node: ast.AST) -> ast.AST:
        """Return the node, or a hole for it."""
        if isinstance(node, ast.Name):
            return node if node.id in self.kept else ast.Name(self._letter(node.id), node.ctx)
        if isinstance(node, ast.arg):
            return ast.arg(self._letter(node.arg))
        if self._held(node):
            return ast.Name(self._letter(ast.dump(node)), ast.Load())
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            node.func.value = self.visit(node.func.value)  # type: ignore[assignment] # an expression stays one
            node.args = [self.visit(item) for item in node.args]  # type: ignore[misc]
            node.keywords = [self.visit(item) for item in node.keywords]  # type: ignore[misc]
            return node
        return self.generic_visit(node)

    def _held(self, node: ast.AST) -> bool:
        """True for what stands alike on both sides and tells nothing of the edit."""
        text = ast.dump(node)
        if text not in self.shared or text in self.moving:
            return False
        if isinstance(node, ast.Constant):
            return not any(type(node.value) is type(plain) and node.value == plain for plain in _PLAIN)
        if not isinstance(node, ast.Attribute | ast.Subscript) or not isinstance(node.ctx, ast.Load):
            return False
        root: ast.AST = node
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        return isinstance(root, ast.Name) and root.id not in self.kept
