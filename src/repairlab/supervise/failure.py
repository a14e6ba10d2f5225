"""repairlab-failure: write down that a unit has failed, for the person who reads it in the morning.

    repairlab-failure [--user] [--boot-id ID] [--root DIR] UNIT

Started by systemd (OnFailure=repairlab-failure@%n.service) when a unit is not started again: it failed in a way that
trying again does not mend, or too often. One document an invocation of the unit that failed:
<root>/escalations/UNIT-INVOCATION.json (where nobody tells the invocation, UNIT-INSTANT.json), in the format of
escalation.schema.json: how it ended, how often it was restarted, what the journal has of its last words, what to do and
the commands for it. A document is complete and durable before it has its name, is never written a second time, and is
open until somebody removes the file; repairlab-cleanup does it after cleanup.escalations_days. `repairlab doctor` and
`repairlab status` name the open ones.

By hand, about a unit that has not failed, it writes nothing and answers 1.

Exit: 0 written, or written before · 1 the unit has not failed · 64 usage · 75 the disk is full: again later.
"""

import argparse
import os
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from repairlab.commandline import Parser
from repairlab.errors import NegativeAnswer

if TYPE_CHECKING:
    from repairlab.supervise.facts import Facts

PROGRAM = "repairlab-failure"
KINDS = "service|socket|timer|path|mount|target|slice|scope"
UNIT = re.compile(
    rf"(?!\.)[A-Za-z0-9:_.@\\-]{{1,190}}\.({KINDS})"
)  # systemd.unit(5), bounded so that file names hold it

# What to do, by systemd's word for the result.
ADVICE = {
    "exit-code": "Read in the journal below why it ended.",
    "signal": "A signal ended it: the kernel (out of memory, a bug) or somebody on this machine.",
    "core-dump": "It crashed: `coredumpctl info` may say where. Please report it.",
    "watchdog": "It hung: no sign of life within WatchdogSec. A disk that does not answer is the usual cause.",
    "oom-kill": "The kernel killed it for lack of memory. Lower watcher.concurrency or agent.memory_mb.",
    "timeout": "It took too long to start or to stop. A disk that does not answer is the usual cause.",
    "start-limit-hit": "It was started too often in a short time.",
    "resources": "systemd could not set it up: no memory, no processes, or a directory that it may not use.",
}
ONCE_MORE = "It is started again, not at once but in an hour, and so on until somebody stops it."
LASTING = {
    64: "Its command line is wrong: `systemctl cat` shows it.",
    65: "Its input is unusable: the journal below names it.",
    78: "Its configuration is wrong: `repairlab config check` names file, line and fix.",
}


def parser() -> Parser:
    """Return the command line, for the man page too."""
    made = Parser(PROGRAM, "Write down that a unit has failed, for a person to read.")
    made.add_argument("unit", metavar="UNIT", type=_unit, help="the unit that failed, with its suffix")
    made.add_argument("--user", action="store_true", help="it is a unit of this user's own manager")
    made.add_argument("--boot-id", metavar="ID", type=_boot_id, help="this boot, where /proc does not tell it")
    return made


def _unit(text: str) -> str:
    if not UNIT.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a unit; write it with its suffix, like x.service")
    return text


def _boot_id(text: str) -> str:
    found = text.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{32}", found):
        raise argparse.ArgumentTypeError(f"{text!r} is not 32 hex digits, as in /proc/sys/kernel/random/boot_id")
    return found


def main(argv: Sequence[str]) -> int:
    """Write down one failure."""
    options = parser().read(argv)
    from repairlab import config, journal
    from repairlab.supervise.facts import gather

    journal.configure(PROGRAM)
    manager = ["systemctl", *(["--user"] if options.user else [])]
    facts = gather(options.unit, os.environ, manager)
    if not facts.failed:
        raise NegativeAnswer(f"{options.unit} has not failed", fix="there is nothing to write down")
    boot_id = options.boot_id or _this_boot()
    directory = config.escalations_dir(config.root().absolute())
    # Of two failures without an invocation nobody can tell that they are one: each is written down.
    which = facts.invocation_id or f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    path = directory / f"{facts.unit}-{which}.json"
    if path.exists():
        journal.say(f"{facts.unit}: written down before, in {path}")
        return os.EX_OK
    _publish(path, _document(facts, boot_id, path, manager))
    journal.event(
        journal.Event.UNIT_ESCALATED,
        f"{facts.unit} failed ({facts.result}): see {path}",
        priority=journal.Priority.ERROR,
        FAILED_UNIT=facts.unit,
        FAILED_INVOCATION_ID=facts.invocation_id,
        RESULT=facts.result,
        ESCALATION=path,
    )
    return os.EX_OK


def _this_boot() -> str | None:
    from repairlab.process import boot_id

    with suppress(OSError):  # ProcSubset=pid hides it
        return boot_id().replace("-", "")
    return None


def _document(facts: "Facts", boot_id: str | None, path: Path, manager: Sequence[str]) -> bytes:
    from repairlab.documents import Escalation, encode
    from repairlab.supervise import tail

    user = "--user" in manager
    read = tail.read(facts.unit, user=user, boot_id=boot_id, invocation_id=facts.invocation_id)
    return encode(
        Escalation(
            at=datetime.now(UTC),
            unit=facts.unit,
            manager="user" if user else "system",
            result=facts.result,
            exit_code=facts.exit_code,
            exit_status=facts.exit_status,
            signal=facts.signal,
            restarts=facts.restarts,
            boot_id=boot_id,
            invocation_id=facts.invocation_id,
            journal=read.lines,
            journal_note=read.note,
            advice=advice(facts),
            commands=commands(facts, path, manager),
        )
    )


def advice(facts: "Facts") -> str:
    """Return what a person makes of it."""
    once_more = f" {ONCE_MORE}" if facts.revived else ""
    if facts.exit_code == "exited" and facts.exit_status in LASTING:
        return f"{LASTING[facts.exit_status]} Mend it, then start it.{once_more}"
    often = f"Started again without lasting, times: {facts.restarts}. " if facts.restarts else ""
    return often + ADVICE.get(facts.result, f"systemd calls it {facts.result}.") + once_more


def commands(facts: "Facts", path: Path, manager: Sequence[str]) -> list[str]:
    """Return what to type, in this order; the last one closes the escalation."""
    systemctl, unit = " ".join(manager), shlex.quote(facts.unit)
    journalctl = f"journalctl --user-unit={unit}" if "--user" in manager else f"journalctl --unit={unit}"
    return [
        f"{systemctl} status {unit}",
        f"{journalctl} --boot --catalog",
        "repairlab doctor",
        f"{systemctl} reset-failed {unit}",
        f"{systemctl} start {unit}",
        f"rm {shlex.quote(str(path))}",
    ]


def _publish(path: Path, document: bytes) -> None:
    """Make the document durable under its name, readable for whoever may enter the directory."""
    from repairlab.spool.disk import Disk, trouble

    os.umask(0o022)  # its unit's would keep the file to the service; who may read is the directory's to say
    disk = Disk()
    with trouble("write the escalation"):
        os.makedirs(path.parent, mode=0o750, exist_ok=True)
        disk.replace("escalation", str(path), document, sync=True)
        disk.sync_directory("escalation.directory", str(path.parent))
        disk.sync_directory("escalation.root", str(path.parent.parent))
