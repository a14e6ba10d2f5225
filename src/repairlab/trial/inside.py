"""inside: the sandbox's end of a trial: unpack a bundle, run pytest on it as a person would, say how that ended.

Runs under the bundle's interpreter (Python 3.8 or newer, standard library only), after `sandbox/inside.py` and
`server/junit.py`, whose functions it uses. It never imports a line of the bundle's: each run is a process of its own.
Requests:

    tree     unpack the files that follow into the work directory
    run      pytest (or, with `script`, that program) → exit status, seconds, KiB, JUnit cases, tail of its output
"""

import io
import json as JSON  # noqa: N812  a bundle may patch `json`, and its processes are not this one; the name says whose
import os
import select
import signal
import subprocess
import sys
import tempfile
import time

MAX_OUTPUT = 1 << 14
PLUGIN = """
import json, os, random
seed, told, total = os.environ.pop("TRIAL_SEED"), os.environ.pop("TRIAL_TOLD"), [0.0]
def pytest_collection_modifyitems(items):
    if seed:
        random.Random(int(seed)).shuffle(items)
def pytest_runtest_makereport(item, call):
    if call.when == "call":
        total[0] += call.duration
def pytest_sessionfinish():
    with open(told, "w") as file:
        json.dump(total[0], file)
"""


def do_tree(request):
    """Unpack what follows; set the environment that every run gets."""
    root = os.path.join(os.getcwd(), "bundle")
    recv_files(stream, root)
    os.environ.update(request["env"])
    paths = [root] + [os.path.join(root, path) for path in request["path"]]
    os.environ.setdefault("PYTHONPATH", os.pathsep.join(paths))
    return {"root": os.path.realpath(root)}


def do_run(request):
    """Run the tests once."""
    with tempfile.TemporaryDirectory(dir=os.getcwd()) as place:
        report, told = os.path.join(place, "report.xml"), os.path.join(place, "told.json")
        environment = dict(os.environ, PYTHONHASHSEED=str(request["hash_seed"]))
        if request["script"]:
            command = [sys.executable, request["script"]]
        else:
            with io.open(os.path.join(place, "trial_plugin.py"), "w") as file:
                file.write(PLUGIN)
            environment["PYTHONPATH"] = place + os.pathsep + environment["PYTHONPATH"]
            environment.update(TRIAL_SEED=str(request["seed"] or ""), TRIAL_TOLD=told)
            command = [sys.executable, "-m", "pytest", "-p", "trial_plugin", "--junitxml=" + report]
        found = timed(command + request["arguments"], environment, request["limit_s"], place)
        found["cases"] = junit_cases(report)
        found["calls_s"] = number(told)
        return found


def timed(command, environment, limit, place):
    """Run a command in the bundle; return its status, seconds of wall and CPU, peak KiB, and the end of its words."""
    begun = time.monotonic()
    with io.open(os.path.join(place, "input"), "w+b") as nothing:
        process = subprocess.Popen(
            command,
            cwd="bundle",
            env=environment,
            stdin=nothing,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    tail, status, used = watched(process, begun + limit)
    code = -(status & 127) if status & 127 else status >> 8
    return {
        "exit": code,
        "timed_out": used is None,
        "wall_s": time.monotonic() - begun,
        "cpu_s": used.ru_utime + used.ru_stime if used else 0.0,
        "peak_kb": used.ru_maxrss if used else 0,
        "output": tail.decode("utf-8", "replace"),
    }


def watched(process, deadline):
    """Read the output until the process ends or the deadline has passed; return (tail, status, rusage or None)."""
    tail = b""
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN)
    while True:
        ended = os.wait4(process.pid, os.WNOHANG)
        if ended[0] or time.monotonic() >= deadline:
            break
        if poll.poll(20):
            tail = (tail + os.read(process.stdout.fileno(), 1 << 16))[-MAX_OUTPUT:]
    while poll.poll(0):
        data = os.read(process.stdout.fileno(), 1 << 16)
        tail = (tail + data)[-MAX_OUTPUT:]
        if not data:
            break
    if not ended[0]:
        ended = (process.pid, signal.SIGKILL, None)
        os.killpg(process.pid, signal.SIGKILL)
        os.wait4(process.pid, 0)
    process.returncode = ended[1]  # or Popen waits for it again
    process.stdout.close()
    return tail, ended[1], ended[2]


def number(path):
    try:
        with io.open(path) as file:
            return max(0.0, float(JSON.loads(file.read(100))))
    except (OSError, ValueError, TypeError):
        return 0.0


def serve():
    """Answer frames until the stream ends."""
    seal()
    while True:
        try:
            request = JSON.loads(stream.recv().decode())
        except EOFError:
            return
        answer = {"tree": do_tree, "run": do_run}[request["op"]](request)
        stream.send(JSON.dumps(answer).encode())


serve()
