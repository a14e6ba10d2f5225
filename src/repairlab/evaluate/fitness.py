"""fitness: one number a contestant, from parts that each mean something by itself.

    fitness = stability × Σ weight × part        0 where a test fails

Parts are 0 to 1: correctness is the share of all tests that pass; safety what the static findings and the sandbox leave
of 1; performance compares with the other contestant (the quicker one has 1); robustness is the share of generated
inputs that raise nothing new; documentation how much is documented, and truly. Stability is the share of shuffled runs
that came out as they should.
"""

from collections.abc import Mapping

from repairlab.documents import Components

PARTS = ("correctness", "safety", "performance", "robustness", "documentation")
AT_MOST = ("median_ms", "benchmark_ms")  # targets that are bounds from above; the others are from below
MAX_NAME = 60  # characters of a target's name that are told
LEAST_GAIN = 0.001  # of fitness: less is rounding


def fitness(parts: Components, weights: Mapping[str, float]) -> float:
    """Return the fitness, 0 to 1; `weights` need not add up to 1."""
    if parts.correctness < 1:
        return 0.0
    total = sum(weights[name] for name in PARTS)
    value: float = sum(weights[name] * getattr(parts, name) for name in PARTS) / total
    return round(min(1.0, value * parts.stability), 6)


def better(challenger: float, champion: float) -> bool:
    """Whether a fitness beats another; what is noise must have been taken out of both before."""
    return challenger - champion >= LEAST_GAIN


def missed(targets: Mapping[str, float], measured: Mapping[str, float | None]) -> list[str]:
    """Return what to say of each target that was not reached, or that nothing measures."""
    found = ((name[:MAX_NAME], wanted, measured.get(name)) for name, wanted in targets.items())
    return [told for each in found if (told := _missed(*each))]


def _missed(name: str, wanted: float, found: float | None) -> str:
    if found is None:
        return f"{name}: not measured"
    if name in AT_MOST:
        return f"{name} is {found:g}, not at most {wanted:g}" if found > wanted else ""
    return f"{name} is {found:g}, not at least {wanted:g}" if found < wanted else ""
