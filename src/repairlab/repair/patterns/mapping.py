"""mapping: which parameter of a verified function is which of the function that it shall replace.

By name first (the same, or words in common, or one short for the other), then by type (annotations, default values,
what the tests were seen to pass), then by position. What the verified function needs and nothing maps to takes its
default value; without one the two do not fit, and the reason says so.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, permutations

from repairlab.documents import Parameter, ParameterKind
from repairlab.patterns.functions import tokens_of

MAX_PERMUTED = 5  # parameters; beyond, each takes the best that is left
SAME_NAME, WORDS, SHORT, TYPE, OTHER_TYPE, POSITION = 4.0, 2.0, 1.0, 1.5, -1.5, 1.0
NEEDLESS = -4.0  # for what has a default value and is called otherwise
Alike = Sequence[Sequence[float]]  # of each parameter of ours with each of theirs
_EMPTY = {ParameterKind.VAR_POSITIONAL: "()", ParameterKind.VAR_KEYWORD: "{}"}


class Unmapped(Exception):
    """The two signatures do not fit; the text says why."""


@dataclass(frozen=True)
class Fit:
    """One way to call the one with what the other is given.

    `given` is their parameter for each of ours, `defaults` the expression that ours takes without one, `unused` theirs
    that nothing of ours is.
    """

    given: Mapping[str, str]
    defaults: Mapping[str, str]
    unused: tuple[str, ...]
    score: float
    straight: bool

    @property
    def told(self) -> str:
        """The mapping in words: what was renamed, and what could not be mapped."""
        parts = [f"{ours} is {theirs}" for ours, theirs in self.given.items() if ours != theirs]
        parts += [f"{name} takes its default {text}" for name, text in self.defaults.items()]
        parts += [f"{name} is unused" for name in self.unused]
        return ", ".join(parts)


def fits(
    ours: Sequence[Parameter], theirs: Sequence[Parameter], types: Mapping[str, str], limit: int, *, method: bool
) -> list[Fit]:
    """Return the likeliest mappings, the best first; raise `Unmapped` where there is none.

    `types` are those of their parameters that runs have shown; of methods, the first parameter is the first.
    """
    head = {ours[0].name: theirs[0].name} if method and ours and theirs else {}
    ours, theirs = list(ours)[len(head) :], list(theirs)[len(head) :]
    alike = _table(ours, theirs, types)
    found: dict[tuple[tuple[str, str], ...], Fit] = {}
    lacking: list[tuple[float, str]] = []
    for pairs in _pairings(ours, theirs, alike):
        fit = _fit(ours, theirs, pairs, alike, head)
        if isinstance(fit, Fit):
            found.setdefault(tuple(sorted(fit.given.items())), fit)
        else:
            lacking.append((sum(alike[i][j] for i, j in pairs), fit))
    if not found:
        raise Unmapped(f"nothing to give as {max(lacking)[1]}")
    return sorted(found.values(), key=lambda fit: (-fit.score, sorted(fit.given.items())))[:limit]


def _pairings(ours: Sequence[Parameter], theirs: Sequence[Parameter], alike: Alike) -> Iterator[list[tuple[int, int]]]:
    """Yield sets of (index of ours, index of theirs)."""
    if max(len(ours), len(theirs)) > MAX_PERMUTED:
        ranked = sorted((-alike[i][j], i, j) for i in range(len(ours)) for j in range(len(theirs)))
        taken: dict[int, int] = {}
        for score, i, j in ranked:
            if score < 0 and i not in taken and j not in taken.values():
                taken[i] = j
        yield sorted(taken.items())
        return
    places = [*range(len(theirs)), *[-1] * len(ours)]
    for chosen in dict.fromkeys(islice(permutations(places, len(ours)), 20_000)):
        yield [(i, j) for i, j in enumerate(chosen) if j >= 0]


def _fit(
    ours: Sequence[Parameter],
    theirs: Sequence[Parameter],
    pairs: Sequence[tuple[int, int]],
    alike: Alike,
    head: Mapping[str, str],
) -> Fit | str:
    """Return the mapping, or the name of what it lacks."""
    defaults = {}
    mapped = {i for i, _ in pairs}
    for i, parameter in enumerate(ours):
        if i not in mapped:
            text = parameter.default or _EMPTY.get(parameter.kind)
            if text is None:
                return parameter.name
            defaults[parameter.name] = text
    for i, j in pairs:
        if _variable(ours[i]) != _variable(theirs[j]):
            return ours[i].name
    used = {j for _, j in pairs}
    score = sum(alike[i][j] for i, j in pairs) - len(defaults)
    given = {**head, **{ours[i].name: theirs[j].name for i, j in pairs}}
    unused = tuple(other.name for j, other in enumerate(theirs) if j not in used)
    straight = len(ours) == len(theirs) and all(i == j for i, j in pairs) and not defaults
    return Fit(given, defaults, unused, score - len(unused), straight)


def _variable(parameter: Parameter) -> str:
    return parameter.kind if parameter.kind in _EMPTY else ""


def _table(ours: Sequence[Parameter], theirs: Sequence[Parameter], types: Mapping[str, str]) -> Alike:
    """Return how alike each of ours is to each of theirs."""
    mine = [(one, _type(one), tokens_of(one.name)) for one in ours]
    others = [(two, _type(two) or types.get(two.name, ""), tokens_of(two.name)) for two in theirs]
    return [[_alike(*one, *two, abs(i - j)) for j, two in enumerate(others)] for i, one in enumerate(mine)]


def _alike(
    one: Parameter, kind: str, mine: frozenset[str], two: Parameter, known: str, other: frozenset[str], far: int
) -> float:
    score = POSITION / (1 + far)
    if one.name == two.name:
        score += SAME_NAME
    else:
        likeness = WORDS * len(mine & other) / max(1, len(mine | other))
        likeness += SHORT * (one.name.startswith(two.name) or two.name.startswith(one.name))
        score += likeness or (NEEDLESS if one.default and not two.default else 0.0)
    if kind and known:
        score += TYPE if kind == known else OTHER_TYPE
    return score


def _type(parameter: Parameter) -> str:
    """Return the type that an annotation or a default value tells, or ''."""
    if parameter.annotation:
        return parameter.annotation.partition("[")[0].rpartition(".")[2].lower()
    if parameter.default:
        try:
            value = ast.parse(parameter.default, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ""
        if isinstance(value, ast.Constant) and value.value is not None:
            return type(value.value).__name__
        return {ast.List: "list", ast.Dict: "dict", ast.Set: "set", ast.Tuple: "tuple"}.get(type(value), "")
    return ""
