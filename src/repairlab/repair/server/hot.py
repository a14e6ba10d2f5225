"""hot: the loop of the worker that has collected the tests, and the baseline run.

One part of the program that `repairlab.repair.server` assembles (Python 3.8 or newer).
"""

AFTER_HANG_S = 0.5  # CPU that a test may use at baseline once another has run out of its own
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
    index_functions(files)
    settle()
    worker = Hot(session, recorder, files)
    while True:
        request = channel.receive()
        channel.send(getattr(worker, "do_" + request["op"])(request))


class Hot:
    """Answers `baseline`, `plan`, `try` and `batch`."""

    def __init__(self, session, recorder, files):
        self.session = session
        self.recorder = recorder
        self.files = files
        self.plain = plain_items(session)
        self.batch = None

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
            self._baseline_fork(waiting, tests, limit, stop_at, coverage, request["plain"])
            if any(test["outcome"] == "hang" for test in tests.values()):
                # One bug mostly hangs many tests alike; what the others take tells how long is long here.
                usual = max([test["cpu"] for test in tests.values() if test["outcome"] == "p"] or [0])
                limit = min(limit, max(AFTER_HANG_S, 20 * usual))
            waiting = [index for index in waiting if index not in tests]
        return {"tests": [dict(tests[index], index=index) for index in sorted(tests)], "missing": waiting}

    def _baseline_fork(self, waiting, tests, limit, stop_at, coverage, plain):
        body = baseline_body(self, waiting, limit, coverage, self.plain if plain else None)
        if coverage is not None:
            coverage.clear()
        fork, running = Fork(body), None
        for record in fork.records(lambda: max(0.1, min(4 * limit + 2, stop_at - _monotonic()))):
            kind, _, rest = record.partition(" ")
            if kind == "b" and rest.isdigit():
                running = int(rest)
            elif kind == "r":
                try:
                    entry = JSON.loads(rest)
                    tests[int(entry.pop("index"))] = entry
                    running = None
                except (ValueError, KeyError, TypeError, AttributeError):
                    pass  # no record of ours: the tests can write here too
        if running is None and fork.complete:
            return
        dead = running if running is not None else next((i for i in waiting if i not in tests), None)
        if dead is not None:
            hang = fork.timed_out or fork.out_of_cpu
            message = "out of time" if hang else "the test ended its process (status %d)" % fork.status
            entry = {"outcome": "hang" if hang else "died", "cpu": limit, "wall": limit, "message": message}
            if coverage is not None:
                entry["lines"], entry["earlier"] = coverage.lines(), coverage.earlier()
            tests[dead] = entry

    def do_plan(self, request):
        """Forget the plain calls of those tests that came out otherwise than the whole protocol has them."""
        for index in request["whole"]:
            self.plain[index] = None
        return {}

    def swaps(self, edits):
        """Return ([(file, old code, new code)], None), or (None, verdict) where swapping will not do."""
        try:
            found = []
            for path, spans in edits.items():
                found += [(self.files[path], old, new) for old, new in self.files[path].pairs(spans)]
        except SyntaxError:
            return None, {"verdict": "syntax"}
        except (NeedsFresh, ValueError, RecursionError, MemoryError, OverflowError):
            return None, {"verdict": "fresh"}
        if any((old.co_name, old.co_firstlineno) in live.ran for live, old, _new in found):
            return None, {"verdict": "fresh"}
        return found, None

    def do_try(self, request):
        """Judge one candidate in a fork of its own."""
        swaps, answer = self.swaps(request["edits"])
        if answer is not None:
            return answer

        def apply():
            if not sum([live.swap(old, new) for live, old, new in swaps]):
                raise NeedsFresh

        return forked_try(lambda: (self.session, self.recorder), dict(request, plain=self.plain), apply)

    def do_batch(self, request):
        """Judge many candidates in few forks."""
        if self.batch is None:
            self.batch = Batch(self)
        return {"verdicts": self.batch.judge(request)}

    def do_behave(self, request):
        """Say what patches do on inputs that the tests never gave."""
        return Behaviour(self).answer(request)


def baseline_body(hot, waiting, limit, coverage, plain):
    def body(write_end):
        recorder = hot.recorder

        def begin(index):
            _write(write_end, b"\nb %d\n" % index)
            if coverage is not None:
                coverage.start()

        def report(index, outcome, cpu, wall):
            entry = {"index": index, "outcome": outcome, "cpu": cpu, "wall": wall}
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
        run_tests(hot.session, recorder, waiting, lambda index: limit, report, begin, plain)

    return body


def send_all(fd, data):
    while data:
        data = data[_write(fd, data) :]


def forked_try(prepare, request, apply):
    """Run one candidate in a fork of this process; `prepare` gives (session, recorder) inside it."""
    order, failing = request["order"], request["failing"]
    allowance = [seconds * request["scale"] for seconds in request["allow"]]
    outcomes, notes = {}, []

    def body(write_end):
        gc.disable()
        session, recorder = prepare()
        if apply is not None:
            apply()
        names = request.get("ids")
        if names is not None and [item.nodeid for item in session.items] != names:
            _write(write_end, b"\n! ids\n")
            return
        go_on = Progress(failing, request["partial"])

        def report(index, outcome, cpu, wall):
            _write(write_end, ("\n%d %s\n" % (index, outcome)).encode())
            return go_on(outcome in "psx")

        run_tests(session, recorder, order, lambda index: allowance[index], report, None, request.get("plain"))

    fork = Fork(body)
    longest = 4 * max([allowance[index] for index in order] or [1]) + 0.5 + request.get("extra_s", 0)
    for record in fork.records(lambda: longest):
        left, _, right = record.partition(" ")
        if left.isdigit():
            outcomes[int(left)] = right
        else:
            notes.append(right)
    if "NeedsFresh" in notes:
        return {"verdict": "fresh"}
    if "ids" in notes:
        return {"verdict": "ids"}
    return {"verdict": judge(fork, outcomes, order), "outcomes": sorted(outcomes.items())}


class Progress:
    """Whether the next test of a candidate is worth running.

    The first `failing` tests are those that fail at baseline. Up to `partial` of them run even where one fails, to see
    whether the candidate repairs some; the passing ones run only for a candidate that repairs at least one.
    """

    def __init__(self, failing, partial):
        self.failing = failing
        self.partial = partial
        self.seen = self.good = 0
        self.broken = False

    def __call__(self, good):
        self.seen += 1
        self.good += good
        if self.seen > self.failing:
            return good
        self.broken = self.broken or not good
        if self.broken and self.seen >= self.partial and not self.good:
            return False
        return not (self.seen == self.failing and self.broken and not self.good)
