"""How commands speak: nothing that a stranger wrote drives a terminal, tables fit both readers, one envelope."""

import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repairlab.errors import BadInput
from repairlab.operate import output, show


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make stdout a colourful terminal of 40 columns."""
    monkeypatch.setattr(output, "sys", SimpleNamespace(stdout=Terminal(), stderr=sys.stderr))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")


HOSTILE = [
    ("\x1b[2J", r"\x1b[2J"),
    ("a\rb", r"a\x0db"),
    ("\x9b31m", r"\x9b31m"),
    ("\u202egnp.exe", r"\u202egnp.exe"),
    ("\u2028", r"\u2028"),
    ("\x07\x08\x7f", r"\x07\x08\x7f"),
    ("name\udcff", r"name\xff"),
    ("ordinary – text: 日本語 ✓", "ordinary – text: 日本語 ✓"),
]


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_what_a_terminal_would_obey_is_shown_as_an_escape(text, shown):
    assert output.clean(text) == shown


def test_a_patch_keeps_its_lines_and_tabs_but_a_table_cell_does_not():
    assert output.clean("+\ta\n-b") == "+\ta\n-b"
    assert output.line("+\ta\n-b") == r"+\ta\n-b"


@given(st.text())
def test_no_text_at_all_leaves_a_control_character_in_a_table_cell(text):
    shown = output.line(text)
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in shown)
    shown.encode()  # no lone surrogates


@given(st.recursive(st.text() | st.integers(-(2**53), 2**53) | st.none(), st.lists, max_leaves=10))
def test_an_envelope_is_one_line_of_json_that_no_terminal_obeys_and_means_what_went_in(value):
    text = output.envelope("list", {"value": value})
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in text)
    assert json.loads(text)["data"] == {"value": value}


def test_an_envelope_says_ok_without_and_not_ok_with_an_error():
    good = json.loads(output.envelope("list", []))
    assert good == {"schema": "repairlab/list/1", "ok": True, "data": [], "error": None}
    bad = json.loads(output.envelope("show", None, BadInput("no", field="id", fix="look")))
    assert bad["ok"] is False
    assert bad["error"] == {"code": 65, "message": "no", "field": "id", "fix": "look"}


def test_an_envelope_of_a_bug_has_the_code_of_a_bug():
    assert json.loads(output.envelope("show", None, ZeroDivisionError("x")))["error"]["code"] == 70


def test_an_envelope_carries_paths_instants_and_names_that_are_not_utf8():
    data = {"path": Path("/a\udcff"), "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "name": "b\udcfe"}
    told = json.loads(output.envelope("show", data))["data"]
    assert told == {"path": "/a\\xff", "at": "2026-01-02T03:04:05Z", "name": "b\\xfe"}


def test_off_a_terminal_a_table_is_bare_complete_and_tab_separated(monkeypatch):
    monkeypatch.setattr(output, "sys", SimpleNamespace(stdout=io.StringIO()))
    rows = [["a", "x" * 300], ["b\tb", "\x1b["]]
    assert list(output.table(["H", "I"], rows)) == ["a\t" + "x" * 300, "b\\tb\t\\x1b["]


def test_off_a_terminal_the_first_row_is_out_before_the_second_is_made(monkeypatch):
    monkeypatch.setattr(output, "sys", SimpleNamespace(stdout=io.StringIO()))

    def rows():
        yield ["first"]
        raise AssertionError("asked for the second row")

    assert next(iter(output.table(["H"], rows()))) == "first"


def test_on_a_terminal_a_table_is_aligned_headed_and_cut_to_the_width(terminal):
    lines = list(output.table(["ID", "WHY"], [["1", "short"], ["22", "y" * 100]]))
    assert lines == ["\x1b[1mID  WHY\x1b[0m", "1   short", "22  " + "y" * 36]


def test_an_empty_table_has_no_header(terminal):
    assert list(output.table(["ID"], [])) == []


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_stay_away_where_they_are_not_wanted(terminal, monkeypatch, name, value):
    assert output.paint("x", "red") == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv(name, value)
    assert output.paint("x", "red") == "x"


def test_an_empty_no_color_is_no_wish(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "")
    assert output.paint("x", "red") == "\x1b[31mx\x1b[0m"


def test_talk_goes_to_stderr_on_one_line(capsys):
    output.say("two\nlines\x1b[0m")
    assert capsys.readouterr() == ("", "two\\nlines\\x1b[0m\n")


def test_ages_sizes_and_durations_are_told_in_their_largest_unit():
    assert [output.age(s) for s in (-5, 0, 59.9, 60, 3599, 3600, 86399, 86400 * 9)] == (
        ["0s", "0s", "59s", "1m", "59m", "1h", "23h", "9d"]
    )
    assert [output.size(n) for n in (0, 1023, 1024, 1536, 1 << 30, 1 << 50)] == (
        ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 GiB", "1024.0 TiB"]
    )
    assert [output.duration(s) for s in (0.0042, 1.25, 200)] == ["4 ms", "1.2 s", "3 min 20 s"]
    assert [output.plural(n, "job") for n in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]


def test_the_question_and_what_a_patch_is_worth_are_shown_and_nothing_in_them_obeyed():
    asked = {"call": "f(\x1b[2J1)", "likeliest": "2", "other": "3"}
    told = {"ok": True, "clusters": 2, "confidence": 0.81, "correct": None, "question": asked}
    shown = "\n".join(show._telemetry(told))
    assert "0.81" in shown
    assert "2, or 3?" in shown
    assert "correct" not in shown
    refused = "\n".join(show._telemetry({"correct": False, "confidence": 0.0, "clusters": 0}))
    assert "correct     False" in refused
    assert "confidence  0.0" in refused
    assert "clusters" not in refused
    assert "\x1b" not in shown
    assert list(show._telemetry({"question": ["nonsense"], "candidates": 3}))
