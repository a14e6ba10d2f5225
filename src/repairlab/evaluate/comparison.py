"""comparison: which of two is quicker or smaller, beyond noise.

Measurements come in interleaved pairs, so that what else the machine does meets both. The ratio of a pair is what
counts: its median, and a percentile bootstrap interval of that median (B. Efron, 1979; T. Kalibera and R. Jones,
"Rigorous Benchmarking in Reasonable Time", ISMM 2013, on pairs and ratios). A seed makes it repeatable.
"""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 2000
CONFIDENCE = 0.99
LEAST_PAIRS = 5
LEAST_EFFECT = 0.02  # a ratio nearer to 1 is no difference, however certain


@dataclass(frozen=True, slots=True)
class Ratio:
    """Challenger to champion: the median ratio and its interval; `proved` is it where it is beyond noise, else 1."""

    median: float
    low: float
    high: float
    pairs: int

    @property
    def proved(self) -> float:
        """The ratio that may be acted upon."""
        sure = self.pairs >= LEAST_PAIRS and (self.high < 1 - LEAST_EFFECT or self.low > 1 + LEAST_EFFECT)
        return self.median if sure else 1.0


EQUAL = Ratio(1.0, 1.0, 1.0, 0)


def compared(pairs: Sequence[tuple[float, float]], seed: int = 0) -> Ratio:
    """Return the ratio of (challenger, champion) pairs of one unit, all above 0."""
    ratios = [challenger / champion for challenger, champion in pairs if challenger > 0 and champion > 0]
    if not ratios:
        return EQUAL
    chance = random.Random(seed)
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    tail = (1 - CONFIDENCE) / 2
    low, high = medians[int(tail * RESAMPLES)], medians[int((1 - tail) * RESAMPLES) - 1]
    return Ratio(statistics.median(ratios), low, high, len(ratios))


def scores(ratio: float) -> tuple[float, float]:
    """Return (challenger, champion) scores of a proved ratio: 1 for the better one, its share for the other."""
    return (1.0, ratio) if ratio < 1 else (1 / ratio, 1.0)
