"""The bundle's directory inside the sandbox: whatever tests do to it is undone."""

import os
import types
from pathlib import Path

import pytest

from repairlab.trial import server


@pytest.fixture(scope="module")
def part():
    module = types.ModuleType("tree")
    text = Path(server.__file__).with_name("tree.py").read_text()
    exec(compile("import io, os\n" + text, "tree.py", "exec"), module.__dict__)
    return module


@pytest.fixture
def root(tmp_path):
    (tmp_path / "b/kept").mkdir(parents=True)
    (tmp_path / "b/kept/data").write_bytes(b"old")
    (tmp_path / "b/run").write_bytes(b"#!")
    (tmp_path / "b/run").chmod(0o755)
    (tmp_path / "b/link").symlink_to("kept/data")
    return tmp_path / "b"


def state(root):
    found = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        if path.is_symlink():
            found[path.name] = mode, os.readlink(path)
        else:
            found[path.name] = (mode,) if path.is_dir() else (mode, path.read_bytes(), path.stat().st_mtime_ns)
    return found


def remove_all(root):
    (root / "kept/data").unlink()
    (root / "kept").rmdir()
    (root / "kept").write_text("a file now")


def replace_by_links(root):
    for name in ("kept/data", "kept"):
        (root / name).unlink() if name == "kept/data" else (root / name).rmdir()
    (root / "kept").symlink_to(root.parent / "outside")
    (root / "run").unlink()
    (root / "run").symlink_to(root.parent / "outside/precious")


DONE = {
    "nothing": os.listdir,
    "a_new_file": lambda root: (root / "new").write_text("x"),
    "a_new_tree": lambda root: [(root / "a/b").mkdir(parents=True), (root / "a/b/c").write_text("x")],
    "changed": lambda root: (root / "kept/data").write_text("new"),
    "changed_to_the_same_length_and_time": lambda root: [
        (root / "kept/data").write_text("new"),
        os.utime(root / "kept/data", ns=(0, 0)),
    ],
    "mode": lambda root: (root / "run").chmod(0o600),
    "removed": remove_all,
    "replaced_by_links": replace_by_links,
    "a_fifo": lambda root: [(root / "run").unlink(), os.mkfifo(root / "run")],
    "link_elsewhere": lambda root: [(root / "link").unlink(), (root / "link").symlink_to("run")],
}


@pytest.mark.parametrize("name", DONE)
@pytest.mark.parametrize("small", [True, False])
def test_whatever_is_done_to_the_directory_is_undone(part, root, monkeypatch, name, small):
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    if not small:
        monkeypatch.setattr(part, "SMALL", 0)
    tree, before = part.Tree(str(root)), state(root)
    DONE[name](root)
    assert tree.undo(thorough=not small) == (name != "nothing")
    assert state(root) == before
    assert (outside / "precious").read_text() == "precious"
    assert tree.undo(thorough=True) is False


def test_what_is_there_when_the_tests_are_collected_stays(part, root):
    tree = part.Tree(str(root))
    (root / "made_by_the_import").write_text("x")
    tree.remember()
    (root / "made_by_the_import").unlink()
    assert tree.undo()
    assert (root / "made_by_the_import").read_text() == "x"


def test_what_somebody_else_puts_back_is_not_touched(part, root):
    tree = part.Tree(str(root), [str(root / "kept/data")])
    (root / "kept/data").write_text("a candidate that is imported anew at this moment")
    (root / "run").write_text("of a test")
    assert tree.undo(thorough=True)
    assert (root / "kept/data").read_text().startswith("a candidate")
    assert (root / "run").read_text() == "#!"


def test_a_directory_too_large_to_be_kept_is_left_alone(part, root, monkeypatch):
    monkeypatch.setattr(part, "MOST_ENTRIES", 2)
    tree = part.Tree(str(root))
    (root / "new").write_text("x")
    assert tree.undo(thorough=True) is False
    assert (root / "new").exists()
