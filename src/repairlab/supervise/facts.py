"""facts: how a unit failed, as the service manager tells it.

systemd 251 and later put it into the environment of a unit that OnFailure= starts ($MONITOR_SERVICE_RESULT and its
like, systemd.exec(5)), which says how it was at that moment. `systemctl show` knows the rest, the number of restarts
among it, and speaks about now; where the bus is denied or gone the rest stays unknown, and nothing fails for that.
"""

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repairlab.process import run

SHOWN = ("Result", "NRestarts", "InvocationID", "ExecMainCode", "ExecMainStatus", "ActiveState", "OnFailure")
CODES = {"1": "exited", "2": "killed", "3": "dumped"}  # CLD_EXITED, CLD_KILLED, CLD_DUMPED of <bits/siginfo-consts.h>
REVIVES = "repairlab-revive@"
ENDED_BY = 10.0  # seconds; the manager answers in milliseconds, or not at all


@dataclass(frozen=True, kw_only=True)
class Facts:
    """How a unit failed; None is what nobody told."""

    unit: str
    result: str
    exit_code: str | None
    exit_status: int | None
    signal: str | None
    restarts: int | None
    invocation_id: str | None
    revived: bool = False  # whether its failure also starts the timer that starts it once more

    @property
    def failed(self) -> bool:
        """Whether it failed at all, as far as anybody knows."""
        return self.result != "success"


def gather(unit: str, environ: Mapping[str, str], manager: Sequence[str]) -> Facts:
    """Ask the environment, and `manager` (systemctl and its options) about the rest."""
    shown = _show(unit, manager)
    told = environ if environ.get("MONITOR_UNIT") == unit else {}
    code = told.get("MONITOR_EXIT_CODE") or CODES.get(shown.get("ExecMainCode", ""), "")
    status = told.get("MONITOR_EXIT_STATUS") or _status(code, shown.get("ExecMainStatus", ""))
    return Facts(
        unit=unit,
        result=_word(r"[a-z-]{1,64}", told.get("MONITOR_SERVICE_RESULT") or shown.get("Result", "")) or "unknown",
        exit_code=_word(r"[a-z]{1,16}", code),
        exit_status=int(status) if re.fullmatch(r"\d{1,3}", status) and int(status) < 256 else None,
        signal=_word(r"[A-Z0-9+-]{1,16}", status) if not status.isdigit() else None,
        restarts=int(shown["NRestarts"]) if shown.get("NRestarts", "").isdigit() else None,
        invocation_id=_word(r"[0-9a-f]{32}", told.get("MONITOR_INVOCATION_ID") or shown.get("InvocationID", "")),
        revived=REVIVES in shown.get("OnFailure", ""),
    )


def _word(pattern: str, text: str) -> str | None:
    return text if re.fullmatch(pattern, text) else None


def _status(code: str, number: str) -> str:
    """Return what $MONITOR_EXIT_STATUS would be: an exit status, or the name of a signal without SIG."""
    if code in ("", "exited") or not number.isdigit():
        return number if code else ""
    try:
        return signal.Signals(int(number)).name.removeprefix("SIG")
    except ValueError:  # a realtime signal
        return ""


def _show(unit: str, manager: Sequence[str]) -> dict[str, str]:
    """Return the properties that the manager tells of a unit that it has loaded; none where it cannot be asked."""
    argv = [*manager, "show", unit, *(f"--property={name}" for name in SHOWN)]
    try:
        done = run(argv, timeout=ENDED_BY)
    except OSError:
        return {}
    lines = (line.partition("=") for line in done.out.decode("utf-8", "replace").splitlines())
    return {name: value for name, _, value in lines if name in SHOWN} if done.code == 0 else {}
