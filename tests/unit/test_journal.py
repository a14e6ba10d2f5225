"""journal: entries as a real datagram socket receives them, lines as a person reads them, words to the manager."""

import contextlib
import io
import logging
import os
import re
import socket
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from repairlab import journal
from repairlab.journal import Event

CATALOG = Path(__file__).parents[2] / "systemd" / "repairlab.catalog"


class Journald:
    """The receiving half of the native protocol, on a socket of our own."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(5)

    def entry(self) -> dict[str, str]:
        return parsed(self.socket.recv(1 << 20))


def parsed(raw: bytes) -> dict[str, str]:
    """Parse as JOURNAL_NATIVE_PROTOCOL.md describes."""
    fields = {}
    while raw:
        head, _, raw = raw.partition(b"\n")
        key, equals, value = head.partition(b"=")
        if not equals:
            (size,) = struct.unpack_from("<Q", raw)
            value, raw = raw[8 : 8 + size], raw[8 + size + 1 :]
        fields[key.decode()] = value.decode("utf-8", "surrogateescape")
    return fields


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    receiver = Journald(tmp_path / "socket")
    with contextlib.closing(receiver.socket):
        yield receiver


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before = (journal._State.backend, journal._State.program, root.handlers, root.level)
    yield
    if isinstance(journal._State.backend, journal.Native):
        journal._State.backend.close()
    journal._State.backend, journal._State.program, root.handlers = before[:3]
    root.setLevel(before[3])


def test_an_event_carries_its_message_id_and_the_fields_of_its_job(journald: Journald) -> None:
    journal.configure("repairlab-queue-watcher", journal.Native(journald.path))
    journal.event(Event.JOB_CLAIMED, "claimed", JOB_ID="ab12", LINEAGE="uid-0", ATTEMPT=2, OUTCOME=None)
    assert journald.entry() == {
        "MESSAGE": "claimed",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "repairlab-queue-watcher",
        "MESSAGE_ID": Event.JOB_CLAIMED.value,
        "JOB_ID": "ab12",
        "LINEAGE": "uid-0",
        "ATTEMPT": "2",
    }


@pytest.mark.parametrize("message", ["two\nlines", "a\n\nMESSAGE_ID=forged\n", "\n", "tail\n", "=", "\udcff bytes"])
def test_a_value_with_line_breaks_arrives_unchanged_and_forges_no_field(journald: Journald, message: str) -> None:
    journal.configure("x", journal.Native(journald.path))
    journal.say(message)
    assert journald.entry() == {"MESSAGE": message, "PRIORITY": "6", "SYSLOG_IDENTIFIER": "x"}


def test_an_entry_too_large_for_a_datagram_travels_as_a_sealed_file(journald: Journald) -> None:
    backend = journal.Native(journald.path)
    backend._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    journal.configure("x", backend)
    journal.say("m" * 100_000)
    datagram, fds, _, _ = socket.recv_fds(journald.socket, 1 << 20, 1)
    assert (datagram, len(fds)) == (b"", 1)
    with open(fds[0], "rb") as file:
        with pytest.raises(PermissionError):
            os.pwrite(fds[0], b"x", 0)  # journald refuses a file that its sender can still change
        file.seek(0)
        assert parsed(file.read())["MESSAGE"] == "m" * 100_000


def test_a_missing_journal_costs_entries_and_the_next_one_says_how_many(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    journal.configure("x", journal.Native(str(path)))
    journal.say("nobody listens")
    journal.say("still nobody")
    receiver = Journald(path)
    with contextlib.closing(receiver.socket):
        journal.say("hello")
        assert receiver.entry()["REPAIRLAB_DROPPED"] == "2"
        journal.say("again")
        assert "REPAIRLAB_DROPPED" not in receiver.entry()


def test_a_journal_that_does_not_read_never_blocks_the_writer(journald: Journald) -> None:
    journal.configure("x", journal.Native(journald.path))
    for _ in range(2000):  # far beyond net.unix.max_dgram_qlen; the test's deadline is the assertion
        journal.say("y" * 1000)
    assert journald.entry()["MESSAGE"] == "y" * 1000


def test_a_line_cannot_be_forged_nor_drive_a_terminal() -> None:
    stream = io.StringIO()
    journal.configure("x", journal.Lines(stream))
    journal.event(Event.JOB_REJECTED, "bad\nx: ok \x1b[2J\u202e\udcff", JOB_ID="ab", OUTCOME="rejected")
    assert stream.getvalue() == "x: bad\\nx: ok \\x1b[2J\\u202e\\udcff [JOB_ID=ab OUTCOME=rejected]\n"


def test_a_closed_stream_is_no_reason_to_fail() -> None:
    stream = io.StringIO()
    stream.close()
    journal.configure("x", journal.Lines(stream))
    journal.say("unheard")


def test_the_journal_is_chosen_only_where_stderr_is_connected_to_it() -> None:
    status = os.fstat(2)
    assert journal.stderr_is_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    for other in ("", "1", "x:y", f"{status.st_dev}:{status.st_ino + 1}"):
        assert not journal.stderr_is_journal({"JOURNAL_STREAM": other})
    assert not journal.stderr_is_journal({})
    assert journal.choose(to_journal=False).name == "stderr"
    assert journal.installed() in ("systemd-python", "native")


def test_what_libraries_log_becomes_an_entry(journald: Journald) -> None:
    journal.configure("x", journal.Native(journald.path))
    logging.getLogger("watchdog").warning("lost %d", 3)
    assert journald.entry() == {"MESSAGE": "lost 3", "PRIORITY": "4", "SYSLOG_IDENTIFIER": "x", "LOGGER": "watchdog"}
    logging.getLogger("watchdog").info("chatter")
    journal.say("end")
    assert journald.entry()["MESSAGE"] == "end"


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_hears_what_it_is_told(tmp_path: Path, abstract: bool) -> None:
    name = f"repairlab-{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if abstract else str(tmp_path / "notify"))
        environ = {"NOTIFY_SOCKET": f"@{name}" if abstract else str(tmp_path / "notify")}
        assert journal.notify("READY=1\nSTATUS=2 running", environ)
        assert manager.recv(4096) == b"READY=1\nSTATUS=2 running"


@pytest.mark.parametrize("address", ["", "relative", "/nonexistent/notify", "vsock:2:1"])
def test_nobody_to_notify_is_not_an_error(address: str) -> None:
    assert not journal.notify("READY=1", {"NOTIFY_SOCKET": address})


def test_the_watchdog_is_fed_twice_in_its_limit_and_only_by_its_addressee() -> None:
    assert journal.watchdog_interval({"WATCHDOG_USEC": "30000000"}) == 15.0
    assert journal.watchdog_interval({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}) == 15.0
    for environ in ({}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}):
        assert journal.watchdog_interval(environ) is None


def test_every_event_stands_in_the_catalog_and_nothing_else_does() -> None:
    text = CATALOG.read_text()
    assert re.findall(r"^-- ([0-9a-f]{32})$", text, re.MULTILINE) == [event.value for event in Event]
    assert len(set(Event)) == len(Event.__members__)


def test_every_catalog_entry_has_a_subject_and_says_what_to_do() -> None:
    for entry in re.split(r"^-- [0-9a-f]{32}\n", CATALOG.read_text(), flags=re.MULTILINE)[1:]:
        head, _, body = entry.partition("\n\n")
        assert re.search(r"^Subject: \S", head, re.MULTILINE), entry
        assert body.strip().endswith("."), entry


def test_a_status_that_names_a_path_that_is_not_utf8_does_not_raise(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        assert journal.notify("STATUS=/srv/\udcff is full", {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(100) == b"STATUS=/srv/\\udcff is full"
