"""comparison: which of two is quicker or smaller, beyond noise.

Measurements come in interleaved pairs, so that what else the machine does meets both. The ratio of a pair is what
counts: its median, and the interval of that median between two of the ordered ratios that the sign test gives (H. David
and H. Nagaraja, "Order Statistics", section 7.1). It holds for whatever the noise looks like, and for few pairs, of
which a bootstrap is far too sure. T. Kalibera and R. Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013, are
on pairs and ratios.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.99
LEAST_PAIRS = 8  # of fewer no interval is so certain
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


def compared(pairs: Sequence[tuple[float, float]]) -> Ratio:
    """Return the ratio of (challenger, champion) pairs of one unit, all above 0."""
    ratios = sorted(challenger / champion for challenger, champion in pairs if challenger > 0 and champion > 0)
    if not ratios:
        return EQUAL
    cut = _outliers(len(ratios))
    return Ratio(statistics.median(ratios), ratios[cut], ratios[-1 - cut], len(ratios))


def _outliers(count: int) -> int:
    """Return how many of the ordered ratios may lie outside of the interval, at either end."""
    cut, outside = 0, 1  # of the 2 ** count ways in which ratios lie above or below the median, at one end
    while 2 * (outside + math.comb(count, cut + 1)) <= (1 - CONFIDENCE) * 2**count:
        cut += 1
        outside += math.comb(count, cut)
    return cut


def scores(ratio: float) -> tuple[float, float]:
    """Return (challenger, champion) scores of a proved ratio: 1 for the better one, its share for the other."""
    return (1.0, ratio) if ratio < 1 else (1 / ratio, 1.0)
