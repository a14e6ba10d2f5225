"""bench/all: what is made of what the parts print, and a part that fails or hangs takes nothing from the others."""

import all as everything  # bench/all.py
import pytest

TEXT = "three rounds; a machine\n\n| limit | a second |\n|-------|----------|\n| one & all | 1,234 |\n| 16 | - |\n"


def test_tables_are_read_as_they_were_printed():
    assert everything.tables(TEXT) == [[["limit", "a second"], ["one & all", "1,234"], ["16", "-"]]]
    assert [everything.number(cell) for cell in ("1,234", "0.5 (0.1–2)", "-", "")] == [1234.0, 0.5, None, None]


def test_a_page_keeps_words_and_cells_and_lets_no_markup_through():
    made = everything.as_html(TEXT + "<b>")
    assert "<p>three rounds; a machine</p>" in made
    assert "<th>limit</th>" in made
    assert "<td>one &amp; all</td><td>1,234</td>" in made
    assert "&lt;b&gt;" in made


def test_figures_go_between_their_marks_and_those_of_a_part_that_is_not_whole_stay():
    limits, other = everything.PARTS[:2]
    before = f"a\n<!-- bench {limits.name} -->\nold\n<!-- end -->\n<!-- bench {other.name} -->\nkept\n<!-- end -->\n"
    made = everything.filled(before, [(limits, r"new \1", ""), (other, "half", "it took too long")])
    assert made == before.replace("old", r"new \1")


def test_each_new_part_has_its_place_in_the_document(project):
    document = (project / "docs/performance.md").read_text()
    told = {part.name for part in everything.PARTS if part.name not in ("hints", "sandbox", "mutants")}
    assert {name for name in told if f"<!-- bench {name} -->" not in document} == set()


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import sys; print('some'); sys.exit('the reason')", "it ended with 1: the reason"),
        ("print('some', flush=True); import threading; threading.Event().wait()", "it took more than 4 s"),
    ],
)
def test_a_part_that_fails_or_hangs_is_told_with_what_it_had(tmp_path, program, why):
    (tmp_path / "part.py").write_text(program)
    part = everything.Part("x", "x", (), (), 4.0)
    assert everything.ran(part, (str(tmp_path / "part.py"),)) == ("some", why)
