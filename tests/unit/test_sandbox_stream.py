"""sandbox: the stream of frames and files, whatever the other side does."""

import os
import socket
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repairlab import sandbox as box
from repairlab.sandbox import api, inside


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    stream = box.Stream(ours)
    with theirs:
        yield stream, theirs
    stream.close()


def test_a_frame_in_pieces_survives_a_timeout(pair):
    stream, theirs = pair
    frame = struct.pack(">I", 6) + b"abcdef"
    for byte in frame[:-1]:
        theirs.send(bytes([byte]))
        with pytest.raises(box.StreamTimeout):
            stream.recv(0)
    theirs.send(frame[-1:] + frame)
    assert stream.recv(0) == b"abcdef"
    assert stream.recv(0) == b"abcdef"


def test_an_announcement_beyond_the_bound_is_refused_before_anything_is_held(pair):
    stream, theirs = pair
    theirs.send(struct.pack(">I", 101))
    with pytest.raises(box.FrameTooLarge):
        stream.recv(1, max_bytes=100)


def test_a_closed_stream_is_told_from_a_silent_one(pair):
    stream, theirs = pair
    with pytest.raises(box.StreamTimeout):
        stream.recv(0)
    theirs.send(struct.pack(">I", 6) + b"abc")
    theirs.close()
    with pytest.raises(box.StreamClosed):
        stream.recv(1)
    with pytest.raises(box.StreamClosed):
        stream.send(b"x" * (1 << 20))


def test_a_send_to_somebody_who_does_not_read_ends(pair):
    stream, _ = pair
    with pytest.raises(box.StreamTimeout):
        stream.send(b"x" * (1 << 22), timeout=0.05)


def test_frames_too_large_to_send_are_a_bug_of_the_caller(pair):
    with pytest.raises(ValueError, match="send_files"):
        pair[0].send(bytes(inside.MAX_FRAME + 1))


SEGMENT = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=5).filter(
    lambda name: name not in (".", "..")
)
ENTRIES = st.lists(
    st.tuples(st.lists(SEGMENT, min_size=1, max_size=3).map("/".join), st.sampled_from("fxl"), st.binary(max_size=20))
)


@given(ENTRIES)
def test_packed_entries_come_out_as_they_went_in(entries):
    frames = list(inside.pack(entries))
    assert frames[-1] == b""
    assert all(frames[:-1])
    assert [entry for frame in frames for entry in inside.unpack(frame)] == entries


@given(st.binary(max_size=60))
def test_any_bytes_are_files_or_refused(raw):
    try:
        for path, _, _ in inside.unpack(raw):
            assert not os.path.isabs(path)
            assert ".." not in path.split("/")
    except inside.FrameError:
        pass


def test_the_inside_runs_on_an_old_interpreter():
    compile(Path(inside.__file__).read_text(), "inside", "exec", dont_inherit=True)
    import ast

    ast.parse(Path(inside.__file__).read_text(), feature_version=(3, 8))
    ast.parse(inside.LOADER, feature_version=(3, 8))


@pytest.mark.parametrize(
    ("python", "code"), [(sys.version, True), (sys.version + "+", False), ("3.8.0", False), ("", False)]
)
def test_byte_code_is_sent_to_the_very_same_python_and_to_no_other(python, code):
    ours, theirs = api.socket_pair()
    api.send_program(ours, inside.READY + python.encode(), "x = 1\n", "<told>")
    sent = inside.Stream(theirs.fileno()).recv()
    assert (sent[:1] == inside.COMPILED) is code
    assert code or sent == b"x = 1\n"
    ours.close()
    theirs.close()


@pytest.mark.parametrize("compiled", [True, False])
def test_the_inside_becomes_source_and_byte_code_alike(compiled, monkeypatch):
    if not compiled:  # as for another Python than ours
        known, _, source = api._loaded()
        monkeypatch.setattr(api, "_loaded", lambda: (known + b"+", b"no byte code of that Python's", source))
    program = "stream.send(repr((__name__, sys.argv, (lambda: 0).__code__.co_filename, __debug__)).encode())"
    ours, theirs = api.socket_pair()
    with (
        subprocess.Popen(api.boot_argv(sys.executable, theirs.fileno()), pass_fds=[theirs.fileno()]) as process,
        closing(ours),  # first, so that a failure here leaves nobody waiting for us
    ):
        theirs.close()
        told = api.boot(ours, {"parent": 0, "limits": {}, "env": {}, "name": "<told>"}, 20)
        assert told == inside.READY + sys.version.encode()
        api.send_program(ours, told if compiled else b"ready", program, "<told>")
        assert ours.recv(20) == b"('__main__', ['<told>'], '<told>', True)"
    assert process.returncode == 0


def test_the_boot_imports_nothing_that_is_slow_to_import():
    """Each of these took some milliseconds of every start, for the names of types and one line of JSON."""
    slow = ("typing", "re", "json", "collections", "functools")
    ours, theirs = api.socket_pair()
    with (
        subprocess.Popen(api.boot_argv(sys.executable, theirs.fileno()), pass_fds=[theirs.fileno()], env={}) as process,
        closing(ours),
    ):
        theirs.close()
        told = api.boot(ours, {"parent": 0, "limits": {}, "env": {}, "name": "<told>"}, 20)
        api.send_program(ours, told, f"stream.send(repr([n for n in {slow} if n in sys.modules]).encode())", "<told>")
        assert ours.recv(20) == b"[]"
    assert process.returncode == 0
