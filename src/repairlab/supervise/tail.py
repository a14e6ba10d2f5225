"""tail: what a unit, and the service manager about it, said last.

Read with journalctl, so that nothing here depends on the journal's format on disk. Bounded in entries, in bytes an
entry and in bytes altogether, the newest first to be kept; always valid UTF-8 without a terminal's control characters,
whatever the unit wrote.

journald takes in what PID 1 and the unit send through one socket, in order. So once PID 1's word about the failure
can be read, what the unit had sent before can be too; until then it is asked again, for a bounded time.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from repairlab.documents import JournalLine
from repairlab.process import run

ENTRIES = 200
ENTRY_BYTES = 4096
BYTES = 128 << 10
OUTPUT = 8 << 20  # journalctl's own words for so many entries; what is beyond is the oldest
ENDED_BY = 10.0
SETTLED_BY = 2.0
UNIT_FAILED = "d9b373ed55a64feb8242e02dbe79a49c"  # SD_MESSAGE_UNIT_FAILURE_RESULT of <systemd/sd-messages.h>
FIELDS = "MESSAGE,MESSAGE_ID,PRIORITY,SYSLOG_IDENTIFIER,_COMM,INVOCATION_ID,USER_INVOCATION_ID"


@dataclass(frozen=True)
class Tail:
    """The last entries, oldest first; `note` says what is missing, and why."""

    lines: list[JournalLine]
    note: str | None = None


def read(unit: str, *, user: bool, boot_id: str | None, invocation_id: str | None) -> Tail:
    """Return the end of what the journal has about a unit since this boot."""
    deadline = time.monotonic() + SETTLED_BY
    while True:
        try:
            entries, note = _entries(unit, user, boot_id)
        except OSError as error:
            return Tail([], f"journalctl could not be started: {error}")
        if note or _settled(entries, invocation_id) or time.monotonic() > deadline:
            return _bounded(entries, note)
        time.sleep(0.1)


def _entries(unit: str, user: bool, boot_id: str | None) -> tuple[list[dict[str, Any]], str | None]:
    """Return the last entries, newest first, and journalctl's trouble if it had any."""
    argv = ["journalctl", f"--{'user-' if user else ''}unit={unit}", f"--lines={ENTRIES}", "--reverse", "--all"]
    argv += ["--output=json", f"--output-fields={FIELDS}", "--no-pager", "--quiet"]
    done = run([*argv, *([f"_BOOT_ID={boot_id}"] if boot_id else [])], timeout=ENDED_BY, max_output=OUTPUT)
    if done.code != 0 or done.timed_out:
        said = done.err.decode("utf-8", "replace").strip()[:500]
        return [], f"journalctl {'took too long' if done.timed_out else f'ended with {done.code}'}: {said}"
    return list(_parsed(done.out)), None


def _parsed(out: bytes) -> Iterator[dict[str, Any]]:
    for line in out.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # the last one, cut off by our own bound
            return
        if isinstance(entry, dict):
            yield entry


def _settled(entries: Sequence[dict[str, Any]], invocation_id: str | None) -> bool:
    failures = (entry for entry in entries if entry.get("MESSAGE_ID") == UNIT_FAILED)
    told = ({entry.get("INVOCATION_ID"), entry.get("USER_INVOCATION_ID")} for entry in failures)
    return any(invocation_id is None or invocation_id in ids for ids in told)


def _bounded(entries: Sequence[dict[str, Any]], note: str | None) -> Tail:
    kept: list[JournalLine] = []
    left = BYTES
    for entry in entries:
        line = _line(entry)
        left -= len(line.message.encode())
        if left < 0:
            note = f"only the last {BYTES >> 10} KiB are kept"
            break
        kept.append(line)
    if not kept and note is None:
        note = "the journal has nothing about it that this user may read"
    elif len(kept) == ENTRIES:
        note = f"only the last {ENTRIES} entries are kept"
    return Tail(kept[::-1], note)


def _line(entry: dict[str, Any]) -> JournalLine:
    priority = _text(entry.get("PRIORITY"))
    stamp = _text(entry.get("__REALTIME_TIMESTAMP"))
    message = _printable(_text(entry.get("MESSAGE"))).encode()
    cut = message[:ENTRY_BYTES].decode("utf-8", "ignore") + (" …" if len(message) > ENTRY_BYTES else "")
    return JournalLine(
        at=datetime.fromtimestamp(int(stamp) / 1e6 if stamp.isdigit() else 0, UTC),
        priority=int(priority) if priority in set("01234567") else None,
        source=_printable(_text(entry.get("SYSLOG_IDENTIFIER") or entry.get("_COMM")))[:64],
        message=cut,
    )


def _printable(text: str) -> str:
    """Return text that cannot drive the terminal on which somebody reads it: entries quote what producers wrote."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode() for char in text
    )


def _text(value: Any) -> str:
    """Return a field: bytes that are not text come as a list of numbers, a repeated field as a list of its values."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # a lone surrogate is JSON, and no text
    if isinstance(value, list) and all(isinstance(item, int) and 0 <= item < 256 for item in value):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, list) and value:
        return _text(value[0])
    return ""
