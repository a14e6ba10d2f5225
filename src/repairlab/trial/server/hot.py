"""hot: the loop of the worker that has collected the tests, and the baseline run.

One part of the program that `repairlab.trial.server` assembles (Python 3.8 or newer).
"""

import gc
import resource
import socket

AFTER_HANG_S = 0.5  # CPU that a test may use at baseline once another has run out of its own
LEAST_HANG_S = 0.5  # that a test must have had before the end of the run's time says anything about it
MAX_RESTARTS = 50  # forks of one baseline run that may die before the rest of the tests counts as dead


def hot_main(channel, arguments, texts):
    """Collect once, then answer requests until the channel closes. Nothing of the bundle's runs before this."""
    PRIVATE.append(channel.sock.fileno())
    files = {path: LiveFile(path, text) for path, text in texts.items()}
    try:
        session, recorder = executed_functions(files, lambda: collect(arguments))
    except BaseException as error:
        text = "%s: %s" % (type(error).__name__, str(error)[-2000:])
        channel.send({"errors": [["", text]], "causes": [cause_of("", error)], "ids": []})
        return
    ids = [item.nodeid for item in session.items]
    of_tests = {os.path.realpath(str(item.fspath)) for item in session.items if not hasattr(item, "dtest")}
    found = {"errors": recorder.errors, "causes": recorder.causes, "ids": ids, "files": sorted(of_tests)}
    channel.send(found)
    for tree in TREE:
        tree.remember()  # what the import left stays, as it does for a person
    index_functions(files)
    settle()
    worker = Hot(session, recorder, files)
    while True:
        request = channel.receive()
        if request["op"] == "batch":
            worker.do_batch(request, channel.send)
        else:
            channel.send(getattr(worker, "do_" + request["op"])(request))


class Hot:
    """Answers `baseline`, `plan`, `cost` and `batch`."""

    def __init__(self, session, recorder, files):
        self.session = session
        self.recorder = recorder
        self.files = files
        self.plain = plain_items(session)
        self.compile_s = 0.0
        self.ran = {}  # test → path → lines that it ran, where it was traced

    def do_baseline(self, request):
        """Run the tests `order`, each bounded by `limit_s` of CPU; with `trace`, collect coverage too.

        A test that ends its fork (killed, exited, out of time) is recorded so, and the others go on in a new fork.
        """
        coverage = None
        if request["trace"]:
            sizes = {path: len(line_starts(live.text)) for path, live in self.files.items()}
            coverage = Coverage(sizes)
        waiting, tests = list(request["order"]), {}
        limit, stop_at = request["limit_s"], _monotonic() + request["wall_s"]
        for _ in range(MAX_RESTARTS):
            if not waiting or _monotonic() > stop_at:
                break
            body = baseline_body(self, waiting, limit, coverage, request)
            self._baseline_fork(body, waiting, tests, limit, stop_at, coverage)
            if any(test["outcome"] == "hang" for test in tests.values()):
                # One bug mostly hangs many tests alike; what the others take tells how long is long here.
                usual = max([test["cpu"] for test in tests.values() if test["outcome"] == "p"] or [0])
                limit = min(limit, max(AFTER_HANG_S, 20 * usual))
            waiting = [index for index in waiting if index not in tests]
        put_back(thorough=True)
        for index, test in tests.items() if coverage is not None else ():
            self.ran[index] = {path: {line for line, _hits in found} for path, found in test.get("lines", {}).items()}
        found = [dict(tests[index], index=index) for index in sorted(tests)]
        return {"tests": found, "missing": waiting}

    def _baseline_fork(self, body, waiting, tests, limit, stop_at, coverage):
        if coverage is not None:
            coverage.clear()
        fork, running, since = Fork(body), None, _monotonic()
        for record in fork.records(lambda: 4 * limit + 2, stop_at):
            kind, _, rest = record.partition(" ")
            if kind == "b" and rest.isdigit():
                running, since = int(rest), _monotonic()
            elif kind == "r":
                try:
                    entry = JSON.loads(rest)
                    tests[int(entry.pop("index"))] = entry
                    running = None
                except (ValueError, KeyError, TypeError, AttributeError):
                    pass  # no record of ours: the tests can write here too
        if running is None and fork.complete:
            return
        if fork.timed_out and _monotonic() > stop_at and _monotonic() - since < min(limit, LEAST_HANG_S):
            return  # the time of all tests was up, and this one has had none of its own
        dead = running if running is not None else next((i for i in waiting if i not in tests), None)
        if dead is not None:
            hang = fork.timed_out or fork.out_of_cpu
            message = "out of time" if hang else "the test ended its process (status %d)" % fork.status
            entry = {"outcome": "hang" if hang else "died", "cpu": limit, "wall": limit, "message": message}
            if coverage is not None:
                entry["lines"], entry["earlier"] = coverage.lines(), coverage.earlier()
            tests[dead] = entry

    def do_plan(self, request):
        """Note the plan, and forget the plain calls of tests that came out otherwise than under the whole protocol."""
        for index in request["whole"]:
            self.plain[index] = None
        self.plan = dict(request, ids=None)
        self.judge = Judge(self)
        settle()
        return {}

    def do_cost(self, request):
        """Return CPU seconds: of this process, of that for compiling and comparing, of its forks."""
        forks = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {"hot": _cpu(), "compile": self.compile_s, "forks": forks.ru_utime + forks.ru_stime}

    def swaps(self, edits):
        """Return what `_swaps` does, and keep the account."""
        began = _cpu()
        try:
            return self._swaps(edits)
        finally:
            self.compile_s += _cpu() - began

    def _swaps(self, edits):
        """Return ([(file, place of the functions, new code, its digest)], None), or (None, [verdict, ""])."""
        try:
            found = [
                (self.files[path], *pair) for path, spans in edits.items() for pair in self.files[path].pairs(spans)
            ]
        except SyntaxError:
            return None, ["syntax", ""]
        except (NeedsFresh, ValueError, RecursionError, MemoryError, OverflowError):
            return None, ["fresh", ""]
        return (found, None) if found else (None, ["same", ""])

    def do_batch(self, request, emit):
        """Judge candidates; their verdicts are handed to `emit` in pieces, in order."""
        self.judge.judge(request, self.plan, emit)

    def do_behave(self, request):
        """Say what patches do on inputs that the tests never gave."""
        return Behaviour(self).answer(request)


def baseline_body(hot, waiting, limit, coverage, request):
    plain, brief = hot.plain if request["plain"] else None, set(request["brief"])

    def body(write_end):
        recorder = hot.recorder

        def begin(index):
            _write(write_end, b"\nb %d\n" % index)
            if coverage is not None:
                coverage.start(index in brief)

        def report(index, outcome, cpu, wall):
            entry = {"index": index, "outcome": outcome, "cpu": cpu, "wall": wall, "message": recorder.note}
            if coverage is not None:
                coverage.stop()
                entry["lines"] = coverage.lines()
                if outcome == "f":
                    entry["earlier"] = coverage.earlier()
                coverage.clear()
                if recorder.excinfo is not None:
                    entry["crash"], entry["message"] = crash(recorder.excinfo, coverage)
                entry["types"] = [[p, n, name, kind] for (p, n, name), kind in sorted(coverage.types.items())]
                coverage.types.clear()
            send_all(write_end, b"\nr " + JSON.dumps(entry).encode() + b"\n")
            return True

        recorder.keep_excinfo = coverage is not None
        run_tests(hot.session, recorder, waiting, limit, report, begin, plain)

    return body


def send_all(fd, data):
    while data:
        data = data[_write(fd, data) :]


def settle():
    """Move everything that is alive out of the collector's sight: forks then touch fewer pages."""
    gc.collect()
    gc.freeze()


def pair():
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
