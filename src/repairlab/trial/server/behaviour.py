"""behaviour: what patches do on inputs that the tests never gave.

One part of the program that `repairlab.trial.server` assembles (Python 3.8 or newer). A fork of the hot worker runs
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
MAX_ENDED = 6  # forks that one patch may lose
MAX_SCREENED = 4  # forks that are spent to find inputs on which nothing ends
SCREENS = 2  # patches that agree on that
LEAST_CALL_S, USUAL_CALLS = 0.02, 20  # CPU of a call, at least, and in calls like the longest of the tests
GONE = ("hang", "died")
CAPTURE_S = 3.0  # CPU seconds for the tests' run and the derivation
SAMPLE_ROOM = 256 << 20  # bytes that a patch may take on top of what its fork has


class Call:
    """One call of a function: its arguments, the last of them by `names`, and text that tells it from others."""

    __slots__ = ("arguments", "function", "inner", "names", "seen", "text", "whole")

    def __init__(self, function, arguments, names, seen):
        self.function = function
        self.arguments = arguments
        self.names = names
        self.seen = seen
        say = Describer()
        self.inner = self.described(arguments, say)
        self.text = self.told(self.inner)
        self.whole = say.left >= 0 and len(self.text) <= LONGEST_INPUT

    def described(self, arguments, say):
        """Return the arguments as source text."""
        return spelled(arguments, self.names, say)

    def told(self, inner):
        """Return the whole call as source text."""
        return "%s(%s)" % (getattr(self.function, "__qualname__", "?"), inner)

    def like(self, arguments):
        """Return a call that no test makes, with other arguments."""
        return Call(self.function, arguments, self.names, False)

    def rearranged(self):
        """Return calls with the same arguments in another order: of one function there are none."""
        return ()

    def given(self, arguments):
        """Call the function."""
        return passed(self.function, arguments, self.names)


def spelled(arguments, names, say):
    """Return arguments, the last of them by `names`, as source text."""
    words = [""] * (len(arguments) - len(names)) + ["%s=" % name for name in names]
    return ", ".join(word + say(argument) for word, argument in zip(words, arguments))


def passed(function, arguments, names):
    """Call a function, the last of the arguments by `names`."""
    first = len(arguments) - len(names)
    return function(*arguments[:first], **dict(zip(names, arguments[first:])))


class Capture:
    """Profile function that keeps the calls from elsewhere into the editable files, and tells `stories` of them."""

    def __init__(self, files, stories):
        self.stories = stories
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
        if function is None:
            return
        try:
            arguments, names = arguments_of(frame, code)
            if self.stories is not None:
                self.stories.note(function, code, arguments, names)
            if self.counts.get(code, 0) >= MAX_CALLS:
                return
            call = Call(function, arguments, names, True)
            if not call.whole or call.text in self.calls:
                return  # before the copy: a million items would be copied for nothing
            call.arguments = copy.deepcopy(arguments)
        except Exception:  # a file, a lock, a module: nothing that can be given twice
            return
        else:
            self.calls[call.text] = call
            self.counts[code] = self.counts.get(code, 0) + 1


def arguments_of(frame, code):
    """Return (all arguments, the names of the last of them, which only a name can pass)."""
    known, count = frame.f_locals, code.co_argcount
    keywords = code.co_varnames[count : count + code.co_kwonlyargcount]
    rest = count + code.co_kwonlyargcount
    found = [known[name] for name in code.co_varnames[:count]]
    if code.co_flags & 4:
        found += known[code.co_varnames[rest]]
        rest += 1
    named = [(name, known[name]) for name in keywords]
    if code.co_flags & 8:
        named += sorted(known[code.co_varnames[rest]].items())
    return tuple(found + [value for _, value in named]), [name for name, _ in named]


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
            elif call.whole and len(found) < MAX_INPUTS:
                found.setdefault(call.text, call)
    return list(found.values())


def neighbours(call, calls, mutator):
    """Yield calls of the same function with one argument changed, or taken from another call of the tests."""
    yield from call.rearranged()
    if not call.arguments:
        return
    choices = [mutator.near(argument) for argument in call.arguments]
    for at, found in enumerate(choices):
        pool = [other.arguments[at] for other in calls if other.function is call.function and at < len(other.arguments)]
        choices[at] = found + pool[:6]
    for turn in range(max(map(len, choices))):
        for at, found in enumerate(choices):
            if turn < len(found):
                yield call.like((*call.arguments[:at], found[turn], *call.arguments[at + 1 :]))
    for turn in range(FURTHER):  # two steps away, and every argument at once
        arguments = tuple(mutator.one(argument) for argument in call.arguments)
        yield call.like(tuple(map(mutator.one, arguments)) if turn % 2 else arguments)


class Behaviour:
    """Answers one request: runs the patches `batch`, an empty one being the code as it came."""

    def __init__(self, hot):
        self.hot = hot

    def answer(self, request):
        """Return {"inputs": [[call, seen], …], "patches": {number: [[checksum, text], …]}}."""
        swaps, deadline = {}, _monotonic() + request["wall_s"]
        for number, edits in enumerate(request["batch"]):
            found, verdict = self.hot.swaps(edits) if edits else ([], None)
            if verdict is None:
                swaps[number] = found
        answer = {"inputs": [], "patches": {}}
        if not swaps:
            return answer
        fork = Fork(self._body(request, swaps, deadline))
        for record in fork.records(lambda: request["step_s"], deadline + request["wall_s"] / 4):
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

    def _body(self, request, swaps, deadline):
        def body(write_end):
            prctl(PR_SET_CHILD_SUBREAPER, 1)
            _setitimer(signal.ITIMER_PROF, CAPTURE_S)
            calls = self._captured(request, [swaps[number] for number in sorted(swaps)])
            inputs = derived_calls(calls, request["seed"])
            _setitimer(signal.ITIMER_PROF, 0)
            PRIVATE[:] = [write_end]  # what stood there is closed in this fork, and its numbers may be in use again
            settle()
            sampling = Sampling(inputs, request, deadline, lambda: _write(write_end, b"\n"))
            sampling.screen([swaps[number] for number in sorted(swaps)])
            shown = [[call.text[:LONGEST_INPUT], call.seen] for call in sampling.inputs]
            send_all(write_end, b"\ni " + JSON.dumps(shown).encode() + b"\n")
            for left, number in zip(range(len(swaps), 0, -1), sorted(swaps)):
                outcomes = sampling.outcomes(swaps[number], share=left)
                if outcomes is not None:
                    send_all(write_end, b"\np " + JSON.dumps([number, outcomes]).encode() + b"\n")

        return body

    def _captured(self, request, patches):
        """Run the tests with the first patch that applies, which they all pass; return the calls that they made."""
        stories = Stories() if request["stories"] else None
        capture, hot = Capture(self.hot.files, stories), self.hot
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
        return [*capture.calls.values(), *(stories.calls() if stories else ())]


class Sampling:
    """Runs patches on `inputs`, each call for `call_s` CPU seconds at most, all of them for about `cpu_s`."""

    def __init__(self, inputs, request, deadline, alive):
        self.inputs = inputs
        self.call_s = request["call_s"]
        self.cpu_s = used_cpu() + request["cpu_s"]
        self.deadline = deadline
        self.alive = alive  # says so to whoever waits for the next record

    def screen(self, patches):
        """Leave out what no patch comes back from: numbers far larger than those of the tests, mostly.

        What the tests' own calls take tells how long the others may.
        """
        whole = self.inputs
        for swaps in patches[:SCREENS]:  # what one lost is all that the next is run on
            outcomes = self.outcomes(swaps, MAX_SCREENED, timed=True) or []
            usual = max([outcome[2] for call, outcome in zip(self.inputs, outcomes) if call.seen] or [self.call_s])
            self.call_s = min(self.call_s, max(LEAST_CALL_S, USUAL_CALLS * usual))
            self.inputs = [call for call, outcome in zip(self.inputs, outcomes) if outcome[0] in GONE and not call.seen]
        gone = {call.text for call in self.inputs}
        self.inputs = [call for call in whole if call.text not in gone]

    def outcomes(self, swaps, most=MAX_ENDED, timed=False, share=1):
        """Return [checksum, text] of what the patch does on each input; None where that cannot be found out.

        It may use one part in `share` of the CPU time that is left; what it gets no time for is not known.
        """
        found, ended, spare = [], 0, [0] if timed else []
        began = used_cpu()
        most_s = max(2 * self.call_s, (self.cpu_s - began) / share)
        while len(found) < len(self.inputs):
            self.alive()
            if _monotonic() > self.deadline:
                return None
            if ended == most or used_cpu() - began > most_s:
                return found + [["ended", "not known", *spare]] * (len(self.inputs) - len(found))
            fork, spent = Fork(sample_body(self.inputs, len(found), swaps, self.call_s)), used_cpu() - began
            for record in fork.records(lambda: 4 * self.call_s + 1, self.deadline):
                words = record.split(" ", 3)
                if words[0] == "!" and not found:
                    return None
                if words[0] == "o" and len(words) == 4 and len(found) < len(self.inputs):
                    cpu_s = int(words[2][:12]) / 1e6 if words[2].isdigit() else 0
                    found.append([words[1][:16], words[3][:LONGEST_CALL], *([cpu_s] if timed else [])])
                    spent += cpu_s
                    fork.stop_at = self.deadline if spent <= most_s else 0
            if spent > most_s:
                ended = most  # what is left of the inputs is not known
            elif len(found) < len(self.inputs) and _monotonic() <= self.deadline:
                hang = fork.timed_out or fork.out_of_cpu
                found.append((["hang", "never ends"] if hang else ["died", "ends its process"]) + spare)
                ended += 1
        return found


def used_cpu():
    """CPU seconds of this process and of the forks that it has waited for."""
    return sum(os.times()[:4])


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

        room = int(contents("/proc/self/statm").split()[0]) * os.sysconf("SC_PAGE_SIZE") + SAMPLE_ROOM
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        room = room if hard == resource.RLIM_INFINITY else min(room, hard)  # nobody may raise the hard limit
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        if swapped(swaps) is None:
            raise NeedsFresh
        for call in inputs[first:]:
            _setitimer(signal.ITIMER_PROF, call_s)
            cpu = _cpu()
            checksum, text = sample(call)
            _setitimer(signal.ITIMER_PROF, 0)
            line = "\no %s %d %s\n" % (checksum, (_cpu() - cpu) * 1e6, text.replace("\n", " "))
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
            value = settled(call.given(arguments))
            loose, text = Describer(True)(value), Describer()(value)
        except BaseException as error:  # whatever it raises is an outcome
            loose = text = "raises " + type(error).__name__
        output = sys.stdout.getvalue() if isinstance(sys.stdout, io.StringIO) else ""
    finally:
        sys.stdout = printed
    if output:
        loose, text = loose + output[:LONGEST_INPUT], text + " and prints " + repr(output[:LONGEST_CALL])
    after = call.described(arguments, Describer())
    if after != call.inner:
        loose, text = loose + after, text + " and leaves " + after
    return "%08x%08x" % (_crc32(loose.encode("utf-8", "replace")), len(loose)), text[:LONGEST_CALL]
