"""clusters: plausible patches that behave alike on every input that was tried are one.

A cluster is the likelier the better its best patch and the more patches it has: ways to write the right function are
many, accidents are single. Inputs on which the bundle as it came and most patches raise an exception
are left out: there the code was never meant to work, and patches differ in how they fail. What could not be run is a
cluster by itself.

The confidence is a logistic curve over the share of the first cluster in all and the number of different calls that the
tests make, fitted to a development set and never above what was measured there. The calls are what the sandbox says, so
that it is a hint; what a composition of edits loses is what others measured (9 of 13 against 113
of 126). `bench/repair.py` prints how often patches of each confidence were right.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from repairlab.documents import Question
from repairlab.repair.ranking import Plausible
from repairlab.trial.probes import Behaviour, Outcome

SHORT = 120  # characters of a call, and of a result, that a person reads at a glance
NOT_KNOWN = "ended"  # the checksum of what came after too many calls that ended a patch's process
BROKEN = ("raises ", "never ends", "ends ")
SEVERAL_EDITS = 0.5  # how much less a composition of edits weighs
CERTAINTY = (-1.2, 2.3, 0.8, -1.0)  # constant, share of the first cluster, logarithm of 1 + calls, several edits
MOST_CALLS, MOST_CERTAIN = 20, 0.91  # calls that count, and the share of right ones where the evidence was best
OUTSIDE_SHARE = 0.5  # of the patches that fail on an input which the bundle fails on as well


@dataclass
class Cluster:
    """Patches of one behaviour, best first; `correct` and `confidence` are those of the first."""

    patches: list[Plausible]
    outcomes: Sequence[Outcome] | None = None
    telling: Sequence[int] = ()
    correct: bool | None = None
    confidence: float | None = None
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = len(self.patches)

    @property
    def weight(self) -> float:
        """How likely the cluster is, beside others of the same bundle."""
        best = max(patch.worth * (1.0 if len(patch.changes) == 1 else SEVERAL_EDITS) for patch in self.patches)
        return best * self.size


def singly(patches: Sequence[Plausible]) -> list[Cluster]:
    """Return each patch as a cluster of its own: nothing is known of what they do."""
    return [Cluster([patch]) for patch in patches]


def clustered(patches: Sequence[Plausible], seen: Behaviour, without: Collection[int] = ()) -> list[Cluster]:
    """Return the clusters, the likeliest first; `seen` knows patches by their number here, the bundle comes last."""
    telling = within(seen, len(patches))
    found: list[Cluster] = []
    for number, patch in enumerate(patches):
        if number in without:
            continue
        outcomes = seen.of(number)
        for cluster in found:
            if (
                outcomes is not None
                and cluster.outcomes is not None
                and not _parted(cluster.outcomes, outcomes, telling)
            ):
                cluster.patches.append(patch)
                cluster.size += 1
                break
        else:
            found.append(Cluster([patch], outcomes, telling))
    return sorted(found, key=lambda cluster: -cluster.weight)


def _parted(ours: Sequence[Outcome], theirs: Sequence[Outcome], telling: Sequence[int]) -> list[int]:
    """Return the inputs on which both are known and differ."""
    return [
        i
        for i in telling
        if ours[i].checksum != theirs[i].checksum and NOT_KNOWN not in (ours[i].checksum, theirs[i].checksum)
    ]


def within(seen: Behaviour, count: int) -> list[int]:
    """Return the inputs that the code seems to be meant for."""
    original = seen.of(count)
    known = [outcomes for number in range(count) if (outcomes := seen.of(number)) is not None]
    found = []
    for index, given in enumerate(seen.inputs):
        failing = sum(broken(outcomes[index]) for outcomes in known)
        meant = original is None or not broken(original[index]) or failing <= OUTSIDE_SHARE * len(known)
        if given.seen or meant:
            found.append(index)
    return found


def broken(outcome: Outcome) -> bool:
    """True where a call gave nothing: an exception, no end, a dead process."""
    return outcome.text.startswith(BROKEN)


def question(clusters: Sequence[Cluster], seen: Behaviour) -> Question | None:
    """Return the call on which the first cluster differs from the next most clearly: short, and answered by both."""
    known = [cluster for cluster in clusters if cluster.outcomes is not None]
    if len(known) < 2 or known[0] is not clusters[0]:
        return None
    ours, theirs = known[0].outcomes, known[1].outcomes
    assert ours is not None
    assert theirs is not None
    differing = _parted(ours, theirs, known[0].telling)
    if not differing:
        return None

    def glance(index: int) -> tuple[int, int, int]:
        failing = broken(ours[index]) + broken(theirs[index])
        return failing, len(seen.inputs[index].call) + len(ours[index].text) + len(theirs[index].text), index

    best = min(differing, key=glance)
    return Question(
        call=_short(seen.inputs[best].call), likeliest=_short(ours[best].text), other=_short(theirs[best].text)
    )


def _short(text: str) -> str:
    return text if len(text) <= 2 * SHORT else text[: 2 * SHORT] + "…"


def weigh(clusters: Sequence[Cluster], seen: Behaviour) -> None:
    """Give each cluster its confidence: how often the first of a list with such evidence was right, the rest shared."""
    standing = [cluster for cluster in clusters if cluster.patches and cluster.correct is not False]
    for cluster in clusters:
        cluster.confidence = 0.0
    if not standing:
        return
    total = sum(cluster.weight for cluster in standing)
    calls = min(MOST_CALLS, sum(given.seen for given in seen.inputs))
    several = len(standing[0].patches[0].changes) > 1
    share = standing[0].weight / total if total else 1.0
    constant, by_share, by_calls, by_edits = CERTAINTY
    certainty = constant + by_share * share + by_calls * math.log1p(calls) + by_edits * several
    first = min(MOST_CERTAIN, 1 / (1 + math.exp(-certainty)))
    rest = total - standing[0].weight
    for cluster in standing:
        part = first if cluster is standing[0] else (1 - first) * cluster.weight / rest if rest else 0.0
        cluster.confidence = round(part, 3)
