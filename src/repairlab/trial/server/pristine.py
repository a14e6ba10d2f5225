"""pristine: the process that talks to the agent; it never runs a line of the bundle's.

One part of the program that `repairlab.trial.server` assembles (Python 3.8 or newer). It owns the stream: forks
close it, and the process is not dumpable, so that nobody of the same user can reach its descriptors through /proc.

Requests are JSON frames, answered in order; `tree` is followed by frames with the packed files, `start` by one with the
other parts of the program.

    tree     unpack the bundle into the work directory
    start    import pytest, fork the hot worker, collect      → ids, errors
    baseline run all tests in the hot worker                  → outcome, CPU, lines of each
    load     load everything anew with other texts of some files, run the tests → ids, causes, outcomes
    cost     CPU seconds spent so far                         → by process
    batch    judge candidates (hot, or fresh where needed)    → frames of verdicts, as they become known
    behave   run patches on inputs derived from the tests      → what each gives on each
    pytest   plain `python -m pytest` in a process of its own → exit status, JUnit cases, tail of its output
"""

import json as JSON  # noqa: N812  the parts share one name space, and `json` is what a bundle may patch
import resource

COLLECT_S = 5.0  # for importing a candidate anew, in CPU seconds
BUNDLE_PATH = []  # where forks import from first; what this process imports late (a codec, say) is never the bundle's


class Pristine:
    """The server's state: where the bundle lies, what was collected, the hot worker."""

    def __init__(self):
        self.base = os.getcwd()
        self.root = os.path.join(self.base, "bundle")
        self.hot = None
        self.pid = 0
        self.originals = {}

    def do_tree(self, request):
        recv_files(stream, self.root)
        root = os.path.realpath(self.root)
        os.environ.update(request["env"])
        paths = [os.path.join(root, path) for path in request["path"]]
        if paths:
            os.environ.setdefault("PYTHONPATH", os.pathsep.join(paths))
        BUNDLE_PATH[:] = [root] + [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        sys.dont_write_bytecode = True
        return {"root": root}

    def do_start(self, request):
        parts = stream.recv()
        os.chdir(self.root)
        root = os.path.realpath(self.root)
        inside = root + os.sep
        ours = sys.path
        sys.path = [p for p in BUNDLE_PATH if not (os.path.realpath(p) + os.sep).startswith(inside)] + ours
        try:
            import pytest  # from the interpreter, never from the bundle
        except ImportError as error:
            return {"missing": str(error)[:1000]}
        import unittest  # noqa: F401

        sys.path = ours
        own = self._whole(parts)
        quiet()
        self.arguments = request["arguments"]
        self.originals = {
            os.path.join(root, path): (contents(os.path.join(root, path)).decode(encoding), encoding)
            for path, encoding in request["encodings"].items()
        }
        self.tree = Tree(root, self.originals)
        TREE[:] = [self.tree]
        self.started = dict(request, python=sys.version.split()[0], pytest=pytest.__version__)
        return dict(self._fork_hot(request["collect_s"]), own_s=own)

    @staticmethod
    def _whole(parts):
        """Become the whole program, once; return the seconds that took."""
        began = time.monotonic()
        if "hot_main" not in globals():
            exec(loaded(parts, _name), globals())
        return time.monotonic() - began

    def _fork_hot(self, limit):
        ours, theirs = pair()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                ours.close()
                del PRIVATE[:]
                leave_server()
                os.setsid()
                prctl(PR_SET_CHILD_SUBREAPER, 1)
                hot_main(Channel(theirs), self.arguments, {path: text for path, (text, _) in self.originals.items()})
                code = 0
            except EOFError:
                code = 0
            finally:
                os._exit(code)
        theirs.close()
        PRIVATE[:] = [ours.fileno()]
        KEEP.clear()
        KEEP.add(self.pid)
        self.hot = Channel(ours)
        answer = self._ask_hot(None, limit)
        self.tree.remember()
        return answer

    def _ask_hot(self, request, limit):
        """Return the hot worker's answer, or how it was lost; then it is dead and reaped."""
        try:
            if request is not None:
                self.hot.send(request)
            return self.hot.receive(limit)
        except socket.timeout:
            why = "no answer within %g s" % limit
        except (EOFError, OSError, ValueError) as error:
            why = "closed: %s" % error
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        _killed(self.pid)
        status = os.waitpid(self.pid, 0)[1]
        if ended is not None or not why.startswith("no answer"):
            why = "killed by signal %d" % (status & 127) if status & 127 else "exited with status %d" % (status >> 8)
        KEEP.clear()
        del PRIVATE[:]
        reap_strays()
        self.tree.undo(thorough=True)  # nobody is left to do so, and the next worker takes it as it is
        self.hot = None
        return {"lost": why}

    def do_plan(self, request):
        """Remember the order of the tests (failing ones first), how many fail, and the CPU seconds of each."""
        self.plan = request
        return self._ask_hot(request, 60) if self.hot is not None else {"lost": "no worker"}

    def do_cost(self, request):
        """Return CPU seconds by process, those of the hot worker as it says."""
        forks = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = {"pristine": _cpu(), "fresh": forks.ru_utime + forks.ru_stime}
        return dict(ours, **(self._ask_hot(request, 10) if self.hot is not None else {}))

    def do_baseline(self, request):
        if self.hot is None:
            return {"lost": "no worker"}
        return self._ask_hot(request, 2 * request["wall_s"] + 10)

    def do_behave(self, request):
        """Run patches on derived inputs; {} where the hot worker cannot."""
        return self._ask_hot(request, 1.5 * request["wall_s"]) if self.hot is not None else {"lost": "no worker"}

    def root_paths(self, request):
        """Make the paths of edits absolute."""
        root = os.path.realpath(self.root)
        for item in request["batch"]:
            for path in list(item):
                item[os.path.join(root, path)] = item.pop(path)

    def do_batch(self, request):
        """Judge candidates; yield their verdicts in order, in pieces, each a frame of its own."""
        batch, done = request["batch"], 0
        for verdicts in drained(self._hot_verdicts(request)):
            judged = list(zip(batch[done:], verdicts))
            done += len(judged)
            yield self._answer(request, judged)
        for edits in batch[done:]:  # the hot worker was lost on one of them
            single = dict(request, batch=[edits], limit_s=request["limit_s"] / len(batch))
            found = [verdict for verdicts in self._hot_verdicts(single) for verdict in verdicts]
            yield self._answer(request, [(edits, (found or [["lost", ""]])[0])])

    def _hot_verdicts(self, request):
        """Yield lists of verdicts from the hot worker (a new one where there is none), as long as it gives any."""
        if self.hot is None and ("lost" in self._fork_hot(request["limit_s"] + 30) or self._ask_hot(self.plan, 60)):
            return
        left, question = len(request["batch"]), request
        while left > 0:
            verdicts = self._ask_hot(question, request["limit_s"]).get("verdicts")
            if not verdicts:
                return
            left, question = left - len(verdicts), None
            yield verdicts

    def do_load(self, request):
        """Say how the tests come out where the files `texts` are other than they came."""
        texts = {os.path.join(os.path.realpath(self.root), path): text for path, text in request["texts"].items()}
        for path, text in texts.items():
            self._put(path, text, self.originals[path][1])
        try:
            arguments = self.arguments
            return forked_load(lambda: (leave_server(), collect(arguments))[1], request["limit_s"], request["wall_s"])
        finally:
            for path in texts:
                self._put(path, *self.originals[path])
            self.tree.undo(thorough=True)

    def _answer(self, request, judged):
        found = []
        for edits, verdict in judged:
            found.append(self._fresh(request, edits) if verdict[0] == "fresh" else [*verdict[:2], False])
        return {"verdicts": found}

    def _fresh(self, request, edits):
        """Judge a candidate by collecting the patched files anew in a fork of this process."""
        for path, spans in edits.items():
            text, encoding = self.originals[path]
            self._put(path, spliced(text, spans), encoding)
        plan, arguments = self.plan, self.arguments

        def allowance(_at, letters):
            index = plan["order"][min(len(letters), len(plan["order"]) - 1)]
            return plan["allow"][index] * request["scale"] + (0 if letters else COLLECT_S)

        body = alone(lambda: collected(arguments, plan), lambda: True, plan, plan["order"], request["partial"])
        found = []
        try:
            lanes = Lanes()
            lanes.width = 1
            room = len(plan["order"]) + 8
            lanes.run(
                [Work([], True)], lambda work: Lane(work, body, room, allowance), lambda lane: found.append(lane) or []
            )
            return [*alone_verdict(found[0], len(plan["order"])), True]
        finally:
            for path in edits:
                self._put(path, *self.originals[path])

    @staticmethod
    def _put(path, text, encoding):
        """Replace a file; a new inode and no byte code, so that its old time stamp can deceive no importer."""
        os.unlink(path)
        with io.open(path, "wb") as stream:
            stream.write(text.encode(encoding))

    def do_pytest(self, request):
        """Run pytest as a person would, in a process of its own, and say how it ended and what it counted."""
        import tempfile

        with tempfile.TemporaryDirectory(dir=self.base) as place:
            report = os.path.join(place, "report.xml")
            command = [sys.executable, "-m", "pytest", "--junitxml=" + report] + request["arguments"]
            result = plain_run(command, self.root, None, request["limit_s"], place)
            return dict(result, cases=junit_cases(report))


def contents(path):
    with io.open(path, "rb") as stream:
        return stream.read()


def drained(pieces):
    """Yield lists of verdicts; from the first on that asks for a fresh import, only once all of them are there.

    That import replaces files of the bundle, which a candidate in a hot fork could read at the same time.
    """
    for verdicts in pieces:
        yield from [verdicts, *pieces] if any(verdict[0] == "fresh" for verdict in verdicts) else [verdicts]


def leave_server():
    """In a fork that is about to run the bundle's code: give up the stream, and be an ordinary process again."""
    sys.path[:0] = BUNDLE_PATH
    stream.close()
    prctl(PR_SET_DUMPABLE, 1)


def collected(arguments, plan):
    """In a fork: collect anew; return (session, recorder, plain calls), these as the plan has them."""
    leave_server()
    session, recorder = collect(arguments)
    plain = plain_items(session)
    for index in plan["whole"]:
        plain[index : index + 1] = [None] * len(plain[index : index + 1])  # there may be fewer tests than before
    return session, recorder, plain


def serve():
    """Answer frames until the stream ends."""
    seal()
    _prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
    pristine = Pristine()
    while True:
        try:
            request = JSON.loads(stream.recv().decode())
        except EOFError:
            return
        if "batch" in request:
            pristine.root_paths(request)
        answer = getattr(pristine, "do_" + request["op"])(request)
        for frame in [answer] if isinstance(answer, dict) else answer:
            stream.send(JSON.dumps(frame).encode())
