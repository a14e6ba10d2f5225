"""watch.timers: what is to be done every so often."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Timer:
    interval_s: float
    act: Callable[[], None]
    due: float


class Timers:
    """A handful of periodic actions, run by the loop."""

    def __init__(self) -> None:
        self._timers: list[_Timer] = []

    def every(self, interval_s: float, act: Callable[[], None]) -> None:
        """Run `act` at the next turn of the loop and then every so often."""
        self._timers.append(_Timer(interval_s, act, float("-inf")))

    def next(self) -> float:
        """Return when the next one is due."""
        return min((timer.due for timer in self._timers), default=time.monotonic() + 1.0)

    def run(self, now: float) -> None:
        """Run what is due. One that comes late is not made up for."""
        for timer in self._timers:
            if now >= timer.due:
                timer.due = now + timer.interval_s
                timer.act()
