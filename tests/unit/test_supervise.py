"""What is known of a failed unit, and how much of its last words is kept."""

import json
import stat
from pathlib import Path

import pytest

from repairlab.supervise import failure, tail
from repairlab.supervise.facts import Facts, gather

UNIT = "repairlab-queue-watcher.service"
BEFORE, NOW = "1" * 32, "2" * 32
MONITOR = {
    "MONITOR_UNIT": UNIT,
    "MONITOR_SERVICE_RESULT": "signal",
    "MONITOR_EXIT_CODE": "killed",
    "MONITOR_EXIT_STATUS": "KILL",
    "MONITOR_INVOCATION_ID": BEFORE,
}
SHOWN = {
    "Result": "exit-code",
    "NRestarts": "9",
    "InvocationID": NOW,
    "ExecMainCode": "1",
    "ExecMainStatus": "3",
}


@pytest.fixture
def says(tmp_path):
    """Make a program that says something and ends; its path."""

    def make(text: str, code: int = 0) -> str:
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")
        path.chmod(stat.S_IRWXU)
        return str(path)

    return make


def shown(**changed: str) -> str:
    return "\n".join(f"{name}={value}" for name, value in {**SHOWN, **changed}.items())


def test_how_it_was_at_the_moment_of_failure_wins_over_how_it_is_now(says):
    found = gather(UNIT, MONITOR, [says(shown())])
    assert (found.result, found.exit_code, found.signal, found.exit_status) == ("signal", "killed", "KILL", None)
    assert (found.invocation_id, found.restarts) == (BEFORE, 9)


def test_by_hand_the_manager_tells_all(says):
    found = gather(UNIT, {}, [says(shown())])
    assert (found.result, found.exit_code, found.exit_status, found.signal) == ("exit-code", "exited", 3, None)
    assert (found.invocation_id, found.restarts, found.failed) == (NOW, 9, True)


def test_what_is_told_of_another_unit_is_not_believed(says):
    assert gather(UNIT, {**MONITOR, "MONITOR_UNIT": "other.service"}, [says(shown())]).result == "exit-code"


def test_the_managers_number_of_a_signal_gets_its_name(says):
    assert gather(UNIT, {}, [says(shown(ExecMainCode="2", ExecMainStatus="9"))]).signal == "KILL"
    assert gather(UNIT, {}, [says(shown(ExecMainCode="2", ExecMainStatus="40"))]).signal is None


@pytest.mark.parametrize("text", ["Failed to connect to bus: Permission denied", ""])
def test_without_the_bus_the_environment_is_enough(says, text):
    found = gather(UNIT, MONITOR, [says(text, 1)])
    assert (found.result, found.signal, found.invocation_id, found.restarts) == ("signal", "KILL", BEFORE, None)


def test_without_anybody_who_tells_it_is_a_failure_of_unknown_kind(tmp_path):
    found = gather(UNIT, {}, [str(tmp_path / "no-such-program")])
    assert (found.result, found.failed, found.exit_status, found.invocation_id) == ("unknown", True, None, None)


@pytest.mark.parametrize("name", ["x", "x.y", "../x.service", "a/b.service", ".service", "x.service\n", "é.service"])
def test_what_cannot_be_a_unit_is_no_file_name(name):
    assert not failure.UNIT.fullmatch(name)


@pytest.mark.parametrize("name", [UNIT, "a@b.service", "repairlab-sandbox@3-12-0.service", "x\\x2dy.socket"])
def test_what_systemd_calls_a_unit_is_one(name):
    assert failure.UNIT.fullmatch(name)


def facts(**changed) -> Facts:
    known = {"result": "exit-code", "exit_code": "exited", "exit_status": 1, "signal": None, "restarts": 0}
    return Facts(unit=UNIT, invocation_id=NOW, **{**known, **changed})


def test_the_advice_tells_what_lasts_from_what_comes_back():
    assert "`repairlab config check`" in failure.advice(facts(exit_status=78))
    assert "times: 9" in failure.advice(facts(restarts=9))
    assert "times" not in failure.advice(facts())
    assert "memory" in failure.advice(facts(result="oom-kill", exit_code="killed", exit_status=None))
    assert "something-new" in failure.advice(facts(result="something-new"))


@pytest.mark.parametrize("changed", [{"exit_status": 78}, {"result": "signal", "exit_status": None}])
def test_the_advice_tells_whether_it_is_started_once_more(says, changed):
    told = shown(OnFailure=f"repairlab-failure@{UNIT}.service repairlab-revive@repairlab-queue-watcher.timer")
    assert gather(UNIT, {}, [says(told)]).revived
    assert not gather(UNIT, {}, [says(shown(OnFailure=f"repairlab-failure@{UNIT}.service"))]).revived
    assert "in an hour, and so on until somebody stops it" in failure.advice(facts(revived=True, **changed))
    assert "again" not in failure.advice(facts(**changed))


def test_the_commands_are_for_the_manager_that_was_asked():
    at = Path("/state/escalations/x.json")
    assert f"systemctl --user reset-failed {UNIT}" in failure.commands(facts(), at, ["systemctl", "--user"])
    assert failure.commands(facts(), at, ["systemctl"])[-1] == f"rm {at}"


def entry(message: object, **fields: object) -> dict:
    return {"__REALTIME_TIMESTAMP": "1795269361577659", "PRIORITY": "6", "MESSAGE": message, **fields}


def bounded(*entries: dict) -> tail.Tail:
    return tail._bounded(list(tail._parsed("\n".join(json.dumps(item) for item in entries).encode())), None)


def test_the_newest_entry_comes_last_with_its_instant_and_its_source():
    lines = bounded(entry("second", SYSLOG_IDENTIFIER="watcher"), entry("first", _COMM="sh", PRIORITY="x")).lines
    assert [(line.message, line.source, line.priority) for line in lines] == [
        ("first", "sh", None),
        ("second", "watcher", 6),
    ]
    assert lines[0].at.isoformat() == "2026-11-21T13:56:01.577659+00:00"


@pytest.mark.parametrize(
    ("message", "text"),
    [([104, 105, 255], "hi�"), (["one", "two"], "one"), (None, ""), ("\ud800", "?"), ([300], ""), ({}, "")],
)
def test_whatever_a_unit_wrote_becomes_text(message, text):
    (line,) = bounded(entry(message)).lines
    assert line.message == text


def test_what_a_unit_quotes_cannot_drive_a_terminal():
    (line,) = bounded(entry("\x1b]0;x\x07 a\tb\nc \u202e", SYSLOG_IDENTIFIER="\x1b[1m")).lines
    assert line.message == "\\x1b]0;x\\x07 a\tb\nc \\u202e"
    assert line.source == "\\x1b[1m"


def test_a_long_entry_is_cut_between_characters():
    (line,) = bounded(entry("ä" * tail.ENTRY_BYTES)).lines
    assert line.message == "ä" * (tail.ENTRY_BYTES // 2) + " …"


def test_of_a_flood_the_newest_is_kept_and_the_cut_is_told():
    flood = [entry(f"{number:04}" + "x" * 2000) for number in range(200)]
    found = bounded(*flood)
    assert found.lines[-1].message.startswith("0000")
    assert sum(len(line.message) for line in found.lines) <= tail.BYTES
    assert "KiB" in (found.note or "")
    assert "200 entries" in (bounded(*[entry("x")] * 200).note or "")


def test_an_output_that_was_cut_off_loses_its_last_line_only():
    raw = json.dumps(entry("whole")).encode() + b"\n" + b'{"MESSAGE": "hal'
    assert [item["MESSAGE"] for item in tail._parsed(raw)] == ["whole"]


def test_it_waits_for_the_managers_word_about_this_very_failure():
    failed = {"MESSAGE_ID": tail.UNIT_FAILED, "INVOCATION_ID": NOW}
    assert tail._settled([entry("x"), entry("failed", **failed)], NOW)
    assert not tail._settled([entry("x"), entry("failed", **failed)], BEFORE)
    assert not tail._settled([entry("x")], None)


def test_a_silent_journal_is_told_and_not_taken_for_a_silent_unit():
    assert bounded().note
    assert not bounded(entry("x")).note
