"""The manual: in step with the programs, and readable by man."""

import shutil
import subprocess

import pytest

from repairlab import config
from repairlab.operate import man
from repairlab.operate.main import COMMANDS

PAGES = man.pages()


def test_there_is_a_page_for_every_program(project):
    assert {name.removesuffix(".1") for name in PAGES} == {path.name for path in (project / "bin").iterdir()}


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_page_is_what_the_program_says_of_itself(project, name):
    assert (project / "docs" / "man" / name).read_text() == PAGES[name], "run `make man`"


def test_every_command_and_every_setting_is_in_the_manual():
    text = PAGES["repairlab.1"].replace("\\-", "-")
    assert not [name for name in COMMANDS if f".SS {name} " not in text]
    assert not [name for name in config.names() if f"\\fB{name}\\fR" not in text]


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_roff_without_a_complaint(name):
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed")
    argv = [groff, "-man", "-Tutf8", "-ww", "-z"]
    done = subprocess.run(argv, input=PAGES[name], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "roff"), [(".TH x", "\\&.TH x"), ("'x", "\\&'x"), ("a\\b --c", "a\\eb \\-\\-c"), ("x.", "x.")]
)
def test_no_text_is_taken_for_a_request_of_roff(text, roff):
    assert man._text(text) == roff
