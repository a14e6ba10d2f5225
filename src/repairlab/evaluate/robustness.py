"""robustness: inputs near those of the tests, on which a patch raises where the code before it did not.

The calls that the tests make are varied, each argument within its type, and so is what they do with an object: the
arguments that it is made of, those of its methods, and their order. Both versions are called with the same
objects, in the sandbox of the search (`trial.probes`). The reference is the code before the patch: what raised there
may raise. What cannot be run so (a patch of module-level code, a bundle without a patch) has no inputs and is not held
against anybody. All of it is a hint, and weighs as little: the code under test says itself what it did.
"""

import difflib
from collections.abc import Iterator, Sequence

from repairlab.trial.probes import Behaviour, observe
from repairlab.trial.source import Edit, Source
from repairlab.trial.validation import Server, ServerLost, Setup

COLLECT_SHARE = 0.3  # of the wall time
TROUBLE = ("raises ", "never ends", "ends its process")


def robustness(setup: Setup, edits: Sequence[Edit]) -> tuple[float, int]:
    """Return the share of generated inputs that bring no new trouble, and how many there were; (1.0, 0) for none."""
    if not edits:
        return 1.0, 0
    try:
        with Server(setup, setup.limits.wall_s) as server:
            seen = _observed(server, list(edits), setup.limits.wall_s)
    except ServerLost:
        return 1.0, 0
    ours, before = seen.of(0), seen.of(1)
    if ours is None or before is None:
        return 1.0, 0
    pairs = zip(ours, before, seen.inputs, strict=True)
    fair = [(new.text, old.text) for new, old, given in pairs if not given.seen]
    worse = sum(new.startswith(TROUBLE) and not old.startswith(TROUBLE) for new, old in fair)
    return (round(1 - worse / len(fair), 6) if fair else 1.0), len(fair)


def _observed(server: Server, edits: list[Edit], wall_s: float) -> Behaviour:
    found = server.collect(COLLECT_SHARE * wall_s)
    if found.errors or found.lost or found.missing or not found.ids:
        return Behaviour()
    plain = server.baseline(
        range(len(found.ids)), limit_s=10.0, wall_s=COLLECT_SHARE * wall_s, trace=False, plain=False
    )
    if plain.lost or plain.missing:
        return Behaviour()
    tests = [server.test_run(found.ids, test) for test in sorted(plain.tests, key=lambda test: test.index)]
    order = sorted(range(len(tests)), key=lambda index: (tests[index].outcome == "hang", tests[index].cpu_s, index))
    return observe(server, tests, order, [edits, []], stories=True)


def edits_of(source: Source, after: bytes) -> Iterator[Edit]:
    """Yield the edits, by whole lines, that make of a source what it became."""
    old = source.text.splitlines(keepends=True)
    new = after.decode(source.encoding).splitlines(keepends=True)
    starts = [0]
    for line in old:
        starts.append(starts[-1] + len(line))
    for kind, first, last, begin, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "equal":
            yield Edit(source.path, starts[first], starts[last], "".join(new[begin:end]))
