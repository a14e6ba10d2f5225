"""inside: the sandbox's end of a trial: unpack a bundle, run pytest on it as a person would, say how that ended.

Runs under the bundle's interpreter (Python 3.8 or newer, standard library only), after `sandbox/inside.py` and
`server/plain.py`, whose functions it uses. It never imports a line of the bundle's: each run is a process of its own.
Requests:

    tree     unpack the files that follow into the work directory
    run      pytest → exit status, seconds, KiB, JUnit cases, tail of its output
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
        report = os.path.join(place, "report.xml")
        with io.open(os.path.join(place, "trial_plugin.py"), "w") as file:
            file.write(PLUGIN)
        environment = dict(os.environ, PYTHONHASHSEED=str(request["hash_seed"]), TRIAL_SEED=str(request["seed"] or ""))
        environment["PYTHONPATH"] = place + os.pathsep + environment["PYTHONPATH"]
        command = [sys.executable, "-m", "pytest", "-p", "trial_plugin", "--junitxml=" + report]
        found = plain_run(command + request["arguments"], "bundle", environment, request["limit_s"], place)
        return dict(found, cases=junit_cases(report))


def serve():
    """Answer frames until the stream ends."""
    seal()
    _prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what escapes from a run is ours to reap, and its CPU counts
    while True:
        try:
            request = JSON.loads(stream.recv().decode())
        except EOFError:
            return
        answer = {"tree": do_tree, "run": do_run}[request["op"]](request)
        stream.send(JSON.dumps(answer).encode())


serve()
