"""probes: what patches do on inputs that the tests never gave, as the server in the sandbox tells it.

All of it is a hint. A patch can lie about itself here; what it gains is a better place in a list and more confidence,
up to a bound, never `ok`.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from repairlab.documents import matching
from repairlab.trial.source import Edit
from repairlab.trial.testrun import TestRun
from repairlab.trial.validation import Server, ServerLost, by_path

MAX_PATCHES = 60
TESTS_S = 1.0  # CPU seconds of tests that are run for their calls
CALL_S = 0.05  # CPU that one call may use, at most
CAPTURE_S = 3.0  # for the run of the tests and the derivation of inputs
PROBE_CPU_S = 1.5  # CPU of all calls of all patches
PROBE_S = 6.0  # wall time for all

Text = Annotated[str, msgspec.Meta(max_length=4000)]
Checksum = Annotated[str, msgspec.Meta(max_length=16)]
Number = Annotated[str, matching(r"[0-9]+", max_length=6)]


class Outcome(msgspec.Struct, array_like=True, frozen=True):
    """What one patch does on one input: equal checksums mean equal behaviour, `text` is for people."""

    checksum: Checksum
    text: Text


class Input(msgspec.Struct, array_like=True, frozen=True):
    """One call, as source text; `seen` where a test makes it."""

    call: Text
    seen: bool


class Behaviour(msgspec.Struct, frozen=True):
    """The inputs, and by the number of each patch its outcomes on them; a patch that could not be run is not there."""

    inputs: Annotated[list[Input], msgspec.Meta(max_length=1000)] = []
    patches: Annotated[dict[Number, list[Outcome]], msgspec.Meta(max_length=1000)] = {}
    lost: Text = ""

    def of(self, number: int) -> list[Outcome] | None:
        """Return the outcomes of one patch, on every input, or None."""
        found = self.patches.get(str(number))
        return found if found is not None and len(found) == len(self.inputs) else None


def observe(
    server: Server,
    tests: Sequence[TestRun],
    order: Sequence[int],
    patches: Sequence[Sequence[Edit]],
    *,
    wall_s: float = PROBE_S,
    seed: int = 0,
    stories: bool = False,
) -> Behaviour:
    """Return what the patches do; an empty one is the bundle as it came. Nothing is known of what cannot be run.

    `stories`: also in what tests do with whole objects, varied.
    """
    chosen: list[int] = []
    spent = 0.0
    for index in order:
        spent += tests[index].cpu_s if tests[index].outcome != "hang" else 0.0
        if spent > TESTS_S and chosen:
            break
        chosen.append(index)
    request = {"op": "behave", "batch": [by_path(edits) for edits in patches], "order": chosen, "seed": seed}
    request["stories"] = stories
    request |= {"call_s": CALL_S, "cpu_s": PROBE_CPU_S, "wall_s": wall_s, "step_s": min(wall_s, CAPTURE_S + wall_s / 2)}
    try:
        return server.ask(request, Behaviour, 2 * wall_s)  # the server itself gives up after 1.5
    except ServerLost:
        return Behaviour()
