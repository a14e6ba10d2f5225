"""bench/all: what is made of what the parts print, and a part that fails or hangs takes nothing from the others."""

import argparse

import all as everything  # bench/all.py
import page
import pytest

TEXT = "three rounds; a machine\n\n| limit | a second |\n|-------|----------|\n| one & all | 1,234 |\n| 16 | - |\n"


def test_tables_are_read_as_they_were_printed():
    assert page.tables(TEXT) == [[["limit", "a second"], ["one & all", "1,234"], ["16", "-"]]]
    told = {"1,234": (1234.0, 1234.0, 1234.0), "0.5 (0.1–2)": (0.5, 0.1, 2.0), "-": None, "": None, "> 20 s": None}
    assert {cell: page.figure(cell) for cell in told} == told


def test_a_page_keeps_words_and_cells_and_lets_no_markup_through():
    made = page.as_html(TEXT + "<b>")
    assert "<p>three rounds; a machine</p>" in made
    assert "<th>a second</th>" in made
    assert "<td class=name>one &amp; all</td><td class=figure>1,234</td>" in made
    assert "&lt;b&gt;" in made


def test_a_page_shows_a_spread_below_its_figure_and_why_a_part_is_not_whole():
    made = page.page("a <machine>", [page.Section("x", "A & B", (), "| a | b |\n| c | 1 (0–2) |", "it <hung>")])
    assert "a &lt;machine&gt;" in made
    assert "<h2 id=p1>A &amp; B</h2>" in made
    assert "not whole: it &lt;hung&gt;" in made
    assert "<td class=figure>1<small>(0–2)</small></td>" in made


def test_a_bar_that_is_named_by_a_number_says_of_what():
    assert [page.named("waiting", cell) for cell in ("1,000", "frozen")] == ["1,000 waiting", "frozen"]


def test_figures_go_between_their_marks_and_those_of_a_part_that_is_not_whole_stay():
    before = "a\n<!-- bench one -->\nold\n<!-- end -->\n<!-- bench two -->\nkept\n<!-- end -->\n"
    sections = [page.Section("one", "", (), r"new \1"), page.Section("two", "", (), "half", "it took too long")]
    assert page.filled(before, sections) == before.replace("old", r"new \1")


def test_each_new_part_has_its_place_in_the_document(project):
    document = (project / "docs/performance.md").read_text()
    told = {part.name for part in everything.PARTS if part.name not in ("hints", "sandbox")}
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
    assert everything.ran((str(tmp_path / "part.py"),), 4.0) == ("some", why)


def test_where_the_minutes_for_the_whole_are_over_the_rest_is_told_and_not_run(tmp_path, capsys):
    (tmp_path / "part.py").write_text("print('run')")
    part = everything.Part("x", "x", (str(tmp_path / "part.py"),), (), 4.0)
    options = argparse.Namespace(quick=False, million=False, minutes=0)
    assert [each.why for each in everything.measured([part], options)] == ["no time was left for it"]
    assert "not whole: no time was left for it" in capsys.readouterr().out
    options.minutes = 1
    assert [(each.text, each.why) for each in everything.measured([part], options)] == [("run", "")]


def test_a_million_is_asked_for_and_has_its_own_time(tmp_path):
    (tmp_path / "part.py").write_text("import sys; print(sys.argv[1:])")
    part = everything.Part("x", "x", (str(tmp_path / "part.py"),), (), 4.0, million=("1000000",), million_s=1.0)
    options = argparse.Namespace(quick=False, million=False, minutes=1)
    assert [each.text for each in everything.measured([part], options)] == ["[]"]
    options.million = True
    assert [each.text for each in everything.measured([part], options)] == ["['1000000']"]


def test_every_part_has_a_small_size_too():
    assert all(part.full and part.quick for part in everything.PARTS)
