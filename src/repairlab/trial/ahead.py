"""ahead: a sandbox that is started while something else is done, and is there when it is wanted.

    ahead = Ahead(lambda: sandbox.start(…))
    …                                   # meanwhile
    confined = ahead.take()             # None where there is none that runs: start one, and hear why
    ahead.close()                       # once that has been ended; nothing is left, whether it was taken or not

It holds nothing of a bundle: the program waits for its first request. The thread stays until `close`, for bubblewrap
ends a sandbox with the thread that started it (prctl(2), PR_SET_PDEATHSIG).
"""

import threading
from collections.abc import Callable

from repairlab.errors import RepairLabError
from repairlab.sandbox import Confined

CLOSE_S = 3.0  # less than an agent has between SIGTERM and SIGKILL


class Ahead:
    """One sandbox on its way."""

    def __init__(self, start: Callable[[], Confined]) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._confined: Confined | None = None
        self._closed = False
        self._there, self._over = threading.Event(), threading.Event()
        try:
            threading.Thread(target=self._run, name="ahead", daemon=True).start()
        except RuntimeError:  # of threads there are none left: no reason to end what is done meanwhile
            self._there.set()

    def _run(self) -> None:
        try:
            confined = self._start()
        except (RepairLabError, OSError):
            return
        else:
            with self._lock:
                unwanted = self._closed
                self._confined = None if unwanted else confined
            if unwanted:
                confined.kill()
                confined.stream.close()
        finally:
            self._there.set()
        self._over.wait()

    def take(self) -> Confined | None:
        """Return the sandbox as soon as it stands, once; it is the caller's from then on.

        One that was ended while it waited (by the OOM killer, or by an operator) says nothing about a patch: None.
        """
        self._there.wait()
        with self._lock:
            taken, self._confined = self._confined, None
        if taken is None or taken.wait(0) is None:
            return taken
        taken.stream.close()
        return None

    def close(self) -> None:
        """End what was not taken, and return when nothing is left: a start that is in flight is waited for.

        After `CLOSE_S` seconds it is left to the thread, or to the kernel where this process ends before it stands.
        """
        with self._lock:
            self._closed = True
            left, self._confined = self._confined, None
        if left is not None:
            left.kill()
            left.stream.close()
        self._over.set()
        self._there.wait(CLOSE_S)
