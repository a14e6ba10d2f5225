"""strangers: users who have no name on this machine."""

import os
import traceback
from collections.abc import Callable

SERVICE, ALICE, BOB = 54399, 54322, 54323


def as_user(uid: int, act: Callable[[], object]) -> None:
    """Do something as another user, in a child."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            act()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
