"""sandbox.interpreter: which interpreters may be used, and how little of them is shown."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from repairlab import sandbox as box
from repairlab.errors import BadInput
from repairlab.sandbox import bubblewrap, interpreter

SETTINGS = SimpleNamespace(tier="auto", memory_mb=256, processes=16, tmpfs_mb=4, open_files=64, file_mb=8)


def virtual_environment(path, home):
    for name in ("bin", "lib/python3/site-packages", "secrets"):
        (path / name).mkdir(parents=True)
    (path / "pyvenv.cfg").write_text(f"version = 3\nhome = {home}\n")
    (path / "bin/python").symlink_to(Path(home) / "python3")
    return str(path / "bin/python")


def test_of_an_installation_only_what_an_interpreter_reads_is_shown(tmp_path):
    python = virtual_environment(tmp_path / "venv", "/usr/bin")
    shown = [mount.path for mount in interpreter.mounts(python, allowed=[str(tmp_path)])]
    assert shown == [f"{tmp_path}/venv/{name}" for name in ("bin", "lib", "pyvenv.cfg")]


def test_a_virtual_environment_of_a_person_works(tmp_path):
    python = virtual_environment(tmp_path / "venv", "/usr/bin")
    settings = SimpleNamespace(**vars(SETTINGS), interpreters=[str(tmp_path)])
    program = "import sys\nstream.send(sys.prefix.encode())"
    with box.open_sandbox(settings).start(program, python=python) as confined:
        assert confined.stream.recv(10).decode() == f"{tmp_path}/venv"


@pytest.mark.parametrize("kind", ["not allowed", "home outside", "link outside", "relative", "missing", "circle"])
def test_an_interpreter_that_is_none_of_the_operators_is_refused(tmp_path, kind):
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (tmp_path / "queue/bin").mkdir(parents=True)
    (tmp_path / "queue/bin/python").write_text("#!/bin/sh\n")
    (tmp_path / "queue/bin/python").chmod(0o755)
    python = {
        "not allowed": str(tmp_path / "queue/bin/python"),
        "relative": "python3",
        "missing": str(allowed / "bin/python"),
    }.get(kind, str(allowed / "venv/bin/python"))
    if kind == "home outside":  # would show the whole of the queue as read-only
        virtual_environment(allowed / "venv", str(tmp_path / "queue/bin"))
        (allowed / "venv/bin/python").unlink()
        (allowed / "venv/bin/python").symlink_to("/usr/bin/python3")
    elif kind == "link outside":
        virtual_environment(allowed / "venv", "/usr/bin")
        (allowed / "venv/bin/python").unlink()
        (allowed / "venv/bin/python").symlink_to(tmp_path / "queue/bin/python")
    elif kind == "circle":
        virtual_environment(allowed / "venv", "/usr/bin")
        (allowed / "venv/bin/python").unlink()
        (allowed / "venv/bin/python").symlink_to("python")
    settings = SimpleNamespace(**vars(SETTINGS), interpreters=[str(allowed)])
    with pytest.raises(BadInput) as caught:
        box.open_sandbox(settings).start("pass", python=python)
    assert caught.value.field == "python"


def test_the_work_directory_is_empty_also_where_the_interpreter_lies_below_it():
    mounts = [interpreter.Mount("/work/venv/bin"), interpreter.Mount("/usr")]
    assert bubblewrap._work(mounts) != "/work"
    assert bubblewrap._work(mounts[1:]) == "/work"


@pytest.mark.root
def test_what_nobody_can_reach_is_staged(tmp_path):
    hidden = tmp_path / "closed/bin"
    hidden.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    prefix, sources = bubblewrap._as_nobody([interpreter.Mount(str(hidden)), interpreter.Mount("/usr")])
    assert prefix[0].endswith("unshare")
    assert list(sources) == [str(hidden)]
    prefix, sources = bubblewrap._as_nobody([interpreter.Mount("/usr")])
    assert prefix[0].endswith("setpriv")
    assert sources == {}


def test_the_version_of_bubblewrap_is_that_of_the_file_that_stands_there(tmp_path):
    program = tmp_path / "bwrap"
    for number, known in (("0.7.1", (0, 7)), ("0.11.0", (0, 11))):
        new = tmp_path / "new"
        new.write_text(f"#!/bin/sh\necho bubblewrap {number}\necho >> {tmp_path}/asked\n")
        new.chmod(0o755)
        new.rename(program)
        assert bubblewrap.version(str(program)) == bubblewrap.version(str(program)) == known
    assert len((tmp_path / "asked").read_text().splitlines()) == 2
    assert bubblewrap.version(str(tmp_path / "none")) == (0, 0)
