"""ranking: the list of plausible patches, the likeliest first.

A single edit comes before several, then the higher score; nothing else helped in measurements. Two patches that change
the same characters in the same way are one. Among patches that behave differently, those count less whose kind passes
few tests by chance: another operator or function of numbers gives another number, and so does a number from anywhere
("test-suite overfitting": Qi et al., ISSTA 2015; here the shares of right ones among the plausible were counted).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from repairlab.documents import Strategy
from repairlab.repair.candidates import Change
from repairlab.trial.source import Edit

SHOWN = 5
# kinds of edits of which many are plausible by chance, and their share of right ones beside that of all
CHANCE = {
    ("operators", "arithmetic operator"): 0.6,
    ("names", "function"): 0.5,
    ("terms", "term added"): 0.6,
    ("terms", "factor added"): 0.6,
    ("constants", "number from the project"): 0.4,
}


@dataclass(frozen=True)
class Plausible:
    """A patch that passed all tests in the search: the changes that it is made of, and when it was found."""

    changes: tuple[Change, ...]
    score: float
    tried: int

    @property
    def edits(self) -> tuple[Edit, ...]:
        """All edits, in order."""
        return tuple(sorted(edit for change in self.changes for edit in change.edits))

    @property
    def strategy(self) -> Strategy:
        """What made the only change, or `multi_edit`."""
        return strategy_of(self.changes)

    @property
    def pattern_id(self) -> str | None:
        """The pattern that a change was made from, if any was."""
        return next((change.pattern_id for change in self.changes if change.pattern_id), None)

    @property
    def worth(self) -> float:
        """The score, less where a single edit is of a kind that passes by chance."""
        if len(self.changes) != 1:
            return self.score
        (change,) = self.changes
        return self.score * CHANCE.get((change.family, change.note), 1.0)

    @property
    def note(self) -> str:
        """The names of the transformations."""
        return " + ".join(change.note for change in self.changes)


def strategy_of(changes: Sequence[Change]) -> Strategy:
    """Return the strategy that a set of changes is charged to."""
    return changes[0].strategy if len(changes) == 1 else Strategy.MULTI_EDIT


def ranked(found: Iterable[Plausible]) -> list[Plausible]:
    """Return the patches best first, each once."""
    best: dict[tuple[Edit, ...], Plausible] = {}
    for patch in found:
        known = best.get(patch.edits)
        if known is None or _key(patch) < _key(known):
            best[patch.edits] = patch
    return sorted(best.values(), key=_key)


def _key(patch: Plausible) -> tuple[int, float, int]:
    return len(patch.changes), -patch.score, patch.tried
