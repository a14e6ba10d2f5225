"""bundle: what may be frozen, what the frozen copy is worth, and what is refused in how little time."""

import errno
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repairlab.errors import BadInput, Forbidden, TemporaryFailure
from repairlab.sandbox import bundle, tree
from repairlab.sandbox.bundle import (
    BundleLimits,
    hash_files,
    hash_manifest,
    make_durable,
    manifest,
    snapshot,
    tree_hash,
)

SMALL = BundleLimits(max_files=50, max_bytes=10_000)


@pytest.fixture
def roots(tmp_path):
    (tmp_path / "in").mkdir()
    return [tmp_path / "in"]


@pytest.fixture
def store(tmp_path):
    yield tmp_path / "store"
    if (tmp_path / "store").exists():
        bundle.remove_tree(tmp_path / "store")


@pytest.fixture
def source(roots):
    path = roots[0] / "project"
    (path / "pkg").mkdir(parents=True)
    (path / "pkg/__init__.py").write_bytes(b"")
    (path / "pkg/code.py").write_bytes(b"x = 1\r\n\xff")
    (path / "run").write_bytes(b"#!/bin/sh\n")
    (path / "run").chmod(0o755)
    (path / "link.py").symlink_to("pkg/code.py")
    return path


def freeze(source, roots, store, limits=SMALL):
    return snapshot(source, roots=roots, store=store, limits=limits)


def refusal(source, roots, store, limits=SMALL):
    """The words of a refusal, which leaves nothing behind."""
    with pytest.raises(BadInput) as caught:
        freeze(source, roots, store, limits)
    assert caught.value.field == "bundle_dir"
    assert caught.value.fix
    assert not store.exists() or os.listdir(store) == []
    return caught.value.message


def test_a_frozen_copy_is_named_by_its_content_and_read_only(source, roots, store):
    frozen = freeze(source, roots, store)
    assert frozen.path == store / frozen.sha256
    assert (frozen.files, frozen.bytes) == (4, 8 + 10 + 11)
    assert (frozen.path / "pkg/code.py").read_bytes() == b"x = 1\r\n\xff"
    assert os.readlink(frozen.path / "link.py") == "pkg/code.py"
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in frozen.path.rglob("*") if not path.is_symlink()}
    assert modes == {"pkg": 0o555, "__init__.py": 0o444, "code.py": 0o444, "run": 0o555}
    assert os.listdir(store) == [frozen.sha256]


def test_source_copy_and_memory_have_one_name(source, roots, store):
    files = {"pkg/__init__.py": b"", "pkg/code.py": b"x = 1\r\n\xff", "run": b"#!/bin/sh\n"}
    in_memory = hash_files(files, executable=["run"], links={"link.py": "pkg/code.py"})
    frozen = freeze(source, roots, store)
    assert in_memory == frozen.sha256 == tree_hash(source) == tree_hash(frozen.path)


def test_caches_and_environments_are_no_sources(source, roots, store):
    before = tree_hash(source)
    for name in (".git", "__pycache__", "pkg/__pycache__", "node_modules", ".venv"):
        (source / name).mkdir()
        (source / name / "x").write_text(name)
    (source / "env").mkdir()
    (source / "env/pyvenv.cfg").write_text("home = /usr/bin")
    (source / "pkg/code.pyc").write_text("x")
    (source / "empty").mkdir()
    assert tree_hash(source) == before
    frozen = freeze(source, roots, store)
    assert frozen.sha256 == before
    assert sorted(os.listdir(frozen.path)) == ["link.py", "pkg", "run"]
    assert hash_files({"a.py": b"", "pkg/__pycache__/a.pyc": b"x"}) == hash_files({"a.py": b""})


@pytest.mark.parametrize("change", ["content", "name", "mode", "target", "more"])
def test_every_change_of_a_source_changes_the_name(source, change):
    before = tree_hash(source)
    match change:
        case "content":
            (source / "pkg/code.py").write_bytes(b"x = 2")
        case "name":
            (source / "run").rename(source / "ran")
        case "mode":
            (source / "run").chmod(0o644)
        case "target":
            (source / "link.py").unlink()
            (source / "link.py").symlink_to("pkg/__init__.py")
        case "more":
            (source / "pkg/new").touch()
    assert tree_hash(source) != before


NAMES = st.dictionaries(st.text("ab", min_size=1, max_size=3), st.binary(max_size=3), min_size=1, max_size=4)


@given(NAMES, NAMES)
def test_two_trees_have_one_name_only_if_they_are_equal(one, other):
    assert (hash_files(one) == hash_files(other)) == (one == other)


def test_an_edited_manifest_is_the_name_of_the_edited_tree(source):
    found = manifest(source)
    found["pkg/code.py"] = ("f", bundle.content_digest(b"x = 2"))
    (source / "pkg/code.py").write_bytes(b"x = 2")
    assert hash_manifest(found) == tree_hash(source)


def test_the_same_content_twice_is_one_entry(source, roots, store):
    first = freeze(source, roots, store)
    os.utime(first.path, (0, 0))
    assert freeze(source, roots, store) == first
    assert os.listdir(store) == [first.sha256]
    assert first.path.stat().st_mtime > 0  # its time to live has started again


def test_an_entry_of_the_store_is_its_own_snapshot(source, roots, store):
    first = freeze(source, roots, store)
    assert freeze(first.path, [store], store) == first


@pytest.mark.parametrize("damage", ["changed", "missing", "planted", "not a directory"])
def test_an_entry_that_does_not_match_its_name_is_replaced(source, roots, store, damage):
    first = freeze(source, roots, store)
    for path in (first.path, first.path / "pkg"):
        path.chmod(0o755)
    match damage:
        case "changed":
            (first.path / "run").chmod(0o755)
            (first.path / "run").write_bytes(b"evil")
        case "missing":
            (first.path / "pkg/code.py").unlink()
        case "planted":
            (first.path / "pkg/__pycache__").mkdir()
            (first.path / "pkg/__pycache__/code.pyc").write_bytes(b"evil")
        case "not a directory":
            bundle.remove_tree(first.path)
            first.path.write_bytes(b"")
    again = freeze(source, roots, store)
    assert again == first
    assert not (first.path / "pkg/__pycache__").exists()
    assert tree_hash(first.path) == first.sha256
    assert os.listdir(store) == [first.sha256]


@pytest.mark.parametrize("kind", ["relative", "missing", "outside", "the root itself", "a file", "a link out", "nul"])
def test_a_path_that_is_no_bundle_below_the_roots_is_refused(source, roots, store, tmp_path, kind):
    (roots[0] / "out").symlink_to("/etc")
    path = {
        "relative": Path("in/project"),
        "missing": roots[0] / "nothing",
        "outside": Path("/etc"),
        "the root itself": roots[0],
        "a file": source / "run",
        "a link out": roots[0] / "out",
        "nul": Path(f"{source}\0"),
    }[kind]
    refusal(path, roots, store)


def test_a_path_through_links_that_stay_inside_is_taken(source, roots, store):
    (roots[0] / "alias").symlink_to("project")
    assert freeze(roots[0] / "alias", roots, store).sha256 == tree_hash(source)


def test_a_directory_swapped_for_a_link_after_the_check_is_not_followed(source, roots, store, monkeypatch):
    resolve = os.path.realpath

    def swap(path, **options):
        real = resolve(path, **options)
        if path == source and source.is_dir() and not source.is_symlink():
            source.rename(roots[0] / "moved")
            source.symlink_to("/etc")
        return real

    monkeypatch.setattr(os.path, "realpath", swap)
    assert "cannot be opened" in refusal(source, roots, store)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/etc/passwd", "absolute"),
        ("../../../etc/passwd", "leaves the bundle"),
        ("sub/../../..", "leaves the bundle"),
        ("../through/../../x", "leaves the bundle"),
        ("loop", "circles"),
    ],
)
def test_a_symlink_that_does_not_stay_inside_is_refused(source, roots, store, target, words):
    (source / "sub").mkdir()
    (source / "sub/x").touch()
    (source / "through").symlink_to("sub")
    (source / "pkg/loop").symlink_to(target)
    assert words in refusal(source, roots, store)


def test_a_symlink_through_another_is_resolved_as_the_kernel_would(source, roots, store):
    (source / "deep/er").mkdir(parents=True)
    (source / "deep/er/x").touch()
    (source / "to").symlink_to("deep/er")
    (source / "up").symlink_to("to/../../run")  # by the text alone it would leave: to/../.. is ..
    assert (freeze(source, roots, store).path / "up").read_bytes() == b"#!/bin/sh\n"


def special(path, kind):
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "device":
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))


@pytest.mark.parametrize("kind", ["FIFO", "socket", pytest.param("device", marks=pytest.mark.root)])
def test_what_is_no_file_is_refused_without_being_opened(source, roots, store, kind):
    special(source / "pkg/odd", kind)
    assert refusal(source, roots, store) == f"pkg/odd is a {kind}, not a file"


def test_names_that_are_not_utf_8_are_refused(source, roots, store):
    Path(os.fsdecode(os.fsencode(source) + b"/b\xe9te.py")).touch()
    assert "is not UTF-8" in refusal(source, roots, store)


def test_an_empty_bundle_is_refused(roots, store):
    (roots[0] / "void/__pycache__").mkdir(parents=True)
    assert "empty" in refusal(roots[0] / "void", roots, store)


@pytest.mark.parametrize("what", ["files", "caches", "bytes", "depth"])
def test_every_bound_is_refused_soon_after_it_is_passed(source, roots, store, what):
    match what:
        case "files":
            for number in range(SMALL.max_files):
                (source / f"f{number}").touch()
        case "caches":  # even what is left out has to be listed
            for number in range(2 * SMALL.max_files + 1):
                (source / f"f{number}.pyc").touch()
        case "bytes":
            os.truncate(source / "run", 10 << 30)
        case "depth":
            (source / "/".join("d" * 70)).mkdir(parents=True)
            (source / "/".join("d" * 70) / "x").touch()
    started = time.process_time()
    assert {"files": "50 files", "caches": "50 files", "bytes": "10000 bytes", "depth": "deeper"}[what] in refusal(
        source, roots, store
    )
    assert time.process_time() - started < 1.0


def test_a_hard_link_to_a_file_of_somebody_else_is_refused(source, roots, store, monkeypatch):
    os.link(source / "run", source / "mine")
    freeze(source, roots, store)
    bundle.remove_tree(store)
    init = tree.Walk.__init__

    def other_owner(self, root, limits, reader):
        init(self, root, limits, reader)
        self.owner += 1

    monkeypatch.setattr(tree.Walk, "__init__", other_owner)
    assert "hard link to another user's file" in refusal(source, roots, store)


@pytest.mark.root
def test_an_unreadable_file_is_the_producers_to_mend():
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o755)
        source = Path(top, "in/project")
        source.mkdir(parents=True)
        (source / "closed.py").touch(mode=0)
        code = "import os; from pathlib import Path; from repairlab.sandbox.bundle import snapshot; os.setuid(65534)\n"
        code += f"snapshot(Path({str(source)!r}), roots=[Path({top!r})], store=Path({top!r}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "Forbidden" in done.stderr  # our own trouble, as here no staging directory could be made, comes first
        os.chmod(top, 0o777)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "BadInput: bundle_dir: closed.py cannot be read: Permission denied" in done.stderr


def test_trouble_with_our_own_disk_is_not_the_bundles_fault(source, roots, store, monkeypatch):
    def full(fd, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(TemporaryFailure):
            freeze(source, roots, store)
    assert os.listdir(store) == []
    with pytest.raises(Forbidden):
        freeze(source, roots, source / "run/store")


def test_many_at_once_agree_on_one_entry(source, roots, store):
    results = []
    threads = [threading.Thread(target=lambda: results.append(freeze(source, roots, store))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(set(results)) == 1
    assert os.listdir(store) == [results[0].sha256]


def test_a_file_that_grows_while_it_is_read_is_bounded(source, roots, store, monkeypatch):
    read = os.read

    def growing(fd, count):
        with open(source / "run", "ab") as file:
            file.write(b"x" * 4000)
        return read(fd, count)

    monkeypatch.setattr(tree.os, "read", growing)
    assert "more than 10000 bytes" in refusal(source, roots, store)


@pytest.mark.parametrize("release", ["6.1.0", "5.4.0-generic"])
def test_an_entry_is_flushed_in_the_way_that_reports_errors(source, roots, store, monkeypatch, release):
    flushed = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.readlink(f"/proc/self/fd/{fd}")) or fsync(fd))
    monkeypatch.setattr("platform.release", lambda: release)
    frozen = snapshot(source, roots=roots, store=store)
    assert flushed == []  # a bundle that nothing durable names may be lost
    make_durable(frozen.path)
    files = {str(path) for path in [store, frozen.path, *frozen.path.rglob("*")] if not path.is_symlink()}
    assert set(flushed) == (set() if release == "6.1.0" else files)


def test_a_store_that_is_gone_when_it_is_to_be_flushed_is_trouble_of_ours(store):
    with pytest.raises(TemporaryFailure):
        make_durable(store / "0")


def test_many_files_are_synced_at_once_and_all_there(roots, store):
    path = roots[0] / "many"
    path.mkdir()
    for number in range(40):
        (path / f"m{number}.py").write_text(str(number))
    frozen = freeze(path, roots, store)
    assert frozen.files == 40 == len(os.listdir(frozen.path))
