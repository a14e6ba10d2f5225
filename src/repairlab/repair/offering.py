"""offering: which plausible patches are offered: those that the guard against overfitting has nothing against."""

from collections.abc import Sequence

from repairlab.repair.ranking import Plausible
from repairlab.trial.bundle import Bundle
from repairlab.trial.overfitting import Guard
from repairlab.trial.probes import Behaviour

LEAST_NEIGHBOURS = 10  # derived inputs before behaviour tells a special case


def offered(bundle: Bundle, patches: Sequence[Plausible]) -> list[Plausible]:
    """Return the patches that nothing speaks against, in order."""
    guard = Guard(bundle)
    return [patch for patch in patches if guard.objection(patch.edits) is None]


def special(bundle: Bundle, patches: Sequence[Plausible], seen: Behaviour) -> set[int]:
    """Return the numbers of patches that compare with tests' inputs and change nothing beyond these inputs."""
    original = seen.of(len(patches))
    derived = [index for index, given in enumerate(seen.inputs) if not given.seen]
    if original is None or len(derived) < LEAST_NEIGHBOURS:
        return set()
    guard, found = Guard(bundle), set()
    for number, patch in enumerate(patches):
        outcomes = seen.of(number)
        same = outcomes is not None and all(outcomes[i].checksum == original[i].checksum for i in derived)
        if same and guard.compares(patch.edits):
            found.add(number)
    return found
