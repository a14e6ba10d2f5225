"""bench/scenes_watch: the watcher and its workers under faults, with an agent that behaves.

The parent of the workers is forked instead of started anew, so that it and its workers have the layer; else it is the
one that there is. Workers are told apart by their `role`.
"""

import json
import os
import select
import subprocess
from contextlib import suppress

from stage import LATER_S, ROUNDS, Scene, Unharmed, ahead, cleans, finishes_all, in_a_fork

from repairlab.process import Zygote, client, zygote
from repairlab.sandbox.bundle import snapshot
from repairlab.watch import course, judge, prepare, upkeep, watcher, workers
from repairlab.watch.main import main as watch

BROKEN, WHOLE = "def add(a, b):\n    return a - b\n", "def add(a, b):\n    return a + b\n"
TEST = "from calc import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"
WORKERS = {"prepare": prepare, "judge": judge, "upkeep": upkeep}


class Forked(Zygote):
    """The parent of the workers, forked from this process instead of started anew: it has imported all already."""

    layer = Unharmed()

    def _spawn(self):
        def forked(argv, *, pass_fds, **_):
            return _Process(pass_fds[0], argv[argv.index("--control") :])

        popen, client.subprocess = client.subprocess, _Forking(forked)
        try:
            super()._spawn()
        finally:
            client.subprocess = popen


class _Forking:
    DEVNULL = subprocess.DEVNULL
    TimeoutExpired = subprocess.TimeoutExpired

    def __init__(self, popen):
        self.Popen = popen


def _close_all_but(*kept):
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd not in kept:
            with suppress(OSError):  # that of the listing itself
                os.close(fd)


class _Process:
    """As much of a Popen as the client of a zygote uses."""

    def __init__(self, control, argv):
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            _close_all_but(0, 1, 2, control, Forked.layer.tells)  # as an exec would
            Forked.layer.plays("zygote")
            os._exit(zygote.main([*argv[:4], "--preload"]))
        self._handle = os.pidfd_open(self.pid)

    def wait(self, timeout=None):
        if not select.select([self._handle], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("zygote", timeout)
        os.waitpid(self.pid, 0)
        os.close(self._handle)

    def kill(self):
        os.kill(self.pid, 9)


def watches(stage):
    """Run the watcher until nothing waits."""
    workers.Zygote, Forked.layer = Forked, stage.layer
    course.KEEP_S = (0.01, 0.1)
    watcher.IDLE_S = 0.1
    for role, module in WORKERS.items():
        module.main = _playing(stage.layer, role, module.main)
    return stage.run(watch, "--once")


def _playing(layer, role, main):
    def played(argv):
        layer.plays(role)
        return main(argv)

    return played


def _dropped(stage, agent, document, **files):
    (stage.base / "agent").write_text(agent)
    stage.spool().create()
    bundle = stage.root / "bundles" / "calc"
    bundle.mkdir(parents=True)
    for name, text in files.items():
        (bundle / name.replace("_py", ".py")).write_text(text)
    raw = json.dumps({"bundle_dir": str(bundle)} if document is None else document).encode()
    stage.publish([(raw, None)])


def repairable(stage):
    whole = stage.base / "whole"
    whole.mkdir()
    (whole / "calc.py").write_text(WHOLE)
    (whole / "test_calc.py").write_text(TEST)
    sha256 = snapshot(whole, roots=[stage.base], store=stage.base / "elsewhere").sha256
    _dropped(stage, f"repairs {sha256}", None, calc_py=BROKEN, test_calc_py=TEST)


def hopeless(stage):
    _dropped(stage, "hopeless", None, calc_py=BROKEN)


def unusable(stage):
    _dropped(stage, "noop", {"bundle_dir": "/nonexistent"}, calc_py=BROKEN)


def watched_to_the_end(stage):
    """Let healthy watchers come, each later than the one before, until nothing waits; then clean up.

    Failures of two of them are within one window, so that it is full soon.
    """
    for turn in range(ROUNDS):
        if not stage.waits("repair"):
            break
        in_a_fork(lambda turn=turn: (ahead(LATER_S + turn * 300.0), watches(stage)))
    ahead(LATER_S)
    finishes_all(stage, "challengers")
    for queue in ("repair", "challengers"):
        stage.spool(queue).sweep()
    cleans(stage)


def _watcher_scenes():
    found = {}
    for name, ready in (("repair", repairable), ("hopeless", hopeless), ("unusable", unusable)):
        for role in ("", "prepare", "judge") if name == "repair" else ("", "judge") if name == "hopeless" else ("",):
            found[f"watch-{name}{'.' + role if role else ''}"] = Scene(
                ready, watches, watched_to_the_end, role, watches
            )
    return found


WATCHED = _watcher_scenes()
