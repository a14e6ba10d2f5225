"""clusters: plausible patches that behave alike on every input that was tried are one.

A cluster is as likely as its likeliest patch. Inputs on which the bundle as it came and most patches raise an exception
are left out: there the code was never meant to work, and patches differ in how they fail. What could not be run is a
cluster by itself.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from repairlab.documents import Question
from repairlab.repair.probes import Behaviour, Outcome
from repairlab.repair.ranking import Plausible

SHORT = 120  # characters of a call, and of a result, that a person reads at a glance
BROKEN = ("raises ", "never ends", "ends ")
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


def singly(patches: Sequence[Plausible]) -> list[Cluster]:
    """Return each patch as a cluster of its own: nothing is known of what they do."""
    return [Cluster([patch]) for patch in patches]


def clustered(patches: Sequence[Plausible], seen: Behaviour) -> list[Cluster]:
    """Return the clusters in the order of their best patches; `seen` knows patches by number, the bundle comes last."""
    telling = within(seen, len(patches))
    groups: dict[tuple[str, ...], Cluster] = {}
    for number, patch in enumerate(patches):
        outcomes = seen.of(number)
        key = (f"alone {number}",) if outcomes is None else tuple(outcomes[index].checksum for index in telling)
        if key in groups:
            groups[key].patches.append(patch)
            groups[key].size += 1
        else:
            groups[key] = Cluster([patch], outcomes, telling)
    return list(groups.values())


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
    differing = [index for index in known[0].telling if ours[index].checksum != theirs[index].checksum]
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


def agreement(clusters: Sequence[Cluster]) -> float:
    """Return the share of all plausible patches that behave as the first cluster does."""
    sizes = Counter({id(cluster): cluster.size for cluster in clusters})
    return clusters[0].size / sizes.total() if clusters else 0.0
