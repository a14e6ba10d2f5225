"""An agent for the watcher's tests: one behaviour a name, most of them bad.

    agent.py BEHAVIOUR [--log FILE] [ARGUMENT] --handoff FILE --out DIR --effort N

Standard library only, so that it starts within milliseconds. With --log, each run appends one line: behaviour, the
job's directory name, effort, pid. The frozen bundle's directory is named by its hash, which saves computing it.
"""

import json
import os
import pathlib
import signal
import sys
import time

BEHAVIOURS = {}


def behaviour(function):
    BEHAVIOURS[function.__name__] = function
    return function


class Run:
    def __init__(self, argv):
        self.behaviour, rest = argv[0], argv[1:]
        options = {}
        self.arguments = []
        while rest:
            if rest[0].startswith("--"):
                options[rest[0]] = rest[1]
                rest = rest[2:]
            else:
                self.arguments.append(rest.pop(0))
        self.handoff = json.loads(pathlib.Path(options["--handoff"]).read_bytes())
        self.out = pathlib.Path(options["--out"])
        self.job = pathlib.Path(options["--handoff"]).parent.parent.name
        self.effort = int(options["--effort"])
        self.bundle = pathlib.Path(self.handoff["bundle_dir"])
        if "--log" in options:
            line = f"{self.behaviour} {self.job} {self.effort} {os.getpid()}\n".encode()
            fd = os.open(options["--log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.write(fd, line)
            os.close(fd)

    def left_behind(self):
        """Tell the first argument, a file, our pid: all at once, for we may be killed in the middle of it."""
        staged = pathlib.Path(f"{self.arguments[0]}.{os.getpid()}")
        staged.write_text(str(os.getpid()))
        staged.replace(self.arguments[0])

    def telemetry(self, **fields):
        base = {
            "ok": True,
            "attempts": 1,
            "strategy": "noop",
            "pattern_id": None,
            "details": "the tests pass",
            "bundle_sha256": self.bundle.name,
            "parent_sha256": self.bundle.name,
            "schema": "telemetry/1",
            "effort": self.effort,
        }
        return {**base, **fields}

    def answer(self, code=0, **fields):
        sys.stdout.write(json.dumps(self.telemetry(**fields)) + "\n")
        sys.stdout.flush()
        return code

    def negative(self, **fields):
        return self.answer(1, ok=False, strategy="exhausted", details="no candidate", reason="exhausted", **fields)

    def patch(self, text):
        self.out.mkdir(exist_ok=True)
        (self.out / "patch.diff").write_bytes(text)


@behaviour
def noop(run):
    """Well-behaved and quick."""
    return run.answer()


@behaviour
def hopeless(run):
    return run.negative()


@behaviour
def repairs(run):
    """Well-behaved: ARGUMENT is the hash of the bundle with `return a - b` in calc.py turned into `return a + b`."""
    run.patch(b"--- a/calc.py\n+++ b/calc.py\n@@ -1,2 +1,2 @@\n def add(a, b):\n-    return a - b\n+    return a + b\n")
    return run.answer(strategy="heuristic_microfix", pattern_id="arithmetic", bundle_sha256=run.arguments[0])


@behaviour
def slow(run):
    time.sleep(float(run.arguments[0]))
    return run.answer()


@behaviour
def by_bundle(run):
    """The first word of the bundle's file BEHAVIOUR says what to do."""
    word, *run.arguments = (run.bundle / "BEHAVIOUR").read_text().split()
    return BEHAVIOURS[word](run)


@behaviour
def hangs(run):
    signal.pause()


@behaviour
def ignores_sigterm(run):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


@behaviour
def answers_on_sigterm(run):
    """What the real agent does at its deadline: the best so far, which here is nothing."""

    def stop(*_):
        sys.exit(run.negative())

    signal.signal(signal.SIGTERM, stop)
    while True:
        time.sleep(60)


@behaviour
def stops_itself(run):
    os.kill(os.getpid(), signal.SIGSTOP)


@behaviour
def forks_daemon(run):
    """Answers at once, and leaves a daemon behind in a session of its own that holds every descriptor it inherited."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            run.left_behind()
            time.sleep(600)
        os._exit(0)
    os.wait()
    while not os.path.exists(run.arguments[0]):
        time.sleep(0.001)
    return run.negative()


@behaviour
def leaves_child(run):
    """Answers at once, with a child in its own process group still running."""
    if os.fork() == 0:
        run.left_behind()
        time.sleep(600)
    while not os.path.exists(run.arguments[0]):
        time.sleep(0.001)
    return run.negative()


@behaviour
def kills_parent(run):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


@behaviour
def segfaults(run):
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGSEGV)


@behaviour
def exits(run):
    sys.stderr.write("starting\nthe last line says why\n")
    return int(run.arguments[0])


@behaviour
def answers_and_exits(run):
    return run.answer(int(run.arguments[0]))


@behaviour
def negative_and_exits_0(run):
    run.negative()
    return 0


@behaviour
def silent(run):
    return 0


@behaviour
def garbage(run):
    sys.stdout.buffer.write(os.urandom(2000))
    return 0


@behaviour
def two_objects(run):
    run.answer()
    return run.answer()


@behaviour
def talks_on_stdout(run):
    sys.stdout.write("INFO: started\n")
    return run.answer()


@behaviour
def nests_deeply(run):
    sys.stdout.write('{"ok":' + "[" * 100_000 + "]" * 100_000 + "}")
    return 0


@behaviour
def not_a_number(run):
    sys.stdout.write(json.dumps(run.telemetry(candidates_per_s=float("nan"))))
    return 0


@behaviour
def missing_field(run):
    told = run.telemetry()
    del told["bundle_sha256"]
    sys.stdout.write(json.dumps(told))
    return 0


@behaviour
def twenty_megabytes(run):
    return run.answer(padding="x" * (20 << 20))


@behaviour
def floods(run):
    """Writes to stdout until somebody stops it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    block = b"x" * (1 << 20)
    while True:
        os.write(1, block)


@behaviour
def lies_about_parent(run):
    return run.answer(parent_sha256="0" * 64, bundle_sha256="0" * 64)


@behaviour
def lies_about_result(run):
    run.arguments = ["0" * 64]
    return repairs(run)


@behaviour
def noop_with_other_hash(run):
    return run.answer(bundle_sha256="0" * 64)


@behaviour
def repaired_without_patch(run):
    return run.answer(strategy="heuristic_microfix", bundle_sha256="0" * 64)


@behaviour
def patch_is_a_link(run):
    run.out.mkdir(exist_ok=True)
    (run.out / "patch.diff").symlink_to("/etc/passwd")
    return run.answer(strategy="heuristic_microfix", bundle_sha256="0" * 64)


@behaviour
def patch_is_a_fifo(run):
    run.out.mkdir(exist_ok=True)
    os.mkfifo(run.out / "patch.diff")
    return run.answer(strategy="heuristic_microfix", bundle_sha256="0" * 64)


@behaviour
def patch_escapes(run):
    run.patch(b"--- a/../../x\n+++ b/../../x\n@@ -1 +1 @@\n-a\n+b\n")
    return run.answer(strategy="heuristic_microfix", bundle_sha256="0" * 64)


@behaviour
def patch_does_not_apply(run):
    run.patch(b"--- a/calc.py\n+++ b/calc.py\n@@ -1 +1 @@\n-nothing like this\n+b\n")
    return run.answer(strategy="heuristic_microfix", bundle_sha256="0" * 64)


@behaviour
def edits_a_test(run):
    first = (run.bundle / "test_calc.py").read_bytes().split(b"\n")[0]
    run.patch(b"--- a/test_calc.py\n+++ b/test_calc.py\n@@ -1,2 +1,2 @@\n-" + first + b"\n+pass\n \n")
    return run.answer(strategy="heuristic_microfix", bundle_sha256="0" * 64)


@behaviour
def spoils_the_bundle(run):
    """Edits the frozen bundle in place, as the first system did."""
    os.chmod(run.bundle, 0o755)
    (run.bundle / "extra.py").write_text("x = 1\n")
    return run.answer()


if __name__ == "__main__":
    run = Run(sys.argv[1:])
    sys.exit(BEHAVIOURS[run.behaviour](run) or 0)
