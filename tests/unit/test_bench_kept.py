"""bench/kept: whatever a bench starts, and however it ends, no process, no file and no control group of it is left."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest

KEPT = Path(__file__).parents[2] / "bench/kept.py"
# A daemon: a session of its own, its parent gone. It holds a FIFO, whose other end hears of its death.
DAEMON = """
import os, signal
from pathlib import Path
Path(os.environ["TMPDIR"], "file").write_text("left behind")
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        fifo = os.open({fifo!r}, os.O_WRONLY)
        signal.pause()
    os._exit(0)
os.wait()
{then}
"""


@pytest.fixture
def kept(tmp_path, tmp_path_factory):
    """Start a command that leaves a daemon, then does something; return it and the end of the daemon's FIFO."""
    fifo = str(tmp_path_factory.mktemp("daemon") / "fifo")
    os.mkfifo(fifo)
    with ExitStack() as stack:

        def start(then: str, limit_s: float) -> tuple[subprocess.Popen[str], IO[bytes]]:
            program = [sys.executable, "-c", DAEMON.format(fifo=fifo, then=then)]
            env = {**os.environ, "TMPDIR": str(tmp_path)}
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, KEPT, str(limit_s), *program], env=env, stderr=subprocess.PIPE, text=True
                )
            )
            return process, stack.enter_context(open(fifo, "rb"))  # waits for the daemon

        yield start


def test_a_daemon_that_outlives_its_bench_is_killed_and_told(kept, tmp_path):
    process, pipe = kept("", 60)
    assert process.wait(30) == 1
    assert "left running: python" in process.stderr.read()
    assert pipe.read() == b""  # nobody has it open any more
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_bench_that_is_stopped_leaves_nothing(kept, tmp_path, number):
    process, pipe = kept("signal.pause()", 60)
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert pipe.read() == b""
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_all_that_is_interrupted_leaves_nothing_of_its_part(tmp_path, tmp_path_factory):
    """SIGINT to `bench/all.py` alone: it lets the keeper end what it keeps."""
    place = tmp_path_factory.mktemp("part")
    os.mkfifo(place / "fifo")
    (place / "part.py").write_text(DAEMON.format(fifo=str(place / "fifo"), then="signal.pause()"))
    code = f"import sys; sys.path.insert(0, {str(KEPT.parent)!r}); import all; all.ran((sys.argv[1],), 60.0)"
    command = [sys.executable, "-c", code, str(place / "part.py")]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE) as process, open(place / "fifo", "rb") as pipe:
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.communicate()[1]
        assert list(tmp_path.iterdir()) == []
        assert pipe.read() == b""


def test_a_bench_that_takes_too_long_leaves_nothing(kept, tmp_path):
    process, pipe = kept("signal.pause()", 0.5)
    assert process.wait(30) == 124
    assert pipe.read() == b""
    assert list(tmp_path.iterdir()) == []


def test_the_status_of_a_bench_is_handed_on():
    codes = {"": 0, "sys.exit(3)": 3, "os.kill(os.getpid(), 9)": 137}
    for then, status in codes.items():
        program = [sys.executable, "-c", f"import os, sys\n{then}"]
        assert subprocess.run([sys.executable, KEPT, "60", *program], check=False).returncode == status
