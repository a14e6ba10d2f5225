"""behaviour: what patches do on inputs that the tests never gave.

One part of the program that `repairlab.repair.server` assembles (Python 3.8 or newer). A fork of the hot worker runs
the tests once with the first patch and keeps a copy of the arguments of every call from outside the editable files into
them, then derives more from those. Each patch gets a fork of that fork, hence the very same objects; an input that ends
it (out of time, killed) is recorded as that, and the next fork goes on behind it. Nothing is believed: it is a hint
about which patches differ, never about which is right.
"""

import copy

MAX_CALLS = 60  # calls of tests that are kept, for each function
MAX_ALL_CALLS = 240
MAX_INPUTS = 150  # that a patch is run on, those of the tests included
FURTHER = 40  # calls, for each of a test, beyond those with one changed argument
LONGEST_CALL = 300  # characters of a call that a person is shown
LONGEST_INPUT = 4000  # characters of an input's description beyond which it is not used
MAX_ENDED = 3  # forks that one patch may lose
CAPTURE_S = 3.0  # CPU seconds for the tests' run and the derivation
SAMPLE_ROOM = 256 << 20  # bytes that a patch may take on top of what its fork has


class Call:
    """One call of a function: its arguments by position, and text that is the same for the same call."""

    __slots__ = ("arguments", "function", "seen", "text")

    def __init__(self, function, arguments, seen):
        self.function = function
        self.arguments = arguments
        self.seen = seen
        say = Describer()
        shown = ", ".join(say(argument) for argument in arguments)
        self.text = "%s(%s)" % (getattr(function, "__qualname__", "?"), shown)


class Capture:
    """Profile function that keeps the calls from elsewhere into the editable files."""

    def __init__(self, files):
        self.files = files
        self.places = {}
        self.functions = {found[0].__code__: found[0] for live in files.values() for found in live.functions.values()}
        self.calls = {}
        self.counts = {}

    def place(self, code):
        name = code.co_filename
        if name not in self.places:
            self.places[name] = os.path.realpath(name) in self.files
        return self.places[name]

    def __call__(self, frame, event, argument):
        if event != "call" or len(self.calls) >= MAX_ALL_CALLS:
            return
        code = frame.f_code
        if not self.place(code) or (frame.f_back is not None and self.place(frame.f_back.f_code)):
            return
        function = self.functions.get(code)
        if function is None or self.counts.get(code, 0) >= MAX_CALLS:
            return
        try:
            arguments = copy.deepcopy(arguments_of(frame, code))
            call = Call(function, arguments, True)
        except Exception:  # a file, a lock, a module: nothing that can be given twice
            return
        if len(call.text) <= LONGEST_INPUT and call.text not in self.calls:
            self.calls[call.text] = call
            self.counts[code] = self.counts.get(code, 0) + 1


def arguments_of(frame, code):
    """Return (positional arguments …, *args) and refuse what a positional call cannot repeat."""
    if code.co_kwonlyargcount or code.co_flags & 8:
        raise ValueError("keyword arguments")
    names = code.co_varnames[: code.co_argcount]
    found = tuple(frame.f_locals[name] for name in names)
    return found + tuple(frame.f_locals[code.co_varnames[code.co_argcount]]) if code.co_flags & 4 else found


def derived_calls(calls, seed):
    """Return the tests' calls and then others like them, in turn for each, no more than `MAX_INPUTS`."""
    mutator = Mutator(seed)
    found = {call.text: call for call in calls}
    waiting = [neighbours(call, calls, mutator) for call in calls]
    while waiting and len(found) < MAX_INPUTS:
        for source in list(waiting):
            call = next(source, None)
            if call is None:
                waiting.remove(source)
            elif len(call.text) <= LONGEST_INPUT and len(found) < MAX_INPUTS:
                found.setdefault(call.text, call)
    return list(found.values())


def neighbours(call, calls, mutator):
    """Yield calls of the same function with one argument changed, or taken from another call of the tests."""
    if not call.arguments:
        return
    choices = [mutator.near(argument) for argument in call.arguments]
    for at, found in enumerate(choices):
        pool = [other.arguments[at] for other in calls if other.function is call.function and at < len(other.arguments)]
        choices[at] = found + pool[:6]
    for turn in range(max(map(len, choices))):
        for at, found in enumerate(choices):
            if turn < len(found):
                arguments = (*call.arguments[:at], found[turn], *call.arguments[at + 1 :])
                yield Call(call.function, arguments, False)
    for turn in range(FURTHER):  # two steps away, and every argument at once
        arguments = tuple(mutator.one(argument) for argument in call.arguments)
        yield Call(call.function, tuple(map(mutator.one, arguments)) if turn % 2 else arguments, False)


class Behaviour:
    """Answers one request: runs the patches `batch`, an empty one being the code as it came."""

    def __init__(self, hot):
        self.hot = hot

    def answer(self, request):
        """Return {"inputs": [[call, seen], …], "patches": {number: [[checksum, text], …]}}."""
        swaps = {}
        for number, edits in enumerate(request["batch"]):
            found, verdict = self.hot.swaps(edits)
            if verdict is None:
                swaps[number] = found
        answer = {"inputs": [], "patches": {}}
        if not swaps:
            return answer
        fork = Fork(self._body(request, swaps))
        for record in fork.records(lambda: request["step_s"]):
            kind, _, rest = record.partition(" ")
            try:
                if kind == "i":
                    answer["inputs"] = JSON.loads(rest)
                elif kind == "p":
                    number, outcomes = JSON.loads(rest)
                    answer["patches"][str(int(number))] = outcomes
            except (ValueError, TypeError):
                pass  # no record of ours: the patches can write here too
        return answer

    def _body(self, request, swaps):
        def body(write_end):
            prctl(PR_SET_CHILD_SUBREAPER, 1)
            deadline = _monotonic() + request["wall_s"]
            _setitimer(signal.ITIMER_PROF, CAPTURE_S)
            calls = self._captured(request, [swaps[number] for number in sorted(swaps)])
            inputs = derived_calls(calls, request["seed"])
            _setitimer(signal.ITIMER_PROF, 0)
            shown = [[call.text[:LONGEST_INPUT], call.seen] for call in inputs]
            send_all(write_end, b"\ni " + JSON.dumps(shown).encode() + b"\n")
            PRIVATE[:] = [write_end]  # what stood there is closed in this fork, and its numbers may be in use again
            settle()
            for number in sorted(swaps):
                if _monotonic() > deadline:
                    break
                outcomes = self._outcomes(inputs, swaps[number], request["call_s"])
                if outcomes is not None:
                    send_all(write_end, b"\np " + JSON.dumps([number, outcomes]).encode() + b"\n")

        return body

    def _captured(self, request, patches):
        """Run the tests with the first patch that applies, which they all pass; return the calls that they made."""
        capture, hot = Capture(self.hot.files), self.hot
        hot.recorder.keep_excinfo = False
        undo = next((undo for undo in map(swapped, patches) if undo is not None), [])
        for function, _back in undo:
            capture.functions[function.__code__] = function
        sys.setprofile(capture)
        try:
            order = request["order"]
            run_tests(hot.session, hot.recorder, order, CAPTURE_S, lambda *_: True, None, hot.plain)
        finally:
            sys.setprofile(None)
            for function, back in undo:
                function.__code__ = back
        _setitimer(signal.ITIMER_PROF, CAPTURE_S)
        return list(capture.calls.values())

    def _outcomes(self, inputs, swaps, call_s):
        """Return [checksum, text] of what the patch does on each input, None where it cannot be applied."""
        outcomes, ended = [], 0
        while len(outcomes) < len(inputs):
            if ended == MAX_ENDED:
                return outcomes + [["ended", "ends or never ends"]] * (len(inputs) - len(outcomes))
            fork = Fork(sample_body(inputs, len(outcomes), swaps, call_s))
            before = len(outcomes)
            for record in fork.records(lambda: 4 * call_s + 1):
                kind, _, rest = record.partition(" ")
                if kind == "o" and len(outcomes) < len(inputs):
                    checksum, _, text = rest.partition(" ")
                    outcomes.append([checksum[:16], text[:LONGEST_CALL]])
                elif kind == "!" and len(outcomes) == before == 0:
                    return None
            if len(outcomes) < len(inputs):
                hang = fork.timed_out or fork.out_of_cpu
                outcomes.append(["hang", "never ends"] if hang else ["died", "ends its process"])
                ended += 1
        return outcomes


def swapped(swaps):
    """Apply a patch; return what undoes it, None where it cannot be applied (other free variables)."""
    undo = []
    try:
        put(swaps, undo)
    except ValueError:
        for function, back in undo:
            function.__code__ = back
        return None
    return undo


def sample_body(inputs, first, swaps, call_s):
    def body(write_end):
        import resource

        size = int(contents("/proc/self/statm").split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (size + SAMPLE_ROOM, size + SAMPLE_ROOM))
        if swapped(swaps) is None:
            raise NeedsFresh
        for call in inputs[first:]:
            _setitimer(signal.ITIMER_PROF, call_s)
            checksum, text = sample(call)
            _setitimer(signal.ITIMER_PROF, 0)
            line = "\no %s %s\n" % (checksum, text.replace("\n", " "))
            send_all(write_end, line.encode("utf-8", "backslashreplace"))

    return body


def sample(call):
    """Return (checksum, text) of what a call gives, raises, prints, and does to its arguments."""
    if "random" in sys.modules:
        sys.modules["random"].seed(0)
    arguments = copy.deepcopy(call.arguments)
    printed, sys.stdout = sys.stdout, io.StringIO()
    try:
        try:
            value = settled(call.function(*arguments))
            loose, text = Describer(True)(value), Describer()(value)
        except BaseException as error:  # whatever it raises is an outcome
            loose = text = "raises " + type(error).__name__
        output = sys.stdout.getvalue() if isinstance(sys.stdout, io.StringIO) else ""
    finally:
        sys.stdout = printed
    if output:
        loose, text = loose + output[:LONGEST_INPUT], text + " and prints " + repr(output[:LONGEST_CALL])
    say = Describer()
    after = ", ".join(say(argument) for argument in arguments)
    if "(%s)" % after != call.text[call.text.index("(") :]:
        loose, text = loose + after, text + " and leaves " + after
    return "%08x%08x" % (_crc32(loose.encode("utf-8", "replace")), len(loose)), text[:LONGEST_CALL]
