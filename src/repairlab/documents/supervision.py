"""supervision: what is written down about units that failed."""

from typing import Annotated

import msgspec

from repairlab.documents.wire import Count, Document, HexId, Instant, Text, matching


class JournalLine(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the journal: who said what, and how grave it was (`priority` as in syslog, 0 is the worst)."""

    at: Instant
    priority: Annotated[int, msgspec.Meta(ge=0, le=7)] | None
    source: str
    message: Text


class Escalation(Document, frozen=True, kw_only=True, omit_defaults=False):
    """A unit that has failed and is not started again at once: a person should look.

    `result`, `exit_code` (exited, killed, dumped), `exit_status` and `signal` are systemd's words; null where it told
    none. `restarts` is how often it was started again before it was given up. `journal` is what the unit, and systemd
    about it, said last, oldest first; `journal_note` says what is missing. `commands` is what to type, in this order.
    """

    at: Instant
    unit: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    manager: Annotated[str, matching(r"(system|user)")]
    result: Annotated[str, matching(r"[a-z-]{1,64}")]
    exit_code: Annotated[str, matching(r"[a-z]{1,16}")] | None
    exit_status: Annotated[int, msgspec.Meta(ge=0, le=255)] | None
    signal: Annotated[str, matching(r"[A-Z0-9+-]{1,16}")] | None
    restarts: Count | None
    boot_id: HexId | None
    invocation_id: HexId | None
    journal: Annotated[list[JournalLine], msgspec.Meta(max_length=1000)]
    journal_note: Text | None
    advice: Text
    commands: list[Text]
    schema: Annotated[str, matching(r"escalation/1")] = "escalation/1"
