"""judge: what came of one attack, looked at from outside: part → null where it succeeded, else what stopped it.

An attack's own answer counts, as far as it can be had: one that was killed was stopped by whatever killed it. Some are
judged by what they leave behind instead. `Broken` is an attack that proved nothing, neither way: a test's failure.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from victims import Victims

from repairlab import sandbox as box

HERE = Path(__file__).parent
PRELUDE = (HERE / "prelude.py").read_text()
ANSWER_S = 15
BOUNDS = (box.Why.WALL, box.Why.MEMORY, box.Why.INODES, box.Why.DISK, box.Why.PROCESSES)
Parts = dict[str, str | None]


class Broken(Exception):
    """An attack did not say what came of it."""


def program(attack: str) -> bytes:
    """The text that is run."""
    return f"{PRELUDE}\n{(HERE.parent / f'{attack}.py').read_text()}".encode()


class Run:
    """One attack, running."""

    def __init__(self, victims: Victims, attack: str, limits: box.SandboxLimits, parameters: Mapping[str, object]):
        self.victims = victims
        self.limits = limits
        self.confined = victims.tier.start(program(attack), limits=limits, name=attack)
        self.confined.stream.send(json.dumps(parameters).encode())

    def broken(self, why: object) -> Broken:
        return Broken(f"{why} {self.confined.wait(1)} {self.confined.stderr_tail().decode(errors='replace')}")


Judge = Callable[[Run], tuple[Parts, dict[str, int]]]


def answered(run: Run) -> tuple[Parts, dict[str, int]]:
    """By its own words, or by what killed it."""
    try:
        told = json.loads(run.confined.stream.recv(ANSWER_S))
    except box.StreamError as error:
        return {"": killed(run, error)}, {}
    return dict(told["parts"]), dict(told["figures"])


def killed(run: Run, error: Exception) -> str:
    """What ended an attack before it could answer."""
    ended = run.confined.wait(5)
    if ended is None or ended.signal is None:
        raise run.broken(error)
    return str(ended.why) if ended.why in BOUNDS else signal.Signals(ended.signal).name


def signalled(run: Run) -> tuple[Parts, dict[str, int]]:
    """By whether a signal has come in."""
    before = run.victims.signals()
    parts, figures = answered(run)
    return parts, {**figures, "signals": run.victims.signals() - before}


def silent(run: Run) -> tuple[Parts, dict[str, int]]:
    """By whether anything inside still speaks after its program has ended."""
    if run.confined.wait(10) is None:
        raise run.broken("the program did not end")
    heard = 0
    try:
        while heard <= 50:
            run.confined.stream.recv(0.5)
            heard += 1
    except box.StreamError:
        return {"": "SIGKILL"}, {}
    return {"": None}, {}


def ended_in_time(run: Run) -> tuple[Parts, dict[str, int]]:
    """By when it was ended."""
    if run.confined.stream.recv(5) != b"asleep":
        raise run.broken("it did not fall asleep")
    ended = run.confined.wait(1.0)
    if ended is None:
        return {"": None}, {}
    return {"": killed(run, RuntimeError("it ended by itself"))}, {}


def collected(run: Run) -> tuple[Parts, dict[str, int]]:
    """By what the host takes; unconfined, by what a collector that believes names would have written where."""
    if run.victims.control:
        frame = run.confined.stream.recv(ANSWER_S)
        name = frame[13 : 13 + int.from_bytes(frame[1:5], "big")].decode()
        outside = not os.path.normpath(os.path.join("/collected", name)).startswith("/collected/")
        return {"": None if outside or frame[:1] == b"l" else "inside"}, {}
    try:
        run.confined.stream.recv_files(ANSWER_S)
    except box.StreamError:
        return {"": "refused"}, {}
    return {"": None}, {}


def bare(attack: str, parameters: Mapping[str, object]) -> tuple[Parts, dict[str, int]]:
    """Run an attack as a child that inherits every descriptor and whose output is read as fast as it comes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        os.set_inheritable(theirs.fileno(), True)
        inside = Path(box.api.inside.__file__).read_text().replace('__name__ == "__main__"', "False")
        source = f"{inside}\nstream = Stream({theirs.fileno()})\n{program(attack).decode()}"
        with subprocess.Popen([sys.executable, "-c", source], close_fds=False, stdout=subprocess.PIPE) as process:
            theirs.close()
            stream = box.Stream(ours)
            stream.send(json.dumps(parameters).encode())
            end = time.monotonic() + ANSWER_S
            while process.stdout.read(1 << 16) and time.monotonic() < end:
                pass
            told = json.loads(stream.recv(ANSWER_S))
            return told["parts"], told["figures"]
