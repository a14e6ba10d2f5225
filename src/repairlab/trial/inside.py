"""inside: the sandbox's end of a trial: unpack a bundle, run pytest on it as a person would, say how that ended.

Runs under the bundle's interpreter (Python 3.8 or newer, standard library only), after `sandbox/inside.py` and
`server/plain.py`, whose functions it uses. It never imports a line of the bundle's: each run is a process of its own.
Requests:

    tree     unpack the files that follow into the work directory
    run      pytest → exit status, seconds, KiB, JUnit cases, tail of its output
    measure  one Python file of the bundle → the same without cases
"""

import io
import json as JSON  # noqa: N812  a bundle may patch `json`, and its processes are not this one; the name says whose
import os
import sys
import tempfile

PLUGIN = """
import os, random
seed = os.environ.pop("TRIAL_SEED")
def pytest_collection_modifyitems(items):
    if seed:
        random.Random(int(seed)).shuffle(items)
"""
# What the sources do, or try, as the interpreter tells its audit hooks (PEP 578): an event counts where a source is on
# the stack, nearer than an import. A note is a line in a file, written before the thing happens.
WATCH = """
import json, os, sys
KINDS = {
    "starts processes": "subprocess.Popen os.system os.exec os.fork os.forkpty os.posix_spawn os.spawn pty.spawn",
    "uses the network": "socket.connect socket.bind socket.sendto socket.sendmsg socket.getaddrinfo "
    "socket.gethostbyname socket.gethostbyaddr",
    "changes files": "os.remove os.rename os.rmdir os.mkdir os.link os.symlink os.truncate os.chmod os.chown os.utime",
    "ends the process": "os.kill os.killpg signal.pthread_kill",
    "reaches into memory or interpreter": "ctypes.dlopen ctypes.dlsym",
    "loads objects from bytes": "pickle.find_class",
}
WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
def watch(path, sources):
    kinds = {event: kind for kind, events in KINDS.items() for event in events.split()}
    note = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    sources, seen, known, write, frame_of = frozenset(sources), set(), {}, os.write, sys._getframe
    norm = os.path.normpath
    def hook(event, arguments):
        kind = kinds.get(event)
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITE:
            kind = "changes files"
        if kind is None or kind in seen:
            return
        frame = frame_of(1)
        while frame is not None:
            name = frame.f_code.co_filename
            if name not in known:
                known[name] = norm(name) in sources
            if known[name]:
                seen.add(kind)
                write(note, (kind + chr(10)).encode())
                return
            if name.startswith("<frozen importlib"):
                return
            frame = frame.f_back
    sys.addaudithook(hook)
if "TRIAL_SOURCES" in os.environ:
    with open(os.environ.pop("TRIAL_SOURCES")) as file:
        watch(os.environ.pop("TRIAL_SEEN"), json.load(file))
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
        report, seen = os.path.join(place, "report.xml"), os.path.join(place, "seen")
        with io.open(os.path.join(place, "trial_plugin.py"), "w") as file:
            file.write(WATCH + PLUGIN)
        environment = dict(os.environ, PYTHONHASHSEED=str(request["hash_seed"]), TRIAL_SEED=str(request["seed"] or ""))
        environment["PYTHONPATH"] = place + os.pathsep + environment["PYTHONPATH"]
        if request["sources"]:
            environment.update(TRIAL_SEEN=seen, TRIAL_SOURCES=listed(request["sources"], place))
        command = [sys.executable, "-m", "pytest", "-p", "trial_plugin", "--junitxml=" + report]
        found = plain_run(command + request["arguments"], "bundle", environment, request["limit_s"], place)
        return dict(found, cases=junit_cases(report), seen=noted(seen))


def do_measure(request):
    """Run one file once."""
    with tempfile.TemporaryDirectory(dir=os.getcwd()) as place:
        command = [sys.executable, request["path"]]
        return plain_run(command, "bundle", dict(os.environ, PYTHONHASHSEED="0"), request["limit_s"], place)


def listed(sources, place):
    """Write down the paths that sources may be imported by; return where."""
    path = os.path.join(place, "sources.json")
    roots = {os.path.join(os.getcwd(), "bundle"), os.path.realpath("bundle")}
    with io.open(path, "w") as file:
        file.write(JSON.dumps([os.path.normpath(os.path.join(root, name)) for root in roots for name in sources]))
    return path


def noted(path):
    """Return the lines that were noted."""
    try:
        with io.open(path, errors="replace") as file:
            return sorted(set(file.read(4000).split("\n")) - {""})[:50]
    except OSError:
        return []


def serve():
    """Answer frames until the stream ends."""
    seal()
    _prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what escapes from a run is ours to reap, and its CPU counts
    while True:
        try:
            request = JSON.loads(stream.recv().decode())
        except EOFError:
            return
        answer = {"tree": do_tree, "run": do_run, "measure": do_measure}[request["op"]](request)
        stream.send(JSON.dumps(answer).encode())


serve()
