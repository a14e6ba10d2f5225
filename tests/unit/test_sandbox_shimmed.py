"""sandbox.shimmed: what the shim says is believed as far as it makes sense; nothing that it says stops its client."""

import os
import socket
from pathlib import Path

import pytest

from repairlab import sandbox as box
from repairlab.errors import TemporaryFailure
from repairlab.sandbox import shimmed

KILLED = box.Ended(box.Why.LOST, None, 9)
NONSENSE = [b"\0\0\0\x20" + b'{"forged": 1}', b"[" * 60_000, b"17", b'[["why"]]', b"\xff\xfe{", b'{"why": "sunshine"}']
NONSENSE += [
    b'{"why": "exited"}',
    b'{"why": "exited", "code": "0", "signal": null}',
    b'{"why": [], "code": 0, "signal": 0}',
]


@pytest.fixture
def service():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(5)
    with ours, theirs:
        yield shimmed._Service("systemd", ours), theirs


@pytest.mark.parametrize("said", NONSENSE)
def test_a_last_word_that_makes_no_sense_is_that_of_a_killed_shim(service, said):
    service, shim = service
    shim.send(said)
    shim.shutdown(socket.SHUT_WR)
    assert service.end() == KILLED


@pytest.mark.parametrize("said", NONSENSE[:5])
def test_a_first_word_that_makes_no_sense_is_none(service, said):
    service, shim = service
    shim.send(said)
    with pytest.raises(TemporaryFailure):
        service._started()


def test_a_last_word_is_believed(service):
    service, shim = service
    shim.send(b'{"started": true}')
    shim.send(b'{"why": "memory_mb", "code": null, "signal": 9}')
    shim.shutdown(socket.SHUT_WR)
    assert service.end() == box.Ended(box.Why.MEMORY, None, 9)


def test_the_shim_gets_its_connection_however_many_files_are_open(monkeypatch, tmp_path):
    """The connection's number here is anything; the shell that changes it knows no number above 9."""
    (tmp_path / "repairlab").mkdir()
    (tmp_path / "repairlab/errors.py").write_text("def reported(main, argv): return main(argv)")
    (tmp_path / "repairlab/__init__.py").touch()
    (tmp_path / "repairlab/sandbox").mkdir()
    (tmp_path / "repairlab/sandbox/__init__.py").touch()
    shim = (
        "import os, socket\ndef main(argv):\n    socket.socket(fileno=3).send(b'%d' % len(os.listdir('/proc/self/fd')))"
    )
    (tmp_path / "repairlab/sandbox/shim.py").write_text(shim)
    monkeypatch.setattr(shimmed.repairlab, "__file__", str(tmp_path / "repairlab/__init__.py"))
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
    settings = box.api.SandboxLimits()
    service, places = shimmed.Landlocked(settings)._begin([])
    try:
        assert service._control.recv(100) == b"5"  # 0, 1, 2, the connection, and the directory that is listed
    finally:
        service.end()
        service.close()
        for fd in held:
            os.close(fd)
    assert not Path(places["work"]).exists()
