"""bench/tortures: one line a part, whatever becomes of it, and one exit status for all."""

import os

import pytest
import tortures

PROGRAM = """
import os, sys, threading
print("what it did")
print(sys.argv[1], flush=True)
threading.Event().wait() if sys.argv[1] == "hangs" else os._exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("word", "fine", "line"),
    [
        ("0", True, "nothing found: 0"),
        ("1", False, "FOUND (exit status 1, "),
        (str(os.EX_UNAVAILABLE), True, "left out: 69"),
        ("hangs", False, "TOOK TOO LONG: "),
    ],
)
def test_a_part_is_told_in_one_line_and_only_what_found_nothing_is_fine(tmp_path, capsys, word, fine, line):
    (tmp_path / "part.py").write_text(PROGRAM)
    arguments = (str(tmp_path / "part.py"), word)
    assert tortures.carried_out(tortures.Part("part", arguments, arguments, 0.05), arguments, tmp_path) is fine
    told = capsys.readouterr().out
    assert told.startswith("part ")
    assert line in told
    assert told.count("\n") == 1
    assert "what it did" in (tmp_path / "part.log").read_text()


def test_each_part_is_there_and_make_runs_them_all(project):
    assert "bench/tortures.py" in (project / "Makefile").read_text()
    for part in tortures.PARTS:
        named = [word for word in part.full if word.endswith(".py")]
        assert named
        assert all((project / word).exists() for word in named)
